"""The what-if page: every answer is the projection's, every bad address one sentence."""

import csv
import json
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request

import pytest

from costmodel.inputs.scenario import load
from costmodel.inputs.taskfile import read_deployment
from costmodel.web.server import SCRIPT, WhatIf, make_server, scenario_of
from costmodel.web.sliders import sliders_of
from costmodel.whatif import project_deployment


@pytest.fixture
def app(task_file):
    """The page of the fixture's deployment."""
    return WhatIf(read_deployment(task_file))


def _ask(app: WhatIf, path: str, query: str = ""):
    reply = app.respond(path, query)
    return reply.status, json.loads(reply.body)


def test_page_has_a_slider_for_everything_that_matters(app):
    """Traffic, threshold, audits, machines and prices can be moved, from what the files say."""
    html = app.respond("/", "").body.decode()
    for name in ("per_day", "threshold", "audit_rate", "machines", "input_price", "output_price",
                 "machine_price", "peak", "latency", "concurrency", "escalated_factor",
                 "wrong_usd", "once_usd"):  # fmt: skip
        assert f'<input type="number" id="{name}"' in html
        assert f'<input type="range" id="{name}-range" aria-label=' in html
        assert f'<label for="{name}"' in html
    assert "src=" not in html
    assert "https://" not in html


def test_untouched_sliders_give_the_projection_of_the_files(app):
    """Without a query the page says what the command says."""
    status, got = _ask(app, "/project")
    assert status == 200
    expected = project_deployment(app.deployment)
    assert got["projection"]["savings"]["mid"] == pytest.approx(float(expected.savings.mid))
    assert [point["certified"] for point in got["pareto"]] == [False, True, False]


def test_sliders_change_what_they_name(app):
    """A tenth of the traffic, dearer machines and a higher threshold are all in the answer."""
    _, base = _ask(app, "project")
    _, got = _ask(app, "project", "per_day=1e6&machine_price=1&machines=3&threshold=0.95")
    rails = {rail["name"]: rail["usd_per_month"] for rail in got["projection"]["rails"]}
    before = {rail["name"]: rail["usd_per_month"] for rail in base["projection"]["rails"]}
    assert rails["teacher_only"] == pytest.approx(before["teacher_only"] / 10)
    assert rails["student_only"] == pytest.approx(3 * 730 * 1.0)
    assert got["projection"]["escalation"]["mid"] == pytest.approx(789 / 2629)


def test_a_rented_teachers_hour_can_be_moved(plain_task):
    """Its machines are whole ones on the page too, closed form and simulated."""
    gpu = {"teacher.price.usd_per_hour": 4, "teacher.price.requests_per_second": 50}
    changes = {"evaluation.n": 2600, "evaluation.escalated": 290, **gpu}
    app = WhatIf(read_deployment(plain_task[1], changes=changes))
    assert "teacher_machine_price" in {slider.name for slider in sliders_of(app.deployment)}
    _, got = _ask(app, "project", "teacher_machine_price=8")
    rails = {rail["name"]: rail["usd_per_month"] for rail in got["projection"]["rails"]}
    assert rails["teacher_only"] == 11 * 8 * 730
    _, ran = _ask(app, "simulate", "teacher_machine_price=8")
    assert ran["cascade_usd"] == pytest.approx(rails["cascade"], rel=0.01)
    assert ran["cost_ratio"] == pytest.approx(rails["cascade"] / rails["teacher_only"], rel=0.01)


def test_one_moved_token_price_keeps_the_other(app):
    """Moving the input price leaves the output price where the price list has it."""
    _, got = _ask(app, "project", "input_price=4")
    assert "$4.00 / $10.00" in got["projection"]["unit_prices"]["teacher"]


def test_a_small_move_of_any_slider_moves_every_baseline_a_little(plain_task):
    """A thousandth more or less of a price, traffic or audits: no baseline jumps to other terms."""
    changes = {"evaluation.n": 2600, "evaluation.escalated": 290, "usage.input_tokens": 300,
               "usage.output_tokens": 10}  # fmt: skip
    app = WhatIf(read_deployment(plain_task[1], changes=changes))
    base = project_deployment(app.deployment)
    for slider in sliders_of(app.deployment):
        at = slider.shown / slider.factor
        if slider.step == 1:
            continue
        for factor in (0.999, 1.001):
            status, got = _ask(app, "project", f"{slider.name}={at * factor!r}")
            assert status == 200
            for before, after in zip(base.baselines, got["projection"]["baselines"], strict=True):
                assert after["usd_per_month"] == pytest.approx(
                    float(before.usd_per_month), rel=0.003
                ), (slider.name, before.name)


def test_a_box_shows_the_value_and_its_slider_the_same_place(app):
    """What is shown is what the files say, in its unit; its place is between the ends."""
    for one in sliders_of(app.deployment):
        assert one.low <= one.value <= one.high, one.name
        assert one.least <= one.shown <= one.most, one.name
        one.check(one.shown / one.factor)
    by_name = {one.name: one for one in sliders_of(app.deployment)}
    assert (by_name["audit_rate"].shown, by_name["audit_rate"].unit) == (1.0, "%")
    assert by_name["per_day"].shown == app.deployment.traffic.requests_per_day
    assert by_name["machine_price"].unit == "$"


