"""Feasible, then promised, then cheap: whatever fails leads, everywhere a verdict is read."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from costmodel.commands.whatif import whatif

EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"
MONTH = EXAMPLES / "ten-million-a-day.yaml"
SLOW_STUDENT = {"days": 0.02, "student.fixed_s": 2, "student.max_batch": 8}


def _run(*words: object):
    return CliRunner().invoke(whatif, [str(word) for word in words], catch_exceptions=False)


def _sets(changes):
    return [word for field, value in changes.items() for word in ("--set", f"{field}={value}")]


def _answer(*words, **changes):
    done = _run(*words, "--json", *_sets(changes))
    return done.exit_code, json.loads(done.output)


@pytest.fixture(params=["base", "engine"])
def base_or_engine(request, base_file, engine_file):
    """A healthy scenario of each kind of teacher."""
    return base_file if request.param == "base" else engine_file


FAILURES = {
    "slow student": (MONTH, SLOW_STUDENT, "of the requests are refused"),
    "slow student, bursts": (EXAMPLES / "burst.yaml", SLOW_STUDENT, "beyond their deadline"),
    "too few slots": (MONTH, {"days": 0.02, "teacher.max_concurrency": 1}, "no free slot"),
    "too much patience": (
        MONTH,
        {"days": 0.02, "teacher.max_concurrency": 1, "teacher.max_wait_s": "null",
         "teacher.asking": "null"},
        "too late",
    ),
    "short student queue": (
        MONTH,
        {"days": 0.02, "student.queue_limit": 1, "student.fixed_s": 0.05},
        "the student's queue is full",
    ),
    "deadline before the student": (
        MONTH,
        {"days": 0.02, "student.fixed_s": 1.5, "student.replicas": 8, "policy.deadline_s": 1,
         "student.max_batch": 64},
        "deadline of 1 s",
    ),
    "teacher fails": (
        MONTH,
        {"days": 0.02, "teacher.failure_rate": 0.9, "teacher.max_attempts": 1},
        "the teacher fails",
    ),
    "teacher fails and so do we": (
        MONTH,
        {"days": 0.02, "teacher.failure_rate": 0.9, "policy.on_failure": "error"},
        "of the requests are refused, mostly because the teacher fails",
    ),
    "throttled": (MONTH, {"days": 0.02, "teacher.calls_per_minute": 60}, "throttles"),
    "timed out": (MONTH, {"days": 0.02, "teacher.timeout_s": 0.2}, "the teacher is too late"),
    "budget used up": (MONTH, {"days": 0.02, "policy.budget_per_s": 1}, "budget is used up"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_a_system_that_does_not_answer_is_never_praised(case):
    """Refused, late, busy, throttled, failing, over budget: the verdict says so before a dollar."""
    scenario, changes, words = FAILURES[case]
    code, got = _answer(scenario, **changes, baselines="{}")
    assert code == 3, got["verdict"]
    assert (got["answers"], got["pays"]) == (False, False)
    assert got["verdict"].startswith("It does not answer: ")
    assert words in got["verdict"]
    assert "It pays" not in got["verdict"]
    assert got["figures"]["pays"] is False


def test_a_late_engine_is_no_engine(engine_file):
    """A hosted teacher of whose answers none comes in time."""
    code, got = _answer(engine_file, **{"teacher.timeout_s": 1})
    assert (code, got["answers"], got["pays"]) == (3, False, False)


def test_half_a_per_cent_that_escalates_has_to_be_answered_too(base_file):
    """A limit on the share of all requests would let every escalation of a sure student fail."""
    changes = {"policy.escalation_rate": 0.005, "teacher.failure_rate": 1, "days": 0.01}
    code, got = _answer(base_file, **changes)
    assert got["figures"]["degraded_rate"] < 0.01
    assert (code, got["answers"]) == (3, False)


def test_a_healthy_cascade_is_called_one_that_pays(base_or_engine):
    """All three parts hold: the flags, the code and the sentence say so."""
    changes = {"policy.escalation_rate": 0.1, "policy.audit_rate": 0.01, "days": 0.02}
    if "engine" in base_or_engine.name:
        changes |= {"workload.per_second": 300, "teacher.replicas": 2}
    code, got = _answer(base_or_engine, **changes)
    assert (code, got["answers"], got["keeps_promise"], got["pays"]) == (0, True, None, True)
    assert "It pays against every alternative named." in got["verdict"]
    assert "no promise is stated" in got["verdict"]


def test_limits_come_from_the_file(base_file):
    """Who can live with a tenth unanswered says so, and is told that it answers."""
    changes = {"teacher.failure_rate": 0.02, "teacher.max_attempts": 1, "days": 0.01}
    assert _answer(base_file, **changes)[1]["answers"] is False
    got = _answer(base_file, **changes, **{"limits.most_degraded": 0.1})[1]
    assert got["answers"] is True


def test_a_scenario_holds_its_promise_against_the_simulation(base_file):
    """Degraded answers count: agreement is that of the answers given."""
    promise = {"promise": "{agreement: 0.975}", "days": 0.01}
    code, kept = _answer(base_file, **promise)
    assert (code, kept["keeps_promise"], kept["pays"]) == (0, True, True)
    wrong = {"quality.kept_disagreement": 0.05}
    code, broken = _answer(base_file, **promise, **wrong)
    assert (code, broken["keeps_promise"], broken["pays"]) == (3, False, False)
    assert broken["verdict"].startswith("It breaks its promise: 95.")
    assert "97.50% promised" in broken["verdict"]


@pytest.mark.parametrize("what", ["system", "strict"])
def test_a_task_below_its_promise_does_not_pay(plain_task, what):
    """0.930 where 0.975 was promised is a broken promise, whatever it saves."""
    promised = {"promise.promise": what}
    code, got = _answer(*plain_task, **{"evaluation.disagreements": 182}, **promised)
    assert (code, got["answers"], got["keeps_promise"], got["pays"]) == (3, True, False, False)
    assert got["verdict"].startswith("It breaks its promise: ")
    code, got = _answer(*plain_task, **{"evaluation.disagreements": 40}, **promised)
    assert (code, got["keeps_promise"], got["pays"]) == (0, True, True)
    assert "nothing certifies it" in got["verdict"]


def test_the_promise_and_the_certificate_are_read(task_file):
    """The task's promise, the bundle's certificate, and a threshold that nobody certified."""
    folder = task_file.parent / ".raisehand" / "bundles" / "abc123"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["certificate"] = {"promise": "system", "agreement": 0.97, "confidence": 0.95, "use": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    slots = {"teacher.latency_s": 0.1}
    _, got = _answer("--task", task_file, **slots)
    assert got["keeps_promise"] is True
    assert "; certified)" in got["verdict"]
    done = _run("--task", task_file, "--json", "--threshold", "0.5", *_sets(slots))
    got = json.loads(done.output)
    assert (done.exit_code, got["keeps_promise"], got["pays"]) == (3, False, False)
    done = _run("--task", task_file, "--json", "--threshold", "0.95", *_sets(slots))
    assert "nothing certifies it" in json.loads(done.output)["verdict"]
    task_file.write_text(task_file.read_text() + "promise: {agreement: 0.99}\n")
    done = _run("--task", task_file, "--json", *_sets(slots))
    assert json.loads(done.output)["keeps_promise"] is False


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher.max_concurrency": 8}, "no free slot"),
        ({"teacher.timeout_s": 0.5}, "too late"),
        ({"teacher.max_requests_per_second": 3}, "budget is used up"),
        ({"teacher.max_requests_per_second": 0}, "budget is used up"),
        ({"teacher.max_usd_per_hour": 1}, "budget is used up"),
        ({"teacher.max_concurrency": 8, "teacher.on_failure": "error"}, "are refused"),
    ],
)
def test_a_closed_form_knows_the_teachers_limits(plain_task, changes, words):
    """Slots, timeout and budgets at the mean rate stop escalations without any simulation."""
    code, got = _answer(*plain_task, **{"evaluation.disagreements": 40}, **changes)
    assert (code, got["answers"], got["pays"]) == (3, False, False)
    assert got["verdict"].startswith("It does not answer: ")
    assert words in got["verdict"]


def test_what_rests_on_an_assumed_latency_is_not_called_proven(plain_task):
    """Eight slots at 0.6 s that nobody measured: neither praised nor condemned, and never green."""
    changes = {"teacher.max_concurrency": 8, "teacher.latency_s": "null",
               "evaluation.disagreements": 40}  # fmt: skip
    code, got = _answer(*plain_task, **changes)
    assert (code, got["answers"], got["pays"]) == (0, None, False)
    assert got["verdict"].startswith("It is not shown to answer: ")
    assert "nobody measured" in got["verdict"]


def test_a_simulation_of_a_hundred_requests_says_so():
    """108 requests are no evidence for a month."""
    code, got = _answer(MONTH, days=0.00002)
    assert (code, got["enough"], got["pays"]) == (0, False, False)
    assert got["verdict"].startswith("Too little was simulated to judge: ")
    assert _answer(MONTH, days=0.02)[1]["enough"] is True


def test_wrong_and_refused_answers_are_charged_on_every_rail(base_file, plain_task):
    """What a failure costs its user is a line of the bill, simulated and in closed form."""
    costs = {"cost_of_wrong_answer": 0.01, "cost_of_refusal": 0.5, "days": 0.01}
    free = _answer(base_file, days=0.01)[1]
    got = _answer(base_file, **costs)[1]
    month = got["figures"]["requests_per_month"]
    wrong = month * got["counts"]["disagreements"] / got["counts"]["requests"] * 0.01
    more = got["figures"]["cascade_usd_per_month"] - free["figures"]["cascade_usd_per_month"]
    assert more == pytest.approx(wrong, rel=1e-3)
    alone = {r["name"]: [line["name"] for line in r["lines"]] for r in got["rails"]}
    assert "wrong answers" in alone["student_only"]
    assert "wrong answers" not in alone["teacher_only"]
    closed = next(r for r in got["projection"]["rails"] if r["name"] == "cascade")
    assert closed["usd_per_month"] == pytest.approx(
        got["figures"]["cascade_usd_per_month"], rel=0.03
    )
    assert "disagreement" in {one["input"] for one in got["uncertain"]["tornado"]}
    words = {"evaluation.disagreements": 26}
    task = _answer(*plain_task, **words)[1]
    dear = _answer(*plain_task, **words, cost_of_wrong_answer=0.01)[1]
    bills = [one["projection"]["rails"][2]["usd_per_month"] for one in (task, dear)]
    month = task["projection"]["requests_per_month"]
    assert bills[1] - bills[0] == pytest.approx(month * 26 / 2600 * 0.01)


def test_refusals_are_charged():
    """A refused request costs what the file says."""
    refused = {**SLOW_STUDENT, "baselines": "{}"}
    free = _answer(MONTH, **refused)[1]["figures"]
    dear = _answer(MONTH, **refused, cost_of_refusal=0.1)[1]["figures"]
    lost = free["requests_per_month"] * free["refused_rate"] * 0.1
    more = dear["cascade_usd_per_month"] - free["cascade_usd_per_month"]
    assert more == pytest.approx(lost, rel=1e-3)


def test_what_costs_nothing_is_said(base_file, plain_task):
    """Nobody said what a failure costs, or what was paid once: the tables say that nobody did."""
    for words in ((base_file, "--set", "days=0.01"), plain_task):
        shown = " ".join(_run(*words, "--markdown").output.split())
        assert "a wrong answer costs nothing (nobody said otherwise: cost_of_wrong_answer)" in shown
        assert words is plain_task or "the saving is gone if each of" in shown
        assert "not counted: nobody stated" in shown
        assert "engineering, evaluation, migration" in shown
        assert "nothing to earn back" in shown
        assert "0.0 hours" not in shown


def test_every_form_of_the_answer_leads_with_what_fails(base_file, tmp_path):
    """Terminal, Markdown and page say it; a sweep fails only when no place works."""
    broken = ("--set", "teacher.failure_rate=1", "--set", "days=0.01")
    page = tmp_path / "page.html"
    done = _run(base_file, *broken, "--html", page)
    assert done.exit_code == 3
    assert "It does not answer" in done.output
    html = page.read_text()
    assert html.index("It does not answer") < html.index("on paper, void")
    assert '<b class="good">' not in html
    assert _run(base_file, *broken, "--markdown").output.lstrip().startswith("It does not")
    swept = _run(base_file, "--set", "days=0.01", "--sweep", "teacher.failure_rate=0,1")
    assert swept.exit_code == 0
    assert _run(base_file, *broken, "--sweep", "policy.audit_rate=0,0.1").exit_code == 3
