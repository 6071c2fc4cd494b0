"use strict";
// The what-if page. Each control is a number box, which holds the truth, and a slider beside it.
// What is drawn and said comes from the server: `project` at once, `charts` and `simulate` after.

// Absolute and without user name or password: a browser fetches no address that carries them.
const here = location.origin + location.pathname;
const byId = id => document.getElementById(id);
const boxes = [...document.querySelectorAll("#controls input[type=number]")];
const rangeOf = box => byId(box.id + "-range");

const toRange = (box, shown) => box.dataset.scale === "log" ? Math.log10(shown) : shown;
const fromRange = (box, at) => box.dataset.scale === "log" ? 10 ** at : at;
const NUMBER = /^−?\$?\d[\d,.]*(%| m?s)?( \/ [\d,.]+(%| m?s))?$/;
const once = got => got.one_off_usd
  ? [got.date || "never", "one-off cost earned back", `${money(got.one_off_usd)} paid once`]
  : ["nothing", "to earn back", "nothing is stated as paid once"];
const rounded = x => +x.toPrecision(3);
const money = x => {
  const digits = Math.abs(x) >= 1000 ? 0 : 2;
  const text = Math.abs(x).toLocaleString("en-US", {maximumFractionDigits: digits, minimumFractionDigits: digits});
  return (x < 0 && /[1-9]/.test(text) ? "−$" : "$") + text;
};
const share = x => (100 * x).toFixed(1).replace("-", "−") + "%";
const words = box => {
  const amount = (+box.value).toLocaleString("en-US", {maximumSignificantDigits: 6});
  return box.dataset.unit === "$" ? "$" + amount : `${amount} ${box.dataset.unit}`.trim();
};

function query() {
  const asked = new URLSearchParams();
  for (const box of boxes) {
    if (box.value !== "" && +box.value !== +box.dataset.default) {
      asked.set(box.id, String(+(box.value / box.dataset.factor).toPrecision(12)));
    }
  }
  return asked.toString();
}

function place(box) {
  const range = rangeOf(box);
  range.value = toRange(box, +box.value);
  // A slider announces the amount that is meant and not where it stands.
  range.setAttribute("aria-valuetext", words(box));
}

function fill(id, rows, heads) {
  const body = byId(id).tBodies[0];
  const headers = heads || [...byId(id).tHead.rows[0].cells].map(cell => cell.textContent);
  // A column of numbers stands to the right, its name above it.
  const right = headers.map((_, k) => k > 0 && rows.length > 0 && rows.every(row => NUMBER.test(row[k] || "")));
  [...byId(id).tHead.rows[0].cells].forEach((cell, k) => cell.classList.toggle("right", right[k]));
  body.replaceChildren();
  for (const values of rows) {
    const row = body.insertRow();
    values.forEach((text, k) => {
      const cell = document.createElement(k ? "td" : "th");
      if (!k) cell.scope = "row";
      else if (right[k]) cell.className = "right";
      cell.textContent = text;
      cell.dataset.label = headers[k] || "";
      row.append(cell);
    });
  }
  byId(id).closest("section").hidden = false;
}

function headlines(items) {
  byId("headlines").replaceChildren(...items.map(([value, label, detail, tone]) => {
    const box = document.createElement("div");
    box.className = "headline";
    for (const [tag, text] of [["b", value], ["span", label], ["small", detail]]) {
      const part = document.createElement(tag);
      part.textContent = text;
      if (tag === "b") part.className = tone || "";
      box.append(part);
    }
    return box;
  }));
}

function say(got, tone, more = "") {
  byId("verdict").textContent = got.verdict + more;
  byId("verdict").className = tone;
  byId("alert").textContent = got.alert;
  byId("alert").hidden = !got.alert;
  byId("verdict").hidden = Boolean(got.alert);
}