@pytest.mark.parametrize(
    ("query", "words"),
    [("audit_rate=0.9", "it goes from 0 to 0.2"),
     ("per_day=1e12", "is 1,000,000,000,000; it goes from 100 to 1,000,000,000$"),
     ("machines=2.6", "a whole number"), ("input_price=500", "it goes from"),
     ("latency=-1", "it goes from"), ("per_day=", "a number is needed")],
)  # fmt: skip
@pytest.mark.parametrize("path", ["project", "charts", "simulate", "report", "scenario.yaml"])
def test_what_a_control_cannot_show_no_address_takes(app, path, query, words):
    """One range for the page and for everything behind it; outside, the range is said."""
    status, got = _ask(app, path, query)
    assert status == 400
    assert re.search(words, got["error"])


def test_what_is_shown_can_be_taken_away(app, tmp_path):
    """The scenario runs by the command, the figures are the page's; both follow the controls."""
    reply = app.respond("scenario.yaml", "per_day=2e6")
    path = tmp_path / "scenario.yaml"
    path.write_bytes(reply.body)
    assert load(path).workload.per_day == 2e6
    rows = list(
        csv.DictReader(app.respond("figures.csv", "per_day=2e6").body.decode().splitlines())
    )
    _, got = _ask(app, "project", "per_day=2e6")
    assert float(rows[0]["saving_usd"]) == pytest.approx(
        got["projection"]["savings"]["mid"], abs=0.01
    )


def test_the_charts_are_the_reports(app):
    """One way to draw: each is there wide and narrow, with what it shows in words."""
    _, charts = _ask(app, "charts", "per_day=2e6")
    assert set(charts) == {"rails", "pareto"}
    for html in charts.values():
        assert html.count('role="img" aria-label="') == 2
        assert "chart-narrow" in html


def test_without_javascript_there_is_no_blank_frame(app):
    """Figures and tables are hidden until they are filled; a sentence leads to the report."""
    html = app.respond("/", "").body.decode()
    assert "<noscript>" in html
    assert 'href="report"' in html
    for opened in re.findall(r"<(?:figure|section)[^>]*>", html):
        assert "hidden" in opened


