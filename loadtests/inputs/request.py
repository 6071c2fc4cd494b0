"""What the command line asks for: scenario, task and options put together, the options winning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.errors import BadLoadSpec
from loadtests.inputs.log import NOWHERE, as_recorded
from loadtests.inputs.scenario import LoadScenario, read_scenario, read_slo
from loadtests.inputs.slo import Slo, load_slo
from loadtests.inputs.spec import LoadSpec, load_spec
from loadtests.inputs.taskfile import LoadTask, read_task

DEFAULTS: Mapping[str, Any] = {"rate": 100.0}
FITTED_RATES = (50.0, 150.0, 500.0, 1000.0)
"""No scenario's own."""
TEACHER: Mapping[str, Any] = {"latency_ms": 120, "latency_sigma": 0.5}
"""Of a run without a scenario: that of most scenarios, so that --fit is of use to them."""
PATIENCE_S = 5.0
"""A client waits so much longer than the router does for its teacher."""
MODES: Mapping[str, frozenset[str]] = {
    "knee": frozenset({"json_path", "html_path"}),
    "fit": frozenset(),
    "predict_only": frozenset({"json_path"}),
    "against": frozenset({"json_path", "html_path", "repeats"}),
}
"""What is done instead of a test, and what can be written of it."""
OF_A_TEST = ("json_path", "html_path", "junit_path", "history", "samples", "repeats")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One call of `raisehand loadtest`."""

    scenario: LoadScenario
    slo: Slo
    task: LoadTask | None
    load: Mapping[str, Any]
    """Fields of LoadSpec but the URL."""
    url: str | None = None
    bundle: str | None = None
    port: int = 0
    pin: bool = True
    serve: tuple[str, ...] = ()
    """Further options of the router that is started."""
    own_teacher: bool = False
    null_check: bool | None = None
    """None: when the generator's limit is not known to be enough for the rate."""
    repeats: int = 1
    knee: bool = False
    past: tuple[float, ...] = ()
    confirm: int = 3
    """Runs that have to hold at the knee."""
    most_runs: int = 40
    against: str | None = None
    """The URL of another server: both are tested in turns and compared."""
    fit: bool = False
    fit_at: tuple[float, ...] = FITTED_RATES
    predict_only: bool = False
    outputs: Mapping[str, Path] = field(default_factory=dict)
    """json, html, junit, history, profile."""

    def spec(self, url: str | None = None) -> LoadSpec:
        """Return the load test against a URL.

        Raises:
            BadLoadSpec: names each field that cannot be.
        """
        return load_spec(url=url or NOWHERE, **self.load)

    @property
    def target(self) -> str:
        """Name what is loaded."""
        if self.url is not None:
            return self.url
        assert self.task is not None
        bundle = self.bundle or self.task.latest_bundle or "latest"
        return f"a router with task {self.task.name}, bundle {bundle}"

    @property
    def teacher(self) -> str:
        """Name the teacher that answers: a profile is of one."""
        if self.url is not None:
            return f"the teacher of {self.url}"
        if self.own_teacher:
            return "the task's own teacher"
        return f"a fake teacher with {json.dumps(dict(self.scenario.teacher), sort_keys=True)}"

    @property
    def outages(self) -> tuple[tuple[float, float], ...]:
        """Seconds of the window between which the fake teacher fails; another's are not ours."""
        if self.url is not None or self.own_teacher:
            return ()
        return tuple((start, end) for start, end in self.scenario.teacher.get("outages", ()))

    @property
    def profile_path(self) -> Path:
        """Where the fitted profile of the router is kept.

        Raises:
            BadLoadSpec: neither --profile nor --task says where.
        """
        if "profile" in self.outputs:
            return self.outputs["profile"]
        if self.task is None:
            raise BadLoadSpec("a profile belongs to a task; give --task or --profile")
        return self.task.inside(self.task.work_dir) / "load-profile.json"

    @property
    def has_profile(self) -> bool:
        """Whether a prediction can be made; a profile that was named must be there."""
        if "profile" in self.outputs:
            return True
        return self.task is not None and self.profile_path.exists()


def wanted_of(options: Mapping[str, Any]) -> Wanted:
    """Put a command line together; only what was given is in `options`.

    Raises:
        BadLoadSpec: there is no target or no inputs, or a file names what cannot be.
    """
    _one_thing(options)
    left = dict(options)
    scenario = (
        read_scenario(left.pop("scenario"))
        if "scenario" in left
        else LoadScenario(name="load test", about="", load={}, teacher=TEACHER)
    )
    task = read_task(left.pop("task")) if "task" in left else None
    url = left.pop("url", None)
    if url is None and task is None and "predict_only" not in left:
        raise BadLoadSpec("there is no target; give --url of a running server, or --task")
    if "against" in left and url is None:
        raise BadLoadSpec("--against compares two running servers; give --url of the first")
    if "serve" in left and url is not None:
        raise BadLoadSpec("--serve is of the router that --task starts; leave it out with --url")
    if "fit" in left and task is None:
        raise BadLoadSpec("--fit needs --task: the teacher's limits are part of the profile")
    outputs = {
        name: left.pop(key)
        for name, key in (
            ("json", "json_path"),
            ("html", "html_path"),
            ("junit", "junit_path"),
            ("history", "history"),
            ("profile", "profile"),
        )
        if key in left
    }
    if task is not None and "history" not in outputs and not MODES.keys() & left.keys():
        outputs["history"] = task.inside(task.work_dir) / "loadtests.jsonl"
    chosen: dict[str, Any] = {
        name: left.pop(name)
        for name in (
            "bundle",
            "port",
            "pin",
            "serve",
            "own_teacher",
            "knee",
            "past",
            "confirm",
            "most_runs",
            "against",
            "fit",
            "fit_at",
            "predict_only",
        )
        if name in left
    }
    _belong_together(chosen)
    repeats = left.pop("repeats", scenario.repeats)
    if repeats > 1 and "samples" in left:
        raise BadLoadSpec("--samples keeps the requests of one run; leave out --repeats")
    named = "scenario" in options and not chosen.get("predict_only")
    slo = _slo_of(left, scenario)
    if left.get("closed_loop") is not None:
        _judge_no_latency(slo, chosen)
    return Wanted(
        scenario=scenario,
        slo=slo,
        task=task,
        url=url,
        repeats=repeats,
        null_check=left.pop("null_check", named or None),
        outputs=outputs,
        load=_load_of(left, scenario, task),
        **chosen,
    )


