"use strict";
// The page of the admin port. The server makes one document every other second; this puts it in place.
// Only what changed is written, so that nothing is read out twice and no focus is lost.

const byId = id => document.getElementById(id);
const here = new URL(".", location.href).pathname;
let board = null;

// --- words ---------------------------------------------------------------------------------------
const amount = (x, digits) => x.toLocaleString("en-US", {maximumFractionDigits: digits, minimumFractionDigits: digits}).replace("-", "−");
const count = x => amount(x, 0);
const rate = x => amount(x, x < 10 ? 2 : x < 100 ? 1 : 0);
const percent = (x, digits = 1) => amount(100 * x, digits) + " %";
const ms = x => x === null ? "–" : x < 10 ? amount(x, 2) + " ms" : x < 1000 ? amount(x, 0) + " ms" : amount(x / 1000, 2) + " s";
const usd = x => {
  const size = Math.abs(x), text = size && size < 1 ? size.toLocaleString("en-US", {maximumSignificantDigits: 2}) : amount(size, size >= 1000 ? 0 : 2);
  return (x < 0 ? "−$" : "$") + text;
};
const moment = at => new Date(1000 * at).toISOString().replace("T", " ").slice(0, 19);
const plain = word => word.replaceAll("_", " ");

// --- putting in place ----------------------------------------------------------------------------
function write(node, text, tone = null) {
  if (node.textContent !== text) node.textContent = text;
  if (tone !== null) { node.classList.toggle("good", tone === "good"); node.classList.toggle("bad", tone === "bad"); }
}