def test_the_script_is_a_file_that_parses():
    """Node reads it as it is; nothing in it ends the page's script early."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node is installed")
    subprocess.run([node, "--check", SCRIPT], check=True)
    assert "</script" not in SCRIPT.read_text(encoding="utf-8")


def test_threshold_slider_spans_the_curve_in_whatever_order_it_was_written(app):
    """Evaluations list thresholds from high to low; the slider goes from low to high."""
    turned = app.deployment.model_copy(update={"curve": tuple(reversed(app.deployment.curve))})
    for deployment in (app.deployment, turned):
        slider = next(s for s in sliders_of(deployment) if s.name == "threshold")
        assert (slider.low, slider.value, slider.high) == (0.5, 0.83, 0.95)
    _, one = _ask(WhatIf(turned), "project", "threshold=0.9")
    _, other = _ask(app, "project", "threshold=0.9")
    assert one == other


def test_certified_point_is_the_first_measured_at_or_above_the_certified_threshold(app):
    """A certified threshold between two measured ones is shown at the higher one."""
    between = app.deployment.model_copy(update={"certified_threshold": 0.84})
    _, got = _ask(WhatIf(between), "project")
    assert [p["threshold"] for p in got["pareto"] if p["certified"]] == [0.95]


def test_mounted_below_a_prefix_it_answers_the_same(app):
    """Another server may mount the page anywhere."""
    assert _ask(app, "/admin/whatif/project") == _ask(app, "/project")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("per_day=abc", "per_day is 'abc'; a number is needed"),
        ("per_day=nan", "finite"),
        ("per_day=-1", "per_day is -1; it goes from 100 to 1,000,000,000"),
        ("colour=red", "there is no slider 'colour'"),
        ("audit_rate=2", "audit_rate"),
        ("machines=0", "machines is 0; it goes from 1 to 64"),
    ],
)
@pytest.mark.parametrize("path", ["project", "simulate", "report"])
def test_bad_values_are_one_sentence(app, path, query, words):
    """Status 400 and a sentence, never a traceback."""
    status, got = _ask(app, path, query)
    assert status == 400
    assert words in got["error"]


def test_unknown_page_is_404(app):
    """An address that is no page says so."""
    assert _ask(app, "/nonsense")[0] == 404


def test_report_is_the_money_page(app):
    """The printable report shows the settings of the sliders."""
    html = app.respond("report", "per_day=1e6").body.decode()
    assert "1,000,000" in html
    assert html.count("<svg") == 8


def test_simulated_month_agrees_with_the_closed_form(app):
    """Below every limit, the simulated bill is the closed form within sampling error."""
    status, got = _ask(app, "simulate", "per_day=1e6")
    assert status == 200
    rows = dict(got["rows"])
    simulated = float(rows["cascade, per month"].strip("$").replace(",", ""))
    _, closed = _ask(app, "project", "per_day=1e6")
    cascade = next(r for r in closed["projection"]["rails"] if r["name"] == "cascade")
    assert simulated == pytest.approx(cascade["usd_per_month"], rel=0.02)
    assert got["requests"] == pytest.approx(400_000, rel=0.01)
    assert got["wall_s"] < 60


def test_what_the_simulator_finds_turns_the_verdict(plain_task):
    """Eight slots for 13 calls a second: unanswered escalations turn sentence, flags, agreement."""
    changes = {"evaluation.n": 2600, "evaluation.escalated": 290, "evaluation.disagreements": 40,
               "usage.input_tokens": 300, "usage.output_tokens": 10}  # fmt: skip
    _, healthy = _ask(WhatIf(read_deployment(plain_task[1], changes=changes)), "simulate")
    assert (healthy["answers"], healthy["pays"], healthy["alert"]) == (True, True, "")
    few = {**changes, "teacher.max_concurrency": 8, "teacher.latency_s": None}
    app = WhatIf(read_deployment(plain_task[1], changes=few))
    for page in ("project", "simulate"):
        _, got = _ask(app, page)
        assert (got["answers"], got["pays"], got["tone"]) == (None, False, "bad")
        assert got["alert"].startswith("It is not shown to answer: ")
        assert got["saved"] != "saved a month"
        assert got["feasibility"]["unanswered"] == pytest.approx(0.2, abs=0.05)
    assert got["agreement"] < healthy["agreement"] - 0.005
    _, got = _ask(WhatIf(read_deployment(plain_task[1], changes={**few, "teacher.latency_s": 0.6})),
                  "simulate", "per_day=3e7")  # fmt: skip
    assert (got["answers"], got["pays"]) == (False, False)
    assert got["feasibility"]["unanswered"] > 0.6
    # The sentence is the run's own and not the closed form's, which comes to another share.
    assert f"{got['feasibility']['unanswered']:.1%} of the escalations" in got["verdict"]


def test_once_it_answers_it_pays_for_the_calls_that_were_not_made(plain_task):
    """Two thirds unanswered make the cascade cheap: what it would cost to answer them is said."""
    changes = {"evaluation.n": 2600, "evaluation.escalated": 290, "usage.input_tokens": 300,
               "usage.output_tokens": 10, "teacher.max_concurrency": 8,
               "teacher.latency_s": None}  # fmt: skip
    app = WhatIf(read_deployment(plain_task[1], changes=changes))
    for page in ("project", "simulate"):
        _, got = _ask(app, page, "per_day=3e7")
        assert got["answers"] is None
        assert got["verdict"].endswith("it costs MORE than: cheap decision API.")


def test_the_page_announces_the_verdict_and_says_that_it_computes(app):
    """A warning is an alert, the verdict a live region, and nothing is green before the run."""
    html = app.respond("/", "").body.decode()
    assert 'id="alert" class="bad" role="alert"' in html
    assert 'id="verdict" role="status"' in html
    assert "the simulator computes" in html


def test_scenario_of_a_deployment_keeps_its_rates(app):
    """The simulator is told the same traffic, escalation, audits, machines and tokens."""
    scenario = scenario_of(app.deployment)
    assert scenario.workload.per_day == 10_000_000
    assert scenario.policy.escalation_rate == 262 / 2629
    assert scenario.student.replicas == 2
    read = scenario.teacher.tokens_per_student_token * scenario.workload.tokens.mean
    assert read == pytest.approx(51.5)


def test_over_http_on_loopback(app):
    """A real server answers a real request."""
    server = make_server(app, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.server_address[1]}"
        with urllib.request.urlopen(f"{base}/project?per_day=2e6", timeout=30) as reply:
            got = json.loads(reply.read())
        assert got["projection"]["requests_per_day"] == pytest.approx(2e6)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.e2e
def test_another_name_for_this_machine_is_refused(app):
    """A page elsewhere whose name leads here cannot read the bill; a missing icon is no error."""
    server = make_server(app, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        asked = urllib.request.Request(f"{here}/project", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(asked)
        assert caught.value.code == 421
        with urllib.request.urlopen(f"{here}/favicon.ico") as reply:
            assert reply.status == 204
    finally:
        server.shutdown()
        server.server_close()


def test_in_a_browser(app, tmp_path):
    """Headless Chromium runs the page: the headline and the simulated row appear."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium is installed")
    app.respond("simulate", "")  # compiled before the browser waits for it
    server = make_server(app, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
             f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000",
             f"http://127.0.0.1:{server.server_address[1]}/?per_day=2000000"],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    assert "saved a month" in done.stdout
    assert 'aria-valuetext="2,000,000"' in done.stdout
    assert done.stdout.count('<svg role="img"') == 4
    assert "It pays against the price given" in done.stdout
    assert "p50 / p99, all answers" in done.stdout
