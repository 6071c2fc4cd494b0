"""What is written about a run: page, JUnit, history."""

import json
import re
import subprocess
from decimal import Decimal
from xml.etree import ElementTree

import pytest

from loadtests.figures.load_report import report_of
from loadtests.generator.tallies import RequestOutcome, Tally
from loadtests.inputs.request import Wanted
from loadtests.inputs.scenario import LoadScenario
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.report.junit import junit
from loadtests.report.page import page_of
from loadtests.report.terminal import text_of
from loadtests.run import write
from loadtests.servers.usage import ServerUsage
from loadtests.verdict.conclusion import Conclusion, NullCheck, PredictedFigure, Repeat, versions
from loadtests.verdict.drift import drift_of

READ = LoadScenario(name="peak", about="", load={})
SPEC = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=50, duration_s=40)


def report(**slo):
    """2,000 answers, every tenth by the teacher, by a server that grows 1 MB in 10 s."""
    tally = Tally(1.0)
    for i in range(2000):
        route = "teacher" if i % 10 == 0 else "student"
        latency = 0.2 if route == "teacher" else 0.004
        stages = (("queue", 0.001), ("forward", 0.0005))
        tally.arrive(i / 50)
        tally.record(
            RequestOutcome(
                i / 50,
                i,
                0.0003,
                latency,
                200,
                None,
                route,
                "why",
                "x",
                0.9,
                Decimal("0.001"),
                stages,
            ),
            SPEC,
        )
    tally.cpu = dict.fromkeys(range(40), 0.1)
    usage = [
        ServerUsage(at_s=at, cpu=0.2, rss_mb=200 + at / 10, descriptors=30 + at // 20)
        for at in range(40)
    ]
    return report_of(SPEC, tally, Slo.model_validate(slo), tuple(usage))


def conclusion(found):
    """The run with all that belongs to it."""
    return Conclusion(
        scenario="peak",
        about="Busy.",
        at="2026-11-24T12:00:00+00:00",
        report=found,
        null_server=NullCheck(
            rate=75, send_lag_p99_ms=0.5, generator_cpu=0.1, p99_ms=1, passed=True, words="fine"
        ),
        comparison=(PredictedFigure(name="p50, ms", predicted=4.4, measured=4.0),),
        drift=drift_of(found),
        versions={"raisehand": "0.1.0"},
    )


def test_drift_is_the_slope_per_hour():
    """A tenth of a megabyte a second is 360 MB an hour; descriptors first and last are kept."""
    drift = drift_of(report())
    assert drift.rss_mb_per_h == pytest.approx(360, rel=0.01)
    assert drift.descriptors == (30, 31)
    assert drift.p99_ms == (None, None)  # five hundred answers a quarter carry none
    assert "(+360.00 MB/h), descriptors 30 to 31, p99 not known in the first" in drift.words


def test_only_a_long_run_speaks_of_an_hour():
    """The slope of 40 seconds is not printed; that of a soak is."""
    short = conclusion(report())
    spec = SPEC.model_copy(update={"duration_s": 1800})
    long = short.model_copy(update={"report": short.report.model_copy(update={"spec": spec})})
    assert "MB/h" not in page_of(short).html()
    assert "+360.00 MB/h" in page_of(long).html()


def test_page_holds_the_verdict_the_plots_and_the_prediction():
    """Self-contained, with what failed, six plots wide and narrow, predicted beside measured."""
    html = page_of(conclusion(report(latency_ms={"student": {"p99": 1}}))).html()
    assert "FAIL: student p99" in html
    assert html.count("<svg") == 2 * 6
    assert "+10.0%" in html
    assert "null server" in html
    assert not re.search(r"(src|href)=.http", html)


def test_page_shows_the_spread_of_several_runs():
    """Each run by seed and verdict; a single run needs no such table."""
    found = report()
    other = found.model_copy(update={"valid": False, "spec": SPEC.model_copy(update={"seed": 1})})
    several = conclusion(found).model_copy(update={"repeats": (Repeat.of(found), Repeat.of(other))})
    assert "They differ in their seed alone" in page_of(several).html()
    assert "They differ in their seed alone" not in page_of(conclusion(found)).html()
    assert [(run.seed, run.passed) for run in several.repeats] == [(0, True), (1, False)]


def test_junit_names_every_broken_limit():
    """One case for the validity rules and one for each limit; a broken one carries its sentence."""
    missed = conclusion(report(latency_ms={"student": {"p99": 1}}))
    suite = ElementTree.fromstring(junit(missed))[0]
    cases = {case.get("name"): case.find("failure") for case in suite.iter("testcase")}
    assert set(cases) == {"the run counts", "failure rate", "student p99"}
    assert cases["failure rate"] is None
    assert "at most 1 ms" in cases["student p99"].get("message")
    assert (suite.get("failures"), suite.get("errors")) == ("1", "0")
    assert suite.get("timestamp") == missed.at
    known = {p.get("name"): p.get("value") for p in suite.find("properties")}
    assert (known["seed"], known["raisehand"]) == ("0", "0.1.0")


MISSED = {"latency_ms": {"student": {"p99": 1}}}
LATE = {"valid": False, "invalid_reasons": ("the generator was late",)}


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        (["pass"], "PASS"),
        (["missed"], "FAIL"),
        (["late"], "INVALID"),
        (["pass", "pass", "pass"], "PASS"),
        *((["missed" if k == bad else "pass" for k in range(3)], "FAIL") for bad in range(3)),
        *((["late" if k == bad else "pass" for k in range(3)], "INVALID") for bad in range(3)),
        (["missed", "late", "pass"], "FAIL"),
        (["late", "late", "missed"], "FAIL"),
    ],
)
def test_every_output_tells_the_same_verdict(kinds, word, tmp_path):
    """Whichever run fails or does not count: terminal, page, JUnit, JSON, history and exit."""
    runs = [report(**MISSED) if kind == "missed" else report() for kind in kinds]
    runs = [
        run.model_copy(update=LATE if kind == "late" else {})
        for run, kind in zip(runs, kinds, strict=True)
    ]
    several = conclusion(runs[0]).model_copy(
        update={"repeats": tuple(map(Repeat.of, runs)) if len(runs) > 1 else ()}
    )
    outputs = {name: tmp_path / name for name in ("json", "html", "junit", "history")}
    write(Wanted(READ, Slo(), None, {}, outputs=outputs), several)
    assert several.passed is (word == "PASS")
    told = json.loads(outputs["json"].read_text())
    assert (told["verdict"], told["passed"]) == (word, several.passed)
    assert json.loads(outputs["history"].read_text())["verdict"] == word
    html = outputs["html"].read_text()
    assert f"<b>{word}</b>" in html
    others = {"PASS", "FAIL", "INVALID"} - {word}
    assert not any(f"<b>{other}</b>" in html for other in others)
    assert html.index(word) < html.index("goodput")
    suites = ElementTree.parse(outputs["junit"]).getroot()
    red = {"missed": ("1", "0"), "late": ("0", "1"), "pass": ("0", "0")}
    assert [(s.get("failures"), s.get("errors")) for s in suites.iter("testsuite")] == [
        red[kind] for kind in kinds
    ]
    assert len(suites.findall(".//failure")) == kinds.count("missed")
    assert len(suites.findall(".//error")) == kinds.count("late")
    last_words = text_of(several).strip().splitlines()[-2]
    assert word in last_words
    assert not any(other in last_words for other in others)