def _one_thing(options: Mapping[str, Any]) -> None:
    """Refuse two things at once, and an output that what is done does not have.

    Raises:
        BadLoadSpec: names both options.
    """
    modes = [mode for mode in MODES if options.get(mode)]
    if len(modes) > 1:
        raise BadLoadSpec(f"{' and '.join(map(_flag, modes))} are different things; give one")
    for mode in modes:
        for output in OF_A_TEST:
            if output in options and output not in MODES[mode]:
                raise BadLoadSpec(
                    f"{_flag(output)} is of a load test and {_flag(mode)} makes none; leave out one"
                )


def _flag(name: str) -> str:
    return f"--{name.removesuffix('_path').replace('_', '-')}"


def _belong_together(chosen: Mapping[str, Any]) -> None:
    """Refuse what would change nothing or cannot be measured at.

    Raises:
        BadLoadSpec: an option without the one it belongs to, or a rate or multiple of 0 or less.
    """
    owners = {"past": "knee", "confirm": "knee", "most_runs": "knee", "fit_at": "fit"}
    for option, owner in owners.items():
        if option not in chosen:
            continue
        flag = _flag(option)
        if not chosen.get(owner):
            raise BadLoadSpec(f"{flag} belongs to --{owner}; give both or neither")
        if isinstance(chosen[option], tuple) and any(not value > 0 for value in chosen[option]):
            found = ", ".join(f"{value:g}" for value in chosen[option])
            raise BadLoadSpec(f"{flag} must be greater than 0 (found {found})")


def _judge_no_latency(slo: Slo, chosen: Mapping[str, Any]) -> None:
    """Refuse to conclude from the latencies of a closed loop: a slow target is asked less.

    Raises:
        BadLoadSpec: names what would be concluded.
    """
    asked = [
        f"--{mode.replace('_', '-')}"
        for mode in ("knee", "fit", "predict_only")
        if chosen.get(mode)
    ]
    if slo.latency_ms or slo.worst_interval_ms or slo.min_good_share is not None:
        asked.append("a limit on latencies")
    if asked:
        raise BadLoadSpec(
            f"--closed-loop asks a slow target less, so that its latencies judge nothing; leave it "
            f"out, or {' and '.join(asked)}"
        )


def _slo_of(left: dict[str, Any], scenario: LoadScenario) -> Slo:
    base = read_slo(left.pop("slo_path")) if "slo_path" in left else scenario.slo
    limits = base.model_dump()
    if "max_failure_rate" in left:
        limits["max_failure_rate"] = left.pop("max_failure_rate")
    if "p99_ms" in left:
        everything = {**limits["latency_ms"].get("all", {}), "p99": left.pop("p99_ms")}
        limits["latency_ms"] = {**limits["latency_ms"], "all": everything}
    return load_slo(**limits)


def _load_of(left: dict[str, Any], scenario: LoadScenario, task: LoadTask | None) -> dict[str, Any]:
    """Return the fields of LoadSpec: defaults, then the task's, the scenario's, the options'."""
    load: dict[str, Any] = {}
    if task is not None:
        prompt = task.teacher.prompt
        load.update(
            inputs=task.inside(task.inputs.path),
            text=task.inputs.text,
            encoding=task.inputs.encoding,
            delimiter=task.inputs.delimiter,
            model=task.name,
            labels=task.words,
            user=prompt.get("user", "{text}"),
            system=prompt.get("system", ""),
            timeout_s=max(10.0, task.teacher.timeout_s + PATIENCE_S),
        )
    load.update(scenario.load)
    shape = dict(load.get("shape") or {})
    if "shape" in left:
        shape = {"kind": left.pop("shape")}
    if "stages" in left:
        if shape:
            raise BadLoadSpec(
                "--stages is a shape of its own; leave out --shape, or the scenario's"
            )
        shape = {"kind": "stages", "stages": _stages(left.pop("stages"))}
    if "factor" in left:
        shape["factor"] = left.pop("factor")
    if "factor" in shape and shape.get("kind", "steady") == "steady":
        raise BadLoadSpec("--factor moves a rate that a shape moves; give --shape, e.g. step")
    if shape:
        load["shape"] = shape
    load.update(left)
    if "cv" in left and load.get("arrivals") != "gamma":
        raise BadLoadSpec("--cv is the variation of gamma gaps; give --arrivals gamma with it")
    if "inputs" not in load:
        raise BadLoadSpec("there are no inputs; give --inputs data.csv, or --task")
    return {**DEFAULTS, **as_recorded(load)}


def _stages(written: str) -> list[tuple[float, float]]:
    """Read `10:5,20:5`: seconds and the factor at their end.

    Raises:
        BadLoadSpec: a stage is not two numbers.
    """
    stages = []
    for part in written.split(","):
        seconds, _, factor = part.partition(":")
        try:
            stages.append((float(seconds), float(factor)))
        except ValueError:
            raise BadLoadSpec(
                f"--stages: {part!r} is not seconds:factor; write e.g. 10:5,20:5,10:1"
            ) from None
    return stages
