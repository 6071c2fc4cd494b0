"""The options of the command: what was given counts, zero included."""

import click
import pytest

from loadtests.commands.loadtest import given, loadtest
from loadtests.errors import BadLoadSpec
from loadtests.inputs.request import wanted_of

TARGET = ("--url", "http://127.0.0.1:1", "--inputs", "rows.csv")
TASK = "labels: [a, b]\nname: t\nteacher: {base_url: 'http://127.0.0.1:1'}\ninputs: {path: r.csv}\n"
HONOURED = {
    "port": lambda wanted: wanted.port,
    "hard_share": lambda wanted: wanted.spec().hard_share,
    "warmup_s": lambda wanted: wanted.spec().warmup_s,
    "seed": lambda wanted: wanted.spec().seed,
    "max_failure_rate": lambda wanted: wanted.slo.max_failure_rate,
}
REFUSED = {
    "rate": "rate: Input should be greater than 0",
    "cv": "cv: Input should be greater than 0",
    "factor": "shape.factor: Input should be greater than 0",
    "duration_s": "duration_s: Input should be greater than 0",
    "repeats": "0 is not in the range x>=1",
    "confirm": "0 is not in the range x>=1",
    "most_runs": "0 is not in the range x>=1",
    "timeout_s": "timeout_s: Input should be greater than 0",
    "deadline_ms": "deadline_ms: Input should be greater than 0",
    "processes": "processes: Input should be greater than or equal to 1",
    "concurrency": "concurrency: Input should be greater than or equal to 1",
    "closed_loop": "closed_loop: Input should be greater than or equal to 1",
    "ask_within_ms": "ask_within_ms: Input should be greater than 0",
    "p99_ms": "latency_ms.all.p99: Input should be greater than 0",
    "max_send_lag_ms": "max_send_lag_ms: Input should be greater than 0",
    "max_generator_cpu": "max_generator_cpu: Input should be greater than 0",
    "past": "--past must be greater than 0",
    "fit_at": "--fit-at must be greater than 0",
}
WITH = {
    "cv": ("--arrivals", "gamma"),
    "factor": ("--shape", "step"),
    "past": ("--knee",),
    "fit_at": ("--fit",),
}
NUMERIC = [
    option
    for option in loadtest.params
    if isinstance(option.type, click.types.FloatParamType | click.types.IntParamType)
]


def wanted(*arguments):
    """What a command line asks for."""
    return wanted_of(given(loadtest.make_context("loadtest", list(arguments))))


def test_every_numeric_option_is_walked_with_zero():
    """An option that is added must say here what 0 means."""
    assert {option.name for option in NUMERIC} == HONOURED.keys() | REFUSED.keys()


@pytest.mark.parametrize("option", NUMERIC, ids=lambda option: option.name)
def test_zero_is_a_value(option, tmp_path):
    """Where 0 is allowed it is honoured; where it is not, a sentence names the option."""
    target = TARGET
    if option.name == "fit_at":
        (tmp_path / "task.yaml").write_text(TASK)
        target = ("--task", str(tmp_path / "task.yaml"))
    line = (*target, *WITH.get(option.name, ()), option.opts[0], "0")
    if option.name in HONOURED:
        assert HONOURED[option.name](wanted(*line)) == 0
        return
    with pytest.raises((BadLoadSpec, click.UsageError)) as refused:
        wanted(*line).spec()
    assert REFUSED[option.name] in str(refused.value)
    assert "found 0" in str(refused.value) or "0 is not" in str(refused.value)


def test_a_flag_that_says_no_was_given():
    """--no-pin and --no-null-check are answers, not silence."""
    asked = wanted(*TARGET, "--no-pin", "--no-null-check")
    assert (asked.pin, asked.null_check) == (False, False)
    silent = wanted(*TARGET)
    assert (silent.pin, silent.null_check) == (True, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--past", "2"), "--past belongs to --knee"),
        (("--confirm", "2"), "--confirm belongs to --knee"),
        (("--factor", "3"), "give --shape"),
        (("--cv", "2"), "give --arrivals gamma"),
    ],
)
def test_what_would_change_nothing_is_refused(options, words):
    """An option without the one it belongs to is not silently ignored."""
    with pytest.raises(BadLoadSpec, match=words):
        wanted(*TARGET, *options).spec()


@pytest.mark.parametrize("mode", ["--knee", "--fit", "--predict-only"])
@pytest.mark.parametrize(
    "output", ["--json", "--html", "--junit", "--history", "--samples", "--repeats"]
)
def test_an_output_is_written_or_refused(mode, output, tmp_path):
    """Nothing that was asked for is silently left out."""
    (tmp_path / "task.yaml").write_text(TASK)
    line = ("--task", str(tmp_path / "task.yaml"), mode, output, "2")
    name = output.removeprefix("--")
    if (output == "--json" and mode != "--fit") or (output, mode) == ("--html", "--knee"):
        assert str(wanted(*line).outputs[name]) == "2"
        return
    with pytest.raises(BadLoadSpec, match=f"{output} is of a load test and {mode} makes none"):
        wanted(*line)


def test_two_things_at_once_are_refused(tmp_path):
    """A knee is not a fit; what was meant is asked."""
    with pytest.raises(BadLoadSpec, match="--knee and --fit are different things"):
        wanted(*TARGET, "--knee", "--fit")
