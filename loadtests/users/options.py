"""The options of a load test for `locust` itself: on its command line and in its web UI."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtests.errors import BadLoadSpec
from loadtests.inputs.log import as_recorded
from loadtests.inputs.scenario import read_slo
from loadtests.inputs.slo import Slo, load_slo
from loadtests.inputs.spec import LoadSpec, load_spec

WORDS: Mapping[str, str] = {
    "inputs": "Table of real inputs",
    "text": "Column that holds the text",
    "surface": "classify, chat, chat-stream, systemone or batch; --tags mixes several",
    "labels": "systemone: the options, with commas between",
    "rate": "Requests per second, all processes together",
    "arrivals": "poisson, constant, gamma, replay or log",
    "time": "log: column that holds when each input came",
    "duration_s": "Seconds that are measured",
    "warmup_s": "Seconds before, not measured",
    "client": "whole, apart (the body in a write of its own) or fresh (a connection for each)",
    "concurrency": "Requests in flight per process before one is dropped",
    "seed": "Fixes arrivals and order",
}
"""Of the options that need saying; the others are named as in `raisehand loadtest --help`."""
SHAPE = {"shape": "kind", "factor": "factor", "at_s": "at_s", "length_s": "length_s"}
LIMITS = ("p99_ms", "max_failure_rate", "slo")
NOT_HERE = ("url", "shape", "processes", "samples", "locust", "abort", "closed_loop")
"""Locust's own --host and --processes, what only `raisehand loadtest` writes, and the closed loop,
which is a user of its own."""
FIELDS = tuple(name for name in LoadSpec.model_fields if name not in NOT_HERE)


def add_options(parser: Any) -> None:
    """Add every setting of a load test to Locust's parser; its web UI asks for them, too."""
    # To the parser itself: what is added to a group of it, the web UI does not know.
    for name in (*FIELDS, *SHAPE, *LIMITS):
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, help=WORDS.get(name, name.replace("_", " ")), default="")


def spec_of(options: Mapping[str, Any], host: str | None) -> LoadSpec:
    """Build the load test from Locust's options.

    Raises:
        BadLoadSpec: one sentence for each setting that is missing or cannot be.
    """
    if not host:
        raise BadLoadSpec("there is no target; give --host, e.g. http://127.0.0.1:8080")
    given: dict[str, Any] = {name: options[name] for name in FIELDS if _is_given(options, name)}
    if "inputs" not in given:
        raise BadLoadSpec("there are no inputs; give --inputs data.csv")
    if "labels" in given:
        given["labels"] = tuple(part.strip() for part in given["labels"].split(","))
    shape = {field: options[name] for name, field in SHAPE.items() if _is_given(options, name)}
    if shape:
        given["shape"] = shape
    return load_spec(url=host, **{"rate": 100.0, **as_recorded(given)})


def slo_of(options: Mapping[str, Any]) -> Slo:
    """Build the limits from Locust's options.

    Raises:
        BadLoadSpec: a limit that cannot be.
    """
    limits = read_slo(Path(options["slo"])).model_dump() if _is_given(options, "slo") else {}
    if _is_given(options, "max_failure_rate"):
        limits["max_failure_rate"] = options["max_failure_rate"]
    if _is_given(options, "p99_ms"):
        latency = limits.setdefault("latency_ms", {})
        limits["latency_ms"] = {
            **latency,
            "all": {**latency.get("all", {}), "p99": options["p99_ms"]},
        }
    return load_slo(**limits)


def _is_given(options: Mapping[str, Any], name: str) -> bool:
    return options.get(name) not in (None, "")