def test_the_verdict_is_the_largest_word_of_the_page():
    """Larger than the title and than any figure."""
    html = page_of(conclusion(report())).html()
    sizes = {
        rule: float(re.search(rf"{re.escape(rule)} \{{[^}}]*font-size: ([\d.]+)rem", html)[1])
        for rule in (".verdict b", "h1", ".headline b")
    }
    assert sizes[".verdict b"] > max(sizes["h1"], sizes[".headline b"])


def test_the_commit_is_that_of_raisehand(tmp_path, monkeypatch):
    """Started in somebody else's repository the report does not claim their commit."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    here = versions().get("commit")
    monkeypatch.chdir(tmp_path)
    assert versions().get("commit") == here


def test_history_grows_by_a_line(tmp_path):
    """Each run appends one JSON line with its figures and the errors of its prediction."""
    path = tmp_path / "new" / "history.jsonl"
    asked = Wanted(READ, Slo(), None, {}, outputs={"history": path})
    assert write(asked, conclusion(report())) == write(asked, conclusion(report())) == []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0]["errors"] == {"p50, ms": pytest.approx(0.1)}
    assert lines[0]["goodput_rps"] == 50.0


def test_line_without_a_figure_has_no_error():
    """Where one side is missing or zero there is no error to speak of."""
    assert PredictedFigure(name="x", predicted=None, measured=1).error is None
    assert PredictedFigure(name="x", predicted=1, measured=None).error is None
    assert PredictedFigure(name="x", predicted=1, measured=0).error is None
    assert PredictedFigure(name="x", predicted=0.9, measured=1).error == pytest.approx(-0.1)


def test_json_of_a_conclusion_reads_back():
    """The JSON report is the whole conclusion."""
    whole = conclusion(report())
    assert Conclusion.model_validate_json(whole.model_dump_json()) == whole


def test_the_page_says_what_was_measured_and_when():
    """Target, teacher, date and time-out stand on it, without an exponent or a backtick."""
    found = report()
    slow = found.latency_ms["all"].model_copy(update={"max": 15002.8})
    found = found.model_copy(update={"latency_ms": {**found.latency_ms, "all": slow}})
    told = conclusion(found).model_copy(
        update={"target": "a router with task urgency, bundle latest", "teacher": "a fake teacher"}
    )
    html = page_of(told).html()
    for words in ("task urgency, bundle latest", "a fake teacher", "2026-11-24 12:00", "time-out"):
        assert words in html
    assert "15,003" in html
    text = re.sub(r"<(style|svg).*?</\1>", "", html, flags=re.DOTALL)
    assert "e+0" not in text
    assert "`" not in text