function show(got) {
  const p = got.projection, saving = p.savings, cascade = p.rails.find(rail => rail.name === "cascade");
  // Nothing is green before the simulator has been heard.
  const tone = got.tone === "bad" ? "bad" : "";
  headlines([
    [money(saving.mid), got.saved, `${money(saving.low)} to ${money(saving.high)}`, tone],
    [share(p.cost_ratio.mid), "of the teacher-only bill", money(cascade.usd_per_month) + " a month"],
    [share(p.agreement.mid), "agree with the teacher", `${share(p.escalation.mid)} escalate`],
    once(p.break_even)]);
  say(got, tone, " (By closed form; the simulator computes …)");
  byId("warnings").textContent = p.warnings.join(" ");
  fill("savings", got.savings);
  fill("prices", Object.entries(p.unit_prices).map(([who, text]) => [who.replaceAll("_", " "), text]));
}

function showSimulated(got, projection) {
  const saving = got.saving;
  say(got, got.tone);
  headlines([
    [money(saving.mid), got.saved, `${money(saving.low)} to ${money(saving.high)}, simulated`, got.tone],
    [share(got.cost_ratio), "of the teacher-only bill", money(got.cascade_usd) + " a month"],
    [share(got.agreement), "agree with the teacher", `${share(got.escalation_rate)} escalate`],
    once(projection.break_even)]);
  byId("simulated").classList.remove("stale");
  fill("simulated", got.rows, ["", "value"]);
}

function draw(charts) {
  for (const [name, html] of Object.entries(charts)) {
    byId(`${name}-chart`).innerHTML = html;
    byId(name).hidden = false;
  }
}

let turn = 0, waiting = null;

async function ask(path) {
  const reply = await fetch(`${here}${path}?${query()}`), got = await reply.json();
  if (!reply.ok) throw new Error(got.error);
  return got;
}

function failed(error) {
  byId("state").textContent = "";
  byId("alert").textContent = error.message;
  byId("alert").hidden = false;
}

async function update() {
  const mine = ++turn, asked = query();
  history.replaceState(null, "", asked ? "?" + asked : location.pathname);
  for (const link of document.querySelectorAll("a[data-page]")) link.href = `${link.dataset.page}?${asked}`;
  byId("simulated").classList.add("stale");
  clearTimeout(waiting);
  try {
    const got = await ask("project");
    if (mine !== turn) return;
    show(got);
    byId("state").textContent = "closed form; simulating …";
    waiting = setTimeout(() => after(mine, got.projection), 150);
  } catch (error) {
    if (mine === turn) failed(error);
  }
}

async function after(mine, projection) {
  try {
    const charts = await ask("charts");
    if (mine !== turn) return;
    draw(charts);
    const run = await ask("simulate");
    if (mine !== turn) return;
    showSimulated(run, projection);
    byId("state").textContent =
      `simulated ${run.requests.toLocaleString("en-US")} requests in ${run.wall_s.toFixed(2)} s`;
  } catch (error) {
    if (mine === turn) failed(error);
  }
}

const told = new URLSearchParams(location.search);
const odd = [...told].find(([name, text]) =>
  !boxes.some(box => box.id === name) || text.trim() === "" || !isFinite(text));
for (const box of boxes) {
  // Said twice, the last one counts, as it does behind the page.
  if (told.has(box.id)) box.value = +(told.getAll(box.id).at(-1) * box.dataset.factor).toPrecision(12);
  if (box.value === "") box.value = box.dataset.default;
  place(box);
  box.addEventListener("change", () => {
    if (box.value === "") box.value = box.dataset.default;
    place(box);
    update();
  });
  rangeOf(box).addEventListener("input", () => {
    const at = fromRange(box, +rangeOf(box).value);
    box.value = box.step === "1" ? Math.round(at) : rounded(at);
    rangeOf(box).setAttribute("aria-valuetext", words(box));
    update();
  });
}
byId("reset").addEventListener("click", () => {
  for (const box of boxes) { box.value = box.dataset.default; place(box); }
  update();
});
if (odd) failed(new Error(`The address says ${odd[0]}=${odd[1]}: there is no such control, or it takes no such value.`));
else update();