function make(tag, text = "", className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

/** Replace what is inside a node, if it is not the same already. */
function fill(node, key, build) {
  const told = JSON.stringify(key);
  if (node.dataset.told === told) return;
  node.dataset.told = told;
  node.replaceChildren(...build());
}

const facts = (node, rows) => fill(node, rows, () => rows.filter(([, value]) => value !== "").map(([name, value]) => {
  const box = make("div");
  box.append(make("dt", name), make("dd", value));
  return box;
}));

function table(body, heads, rows, numbers) {
  fill(body, rows, () => rows.map(cells => {
    const row = make("tr");
    cells.forEach((text, k) => {
      const cell = make(k ? "td" : "th", text, numbers.includes(k) ? "right" : "");
      if (k) cell.dataset.label = heads[k]; else cell.scope = "row";
      row.append(cell);
    });
    return row;
  }));
}

function headlines(items) {
  fill(byId("headlines"), items, () => items.map(([value, label, detail, tone]) => {
    const box = make("div", "", "headline");
    box.append(make("b", value, tone || ""), make("span", label), make("small", detail));
    return box;
  }));
}

// --- now -----------------------------------------------------------------------------------------
function showNow(got) {
  const routes = got.routes, all = got.per_second, student = routes.student, teacher = routes.teacher;
  const bad = ["degraded", "refused"].reduce((sum, name) => sum + (routes[name]?.per_second || 0), 0);
  const share = part => all ? percent(part / all) : "–";
  const tasks = Object.values(got.tasks), queue = tasks.reduce((sum, task) => sum + task.queue, 0);
  headlines([
    [rate(all), "requests per second", "over the last minute"],
    [share(student?.per_second || 0), "answered by the student", `${share(teacher?.per_second || 0)} by the teacher`],
    [student?.p99_ms != null ? ms(student.p99_ms) : student?.p50_ms != null ? ms(student.p50_ms) : "–",
      student?.p99_ms != null ? "p99 of the student" : "p50 of the student", student?.p99_ms != null ? `p50 ${ms(student.p50_ms)}` : "a p99 needs 1,000 answers a minute"],
    [share(bad), "degraded or refused", bad ? "see why below" : "none in the last minute", bad ? "bad" : ""],
    [count(queue), "texts wait for a student", got.ledger.dropped ? `${count(got.ledger.dropped)} ledger rows LOST` : `ledger ${amount(got.ledger.backlog_s, 1)} s behind`, got.ledger.dropped ? "bad" : ""]]);
  const why = {};
  for (const [, route, reason, per_second] of got.reasons) (why[route] ||= {})[reason] = (why[route][reason] || 0) + per_second;
  table(byId("routes"), ["route", "requests per second", "share", "p50", "p99", "why"],
    Object.entries(routes).sort(([, a], [, b]) => b.per_second - a.per_second).map(([name, one]) => [
      name, rate(one.per_second), share(one.per_second), ms(one.p50_ms), ms(one.p99_ms),
      Object.entries(why[name] || {}).sort(([, a], [, b]) => b - a).map(([reason, r]) => `${plain(reason)} ${rate(r)}`).join(", ")]),
    [1, 2, 3, 4]);
}

// --- one task ------------------------------------------------------------------------------------
const cardOf = (task, bundle) => task.bundles.find(one => one.bundle === bundle);

function interval(audits, line) {
  const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg");
  const least = Math.min(line ?? 1, audits.low, audits.agreement), from = Math.max(0, least - Math.max(.01, (1 - least) / 4));
  const at = x => 10 + 380 * (x - from) / (1 - from);
  const put = (tag, attributes, text) => {
    const node = document.createElementNS(ns, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text) node.textContent = text;
    svg.append(node);
  };
  svg.setAttribute("viewBox", "0 0 400 56");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Agreement ${percent(audits.agreement, 2)}, interval ${percent(audits.low, 2)} to ${percent(audits.high, 2)}` + (line === null ? "" : `; promised at least ${percent(line)}`));
  put("line", {x1: 10, x2: 390, y1: 28, y2: 28, class: "axis"});
  put("line", {x1: at(audits.low), x2: at(audits.high), y1: 28, y2: 28, class: "span"});
  put("circle", {cx: at(audits.agreement), cy: 28, r: 6, class: "point"});
  if (line !== null) {
    put("line", {x1: at(line), x2: at(line), y1: 15, y2: 44, class: "promised"});
    put("text", {x: Math.min(340, Math.max(60, at(line))), y: 10, "text-anchor": "middle"}, `promised ${percent(line)}`);
  }
  put("text", {x: 10, y: 54}, percent(from));
  put("text", {x: 390, y: 54, "text-anchor": "end"}, "100 %");
  return svg;
}

function showPromise(part, task) {
  const audits = task.audits, card = cardOf(task, task.bundle), line = card?.agreement ?? null;
  const told = audits && audits.audits > 0;
  write(part("agreement"), told ? `${percent(audits.agreement, 2)} agree with the teacher` : audits ? "No audit yet" : "Nothing is audited",
    audits?.alarmed ? "bad" : told && line !== null && audits.low >= line ? "good" : "");
  write(part("interval"), told ? `${percent(audits.low, 2)} to ${percent(audits.high, 2)} whenever you look (95 %); ${count(audits.disagreements)} of ${count(audits.audits)} audits differ` : "");
  fill(part("line"), told ? [audits.low, audits.high, audits.agreement, line] : [], () => told ? [interval(audits, line)] : []);
  const lost = task.audits_lost ? ` Audits that could not be compared: ${count(task.audits_lost)}.` : "";
  const evidence = audits && audits.e_value !== null ? `Evidence against the promise: ${amount(audits.e_value, 2)}` + (audits.alarm_at ? ` (alarm at ${count(audits.alarm_at)}).` : ".") : "";
  const figures = audits?.figures || {}, raised = figures.status === "raised";
  const standing = audits?.alarmed ? "ALARM: only the teacher answers." : raised ? `Raised by audits: the student answers from confidence ${amount(figures.threshold, 4)} (rung ${figures.rung} of ${figures.rungs}).` : "";
  const why = standing && figures.broken ? ` Broken: ${figures.broken}.` : "", down = standing && figures.proof != null ? ` Evidence for a step down: ${amount(figures.proof, 2)} of ${count(figures.proved_at)}.` : "";
  write(part("standing"), standing + why + down, standing ? "bad" : "");
  write(part("evidence"), evidence + lost);
  write(part("promised"), line === null ? "The bundle on disk has no certificate to show." :
    `Promised: at least ${percent(line)} of ${card.promise === "strict" ? "the answers that the student gives" : "all answers"} agree, at ${percent(card.confidence, 0)} confidence.`);
  const classes = card?.classes || [];
  const broken = String(figures.broken || "").split(", ");
  const live = Object.fromEntries((audits?.classes || []).map(one => [one.label, one]));
  const seen = one => one?.audits ? `; ${percent(one.low, 2)} to ${percent(one.high, 2)} agree whenever you look, of ${count(one.audits)} audits` : "; no audit yet";
  fill(part("classes"), [classes, broken, live], () => classes.map(one => make("li", `${one.label}: at least ${percent(one.agreement)} promised${broken.includes(one.label) ? ", BROKEN" : ""}${audits ? seen(live[one.label]) : ""}`)));
}

function showMoney(name, part, task, all) {
  const money = task.money, today = money?.today, month = money?.month, saving = money?.saved;
  write(part("saved"), saving?.saved != null ? (+saving.saved < 0 ? `${usd(-saving.saved)} more than the teacher alone, this month` : `${usd(+saving.saved)} saved this month`) : month ? `${usd(+month.student_usd + +month.teacher_usd)} paid this month` : money ? "Nothing was paid this month" : "No ledger can be read",
    saving?.saved != null ? (+saving.saved < 0 ? "bad" : saving.low != null && +saving.low > 0 ? "good" : "") : "");
  write(part("saved-detail"), saving?.saved == null ? "" : (saving.low == null ? "too few audits for an interval yet" : `${usd(+saving.low)} to ${usd(+saving.high)}, 95 %`) +
    `; the same requests at the teacher alone: ${usd(+saving.counterfactual)}; as of ${moment(saving.at).slice(11)} UTC` + (saving.projected ? `; the month at this pace: ${usd(+saving.projected[0])} (${usd(+saving.projected[1])} to ${usd(+saving.projected[2])})` : ""));
  const paid = (label, sums) => sums ? [[label, count(sums.requests), usd(+sums.teacher_usd), usd(+sums.student_usd)]] : [];
  const rows = [...paid("today (UTC)", today), ...paid("this month", month)];
  part("paid").hidden = !rows.length;
  table(part("paid").tBodies[0], ["paid", "requests", "to the teacher", "for the student"], rows, [1, 2, 3]);
  write(part("money-note"), [
    money && money.read < 1 ? `The ledger is being added up: ${percent(money.read, 0)}.` : "",
    month?.unpriced ? `${count(month.unpriced)} requests have a part of unknown price, which is in no sum.` : ""].join(" ").trim());
  const perDay = Math.round(86400 * all * 1), asked = perDay >= 100 && perDay <= 1e9 ? `?per_day=${perDay}` : "";
  const link = part("what-if");
  const href = `${here}tasks/${encodeURIComponent(name)}/whatif/${asked}`;
  if (link.getAttribute("href") !== href) link.setAttribute("href", href);
  write(link, asked ? `What if, at the ${count(perDay)} a day of the last minute` : "What if …");
}

function showBundle(part, article, task) {
  const card = cardOf(task, task.bundle);
  facts(part("bundle"), [
    ["answers", task.bundle], ["certified", card?.certified || "–"], ["student", card?.family || "–"],
    ["teacher", card?.teacher || "–"], ["kept when it was certified", card?.coverage != null ? percent(card.coverage) : "–"],
    ["threshold", task.thresholds[0] === task.thresholds[1] ? amount(task.thresholds[0], 4) : `${amount(task.thresholds[0], 4)} to ${amount(task.thresholds[1], 4)}, by label`],
    ["raised by an operator to", task.raised_threshold === null ? "" : task.raised_threshold > 1 ? "everything escalates" : amount(task.raised_threshold, 4)],
    ["canary", task.canary ? `${task.canary} answers ${percent(task.canary_share)}` : ""],
    ["before", task.previous || ""]]);
  write(part("statement"), card?.statement || "The bundle on disk has no certificate to show.");
  for (const button of article.querySelectorAll("button[data-act]")) {
    button.disabled = {"rollback": !task.previous, "canary": Boolean(task.canary), "canary/end": !task.canary, "shadow": Boolean(task.shadow), "shadow/end": !task.shadow, "promote": task.duel?.outlook !== "candidate_not_worse"}[button.dataset.act] || false;
  }
}

function showCandidate(part, task) {
  const duel = task.duel || {}, on = Boolean(task.shadow);
  write(part("candidate-words"), !on ? "No candidate is scored beside the bundle that answers." :
    `${task.shadow} is scored on the audits beside it${task.canary === task.shadow ? ` and answers ${percent(task.canary_share)}` : " and answers nothing"}. ` +
    (duel.outlook ? {candidate_open: "It is not shown yet to be no worse.", candidate_not_worse: "It is shown to be no worse: it may take a step.", candidate_worse: "It is shown to be WORSE and is taken out."}[duel.outlook] || plain(String(duel.outlook)) : "Nothing was compared yet."));
  facts(part("candidate"), !on || duel.compared == null ? [] : [
    ["compared", count(duel.compared)], ["fewer / more wrong", `${count(duel.fewer_wrong)} / ${count(duel.more_wrong)}`],
    ["fewer / more asked of the teacher", `${count(duel.fewer_asked)} / ${count(duel.more_asked)}`],
    ["evidence: agrees no less", `${rate(+duel.e_agreement)} of ${count(duel.needed)}`], ["evidence: costs no more", `${rate(+duel.e_cost)} of ${count(duel.needed)}`],
    ["evidence: worse", `${rate(+duel.e_worse)} of ${count(duel.needed)}`], ["share earned", percent(duel.earned_share)]]);
}

function showSuspects(article, task) {
  const section = article.querySelector('[data-part="suspects"]');
  section.hidden = !task.suspects.length;
  table(section.querySelector("tbody"), ["request", "when (UTC)", "the student said", "how sure", "the teacher said"],
    task.suspects.map(one => [one.request_id, moment(one.at), one.student_label, percent(one.confidence, 2), one.teacher_label]), [3]);
}

function checked(check) {
  if (!check) return "not here";
  if (check.changed) return "ANOTHER TEACHER answers by this name: what was certified is void";
  if (check.failed) return "it gave no answers; tried again soon";
  if (!check.checked_at) return `not yet; its labels were first seen ${moment(check.begun_at)} UTC`;
  return `${count(check.compared - check.differed)} of ${count(check.compared)} answers as on record, last ${moment(check.checked_at)} UTC`;
}

function showTeacher(part, task) {
  const teacher = task.teacher;
  facts(part("teacher"), [
    ["teacher", teacher.refused > .5 ? "mostly held back" : teacher.refused > .01 ? "partly held back" : "takes what is asked"],
    ["calls in flight", `${count(teacher.inflight)} of ${count(teacher.limit)}`],
    ["escalations held back", percent(teacher.refused)],
    ["asked again about rows on record", checked(teacher.check)],
    ["end", teacher.end || ""],
    ["escalation budget left", teacher.budget_fill === null ? "no cap" : percent(teacher.budget_fill, 0)],
    ["texts wait for the student", count(task.queue)],
    ["workers", task.differ ? "they differ: swap again" : ""]]);
}

function showTask(name, task, all) {
  const id = "task-" + encodeURIComponent(name);
  let article = byId(id);
  if (!article) {
    article = byId("task").content.firstElementChild.cloneNode(true);
    article.id = id;
    article.dataset.task = name;
    const title = article.querySelector("h2");
    title.textContent = name;
    title.id = id + "-title";
    article.setAttribute("aria-labelledby", title.id);
    for (const section of article.querySelectorAll("section")) section.setAttribute("aria-label", `${section.querySelector("h3").textContent}, ${name}`);
    for (const button of article.querySelectorAll("button")) button.setAttribute("aria-label", `${button.textContent.replace(" …", "")}, ${name}`);
    byId("tasks").append(article);
    const entry = make("li"), link = make("a", name);
    link.href = "#" + id;
    entry.append(link);
    byId("contents").lastElementChild.before(entry);
  }
  const part = field => article.querySelector(`[data-f="${field}"]`);
  showPromise(part, task);
  showMoney(name, part, task, all);
  showBundle(part, article, task);
  showCandidate(part, task);
  showTeacher(part, task);
  showSuspects(article, task);
}

// --- all of it -----------------------------------------------------------------------------------
function summaryOf(got) {
  const down = got.workers.filter(up => !up).length, draining = got.draining.some(Boolean);
  const alarmed = Object.entries(got.tasks).filter(([, task]) => task.audits?.alarmed).map(([name]) => name);
  const raised = Object.entries(got.tasks).filter(([, task]) => task.audits?.figures.status === "raised").map(([name]) => name);
  return [
    alarmed.length ? `The promise is broken: ${alarmed.join(", ")}.` : raised.length ? "" : "No alarm.",
    raised.length ? `Audits raised the threshold: ${raised.join(", ")}.` : "",
    down ? `${down} of ${got.workers.length} workers do not answer.` : got.workers.length > 1 ? `${got.workers.length} workers serve.` : "",
    draining ? "It drains: unready, still answering." : ""].filter(Boolean).join(" ");
}

const figuresOf = figures => Object.entries(figures).filter(([, value]) => value !== null && value !== "").map(([name, value]) =>
  `${plain(name)} ${typeof value === "number" ? amount(value, Number.isInteger(value) ? 0 : 3) : value}`).join(", ");

function show(got) {
  board = got;
  document.body.classList.remove("stale");
  write(byId("summary"), summaryOf(got));
  const alarmed = Object.entries(got.tasks).filter(([, task]) => task.audits?.alarmed);
  write(byId("alert"), alarmed.map(([name, task]) => `${name}: audits say that bundle ${task.bundle} no longer keeps its promise; only the teacher answers until fresh audits prove a threshold.`).join(" "));
  byId("alert").hidden = !alarmed.length;
  showNow(got);
  for (const [name, task] of Object.entries(got.tasks)) showTask(name, task, got.reasons.filter(one => one[0] === name).reduce((sum, one) => sum + one[3], 0));
  table(byId("event-rows"), ["when (UTC)", "task", "what", "bundle", "figures", "by"],
    got.events.map(one => [moment(one.at), one.task, `${plain(one.kind)}: ${plain(one.reason)}`, one.bundle, figuresOf(one.figures), one.actor]), []);
  byId("no-events").hidden = got.events.length > 0;
  byId("event-table").hidden = !got.events.length;
  const drain = byId("drain");
  drain.disabled = false;
  write(drain, got.draining.some(Boolean) ? "Take the drain back …" : "Drain …");
}

// --- acting --------------------------------------------------------------------------------------
const ACTS = {
  "bundle": (name, task) => ({
    title: `Swap the bundle of ${name}`, yes: "Swap it in", method: "POST", bundles: task.bundles.filter(one => one.bundle !== task.bundle && one.promise),
    words: `Now ${task.bundle} answers. The other one is verified, loaded and warmed first; no request fails, and the way back stays open.`,
    body: () => ({bundle: byId("chosen").value}), done: body => `${body.bundle} answers ${name}.`}),
  "canary": (name, task) => ({
    title: `Start a canary of ${name}`, yes: "Start it", method: "POST", bundles: task.bundles.filter(one => one.bundle !== task.bundle && one.promise),
    number: ["Share of the requests, %", 0.1, 99, 0.1, 5], words: "It answers a share of the requests, drawn by the router's own chance.",
    body: () => ({bundle: byId("chosen").value, share: +byId("amount").value / 100}), done: body => `${body.bundle} answers ${percent(body.share)} of ${name}.`}),
  "canary/end": (name, task) => ({
    title: `End the canary of ${name}`, yes: "End it", method: "POST", promote: true, words: `${task.canary} answers ${percent(task.canary_share)} of the requests.`,
    body: () => ({promote: byId("promote").value === "true"}), done: body => body.promote ? `${task.canary} answers every request of ${name}.` : `${task.canary} answers nothing any more.`}),
  "shadow": (name, task) => ({
    title: `Score a candidate of ${name}`, yes: "Score it", method: "POST", bundles: task.bundles.filter(one => one.bundle !== task.bundle && one.promise),
    words: "It is asked what the audits are asked, beside the bundle that answers, and answers nobody. Evidence decides whether it may.",
    body: () => ({bundle: byId("chosen").value}), done: body => `${body.bundle} is scored beside the bundle of ${name}.`}),
  "shadow/end": (name, task) => ({
    title: `Take the candidate of ${name} out`, yes: "Take it out", method: "POST", words: `${task.shadow} is scored no longer, and answers nothing any more.`,
    body: () => ({}), done: () => `${task.shadow} is out.`}),
  "promote": (name, task) => ({
    title: `Promote the candidate of ${name}`, yes: "One step up", method: "POST", words: `${task.shadow} is shown to be no worse; it takes the next share of the requests, and all of them after the last.`,
    body: () => ({}), done: () => `${task.shadow} took a step.`}),
  "rollback": (name, task) => ({
    title: `Roll ${name} back`, yes: "Roll back", method: "POST", words: `${task.previous} answers again at once, instead of ${task.bundle}.`,
    body: () => ({}), done: () => `${task.previous} answers ${name} again.`}),
  "threshold": (name, task) => ({
    title: `Threshold of ${name}`, yes: "Set it", method: "PUT", number: ["Ask the teacher below this confidence; empty: as certified", 0, 2, "any", task.raised_threshold ?? ""],
    words: `It can only be raised above the certificate's (${amount(task.thresholds[0], 4)}): more goes to the teacher, and costs more. 2 escalates everything.`,
    body: () => ({threshold: byId("amount").value === "" ? null : +byId("amount").value}), done: body => body.threshold === null ? `${name} goes by its certificate again.` : `${name} asks the teacher below ${amount(body.threshold, 4)}.`}),
};
const DRAIN = () => {
  const draining = !board.draining.some(Boolean);
  return {
    title: draining ? "Drain" : "Take the drain back", yes: draining ? "Drain" : "Become ready", method: "PUT", path: "drain",
    words: draining ? "Every worker turns unready, so that a load balancer sends no more; what comes is still answered." : "Every worker becomes ready again.",
    body: () => ({draining}), done: () => draining ? "It drains." : "It is ready again."};
};
let asked = null;

