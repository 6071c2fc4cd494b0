"""A search of a knee believes no run that asks more of the generator than is known of it."""

import json

import pytest

from loadtests.figures.load_report import report_of
from loadtests.generator.tallies import RequestOutcome, Tally
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.verdict import generator_limit as limit
from loadtests.verdict.null_check import believable_run, check_generator


@pytest.fixture(autouse=True)
def known(tmp_path, monkeypatch):
    """This generator sends 5,000 a second on time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    limit.remember(5000)


def perfect(spec, slo):
    """A run in which nothing is late and nothing fails."""
    tally = Tally(1.0, cpu={0: 0.1})
    for i in range(1_200):
        tally.arrive(0.5)
        tally.record(RequestOutcome(0.5, i, 0.0, 0.001, 200, None, "student"), spec)
    return report_of(spec, tally, slo)


@pytest.mark.parametrize(("rate", "valid"), [(3500, True), (3501, False)])
def test_seventy_percent_of_the_limit_holds_for_every_search(rate, valid):
    """Without a null check: `bench router`, `bench peers` and `--knee` have the same rule."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x", rate=rate, duration_s=1)
    report = believable_run(Slo(), perfect, wanted=False)(spec)
    assert report.valid is valid
    assert valid or "nothing is claimed above 70%" in report.invalid_reasons[0]


def test_what_a_closed_loop_asked_is_judged_afterwards():
    """Its rate is not known before: 1,200 answered are within 3,500, within 700 they are not."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x", rate=1, closed_loop=4, duration_s=1)
    assert believable_run(Slo(), perfect)(spec).valid
    limit.remember(1000)
    assert "1200 rps are asked" in believable_run(Slo(), perfect)(spec).invalid_reasons[0]


@pytest.mark.e2e
@pytest.mark.parametrize(
    "asked",
    [
        {"surface": "batch", "student_only": True},
        {"arrivals": "log", "time": "at"},
        {"url": "https://127.0.0.1:1", "insecure": True},
    ],
    ids=["student_only", "log", "https"],
)
def test_the_null_check_is_of_the_generator_whatever_the_target_is_asked(tmp_path, asked):
    """A null server has no student, no certificate, no log: it is asked all the same."""
    rows = tmp_path / "rows.csv"
    rows.write_text("text,at\n" + "".join(f"message {i},{i}\n" for i in range(30)))
    settings = {"url": "http://127.0.0.1:1", "inputs": rows, "rate": 20, "max_send_lag_ms": 60_000}
    null = check_generator(LoadSpec(**settings | asked, max_generator_cpu=1.0))
    assert null.rate > 20
    assert "requests failed" not in null.words


@pytest.mark.e2e
def test_the_command_s_knee_keeps_the_rule(command, server, rows, tmp_path):
    """A generator that sends 10 a second on time finds no knee at 20, however quick the target."""
    limit.remember(10)
    found = tmp_path / "knee.json"
    done = command(
        *("--url", server("null"), "--inputs", str(rows), "--rate", "20", "--duration", "1"),
        *("--warmup", "0", "--knee", "--most-runs", "1", "--no-null-check", "--json", str(found)),
        *("--max-send-lag-ms", "60000", "--max-generator-cpu", "1"),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (probe,) = json.loads(found.read_text())["probes"]
    assert not probe["valid"]
    assert "nothing is claimed above 70% of the 10" in probe["why"]
