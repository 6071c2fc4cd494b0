"""The what-if page: every answer is the projection's, every bad address one sentence."""

import json
import threading
import urllib.request

import pytest

from costmodel.inputs.taskfile import read_deployment
from costmodel.web.server import WhatIf, make_server, scenario_of
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
                 "machine_price"):  # fmt: skip
        assert f'id="{name}"' in html
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
        at = 10**slider.value if slider.scale == "log" else slider.value
        if slider.step == 1:
            continue
        for factor in (0.999, 1.001):
            status, got = _ask(app, "project", f"{slider.name}={at * factor!r}")
            assert status == 200
            for before, after in zip(base.baselines, got["projection"]["baselines"], strict=True):
                assert after["usd_per_month"] == pytest.approx(
                    float(before.usd_per_month), rel=0.003
                ), (slider.name, before.name)


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
        ("per_day=-1", "traffic.requests_per_day"),
        ("colour=red", "there is no slider 'colour'"),
        ("audit_rate=2", "audit_rate"),
        ("machines=0", "min_machines"),
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
    assert html.count("<svg") == 4


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
def test_in_a_browser(app, tmp_path):
    """Headless Chromium runs the page: the headline and the simulated row appear."""
    import shutil
    import subprocess

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
    assert "2.00 M" in done.stdout
    assert "It pays against the price given" in done.stdout
    assert "p50 / p99, all answers" in done.stdout