function ask(name, act) {
  asked = act === "drain" ? DRAIN() : {path: `tasks/${encodeURIComponent(name)}/${act}`, ...ACTS[act](name, board.tasks[name])};
  write(byId("confirm-title"), asked.title);
  write(byId("confirm-words"), asked.words);
  write(byId("confirm-yes"), asked.yes);
  byId("confirm-bundle").hidden = !asked.bundles;
  byId("confirm-number").hidden = !asked.number;
  byId("confirm-promote").hidden = !asked.promote;
  byId("refusal").hidden = true;
  byId("confirm-yes").disabled = Boolean(asked.bundles && !asked.bundles.length);
  if (asked.bundles) {
    byId("chosen").replaceChildren(...asked.bundles.map(one => {
      const option = make("option", `${one.bundle}, ${one.family}, certified ${one.certified}: keeps ${percent(one.coverage)}`);
      option.value = one.bundle;
      return option;
    }));
    if (!asked.bundles.length) refuse("There is no other certified bundle in the work_dir; distil one first.");
  }
  if (asked.number) {
    const [label, least, most, step, value] = asked.number;
    write(byId("amount-label"), label);
    Object.assign(byId("amount"), {min: least, max: most, step, value});
  }
  byId("confirm").showModal();
}

function refuse(words) {
  write(byId("refusal"), words);
  byId("refusal").hidden = false;
}

