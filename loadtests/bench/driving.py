"""What the benches ask of the one generator: loads of a server whose processor is watched."""

from __future__ import annotations

import csv
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.extras import require
from loadtests.inputs.percentiles import MIN_SAMPLES
from router.errors import BadSettings

if TYPE_CHECKING:
    from loadtests.figures.latency import LatencySummary
    from loadtests.figures.load_report import LoadReport
    from loadtests.inputs.spec import LoadSpec
    from router.bench.process import Subject

WARM_UP_S = 0.5
SPARE = 1.2
"""Times the answers that a percentile needs: arrivals are drawn at random."""


@dataclass(frozen=True, slots=True)
class Driven:
    """One load, and the processor seconds that the servers used in its window, by thread."""

    report: LoadReport
    used_s: Mapping[str, float]
    by_server_s: Sequence[float]

    @property
    def rps(self) -> float:
        """Valid answers a second."""
        return self.report.achieved_rps

    @property
    def cpu_us(self) -> float:
        """Microseconds of the servers' processor a request."""
        return sum(self.used_s.values()) / self.report.sent * 1e6

    @property
    def refused(self) -> int:
        """Requests that met a 429."""
        return self.report.failures.get("http_429", 0)

    @property
    def unanswered(self) -> int:
        """Requests that got no valid answer, or were not sent."""
        return self.report.failed + self.report.drops

    @property
    def answers_ms(self) -> LatencySummary:
        """Latencies of the valid answers of the route that gave most of them."""
        routes = self.report.routes
        return self.report.latency_ms[max(routes, key=routes.__getitem__) if routes else "failed"]


def write_texts(path: Path, texts: Iterable[str]) -> Path:
    """Write inputs of a load test."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([text] for text in texts)
    return path


def chat_spec(folder: Path) -> LoadSpec:
    """Return a load of two thousand texts of the benches' task, as an application's chat calls."""
    from loadtests.inputs.spec import LoadSpec
    from router.bench.subject import MODEL, PROMPT, make_texts

    return LoadSpec(
        url="http://127.0.0.1:9",
        inputs=write_texts(folder / "texts.csv", make_texts(2_000, seed=1)),
        surface="chat",
        model=MODEL,
        system=PROMPT.system,
        user=PROMPT.user,
        rate=1.0,
        warmup_s=WARM_UP_S,
        abort="never",
        max_generator_cpu=1.0,
    )


def for_p99(spec: LoadSpec, rate: float) -> LoadSpec:
    """Return a load that lasts until so many requests a second make a p99, if it would not."""
    least = SPARE * MIN_SAMPLES["p99"] / rate
    return spec.model_copy(update={"duration_s": max(spec.duration_s, least)})


def drive(
    subjects: Sequence[Subject], spec: LoadSpec, *, port: int | None = None, **changes: object
) -> Driven:
    """Load servers that share a port, of the first by default, and return what came of it.

    Raises:
        BadSettings: nothing was sent.
    """
    from loadtests.inputs.spec import load_spec
    from loadtests.workers.workers import run_load

    require("loadtests")
    before: list[Mapping[str, float]] = []
    url = f"http://127.0.0.1:{port or subjects[0].port}"
    changed = load_spec(**{**spec.model_dump(), "url": url, **changes})
    report = run_load(changed, at_start=lambda: before.extend(s.cpu_seconds() for s in subjects))
    if not report.sent:
        raise BadSettings(
            f"nothing was sent in {changed.duration_s:g} s: the machine is too busy; "
            "give --seconds a larger value"
        )
    after = [subject.cpu_seconds() for subject in subjects]
    used: dict[str, float] = {}
    for first, last in zip(before, after, strict=True):
        for name, seconds in last.items():
            used[name] = used.get(name, 0.0) + seconds - first.get(name, 0.0)
    by_server = [
        sum(last.values()) - sum(first.values()) for first, last in zip(before, after, strict=True)
    ]
    return Driven(report, used, by_server)


def metrics_of(port: int) -> str:
    """Return what a router on this machine says of itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text: str = response.read().decode()
    return text