async function confirmed() {
  if (asked.number && !byId("amount").reportValidity()) return;
  const body = asked.body(), button = byId("confirm-yes");
  button.disabled = true;
  byId("confirm").setAttribute("aria-busy", "true");
  try {
    const reply = await fetch(here + asked.path, {method: asked.method, headers: {"content-type": "application/json"}, body: JSON.stringify(body)});
    if (reply.status === 401) { location.reload(); return; }
    if (!reply.ok) {
      const got = await reply.json().catch(() => ({}));
      refuse(got.error?.message || got.error || `It was refused (${reply.status}).`);
      return;
    }
    byId("confirm").close();
    write(byId("done"), asked.done(body));
    byId("done").hidden = false;
  } catch (error) {
    refuse(`The router does not answer: ${error.message}`);
  } finally {
    button.disabled = false;
    byId("confirm").removeAttribute("aria-busy");
  }
}

document.addEventListener("click", event => {
  const button = event.target.closest("button[data-act]");
  if (button && board) ask(button.closest("article")?.dataset.task, button.dataset.act);
});
byId("confirm-yes").addEventListener("click", confirmed);
byId("confirm").querySelector("form").addEventListener("keydown", event => {
  // Enter in a field means yes, as in any form; Escape and the first button mean no.
  if (event.key === "Enter" && event.target.matches("input, select")) { event.preventDefault(); confirmed(); }
});

// --- following -----------------------------------------------------------------------------------
function follow() {
  const stream = new EventSource(here + "board/stream");
  stream.onmessage = event => show(JSON.parse(event.data));
  stream.onerror = async () => {
    document.body.classList.add("stale");
    write(byId("summary"), "The connection is lost; trying again …");
    if (stream.readyState !== EventSource.CLOSED) return;
    const reply = await fetch(here + "board").catch(() => null);
    if (reply && reply.status === 401) location.reload();
    else setTimeout(follow, 2000);
  };
}
follow();
