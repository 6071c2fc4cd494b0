"""The generator against a server that does nothing, before it is believed about any other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from costmodel.processes import NotStarted, free_port, running
from loadtests.errors import DeadTarget
from loadtests.figures.load_report import LoadReport
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.verdict import generator_limit as limit
from loadtests.verdict.conclusion import NullCheck
from loadtests.verdict.generator_limit import peak_rps
from loadtests.workers.workers import run_load

HEADROOM = 1.5
"""Holding at 1.5 times a rate shows that the rate is no more than 67 % of the limit."""
SECONDS = 5.0


@contextmanager
def null_server() -> Iterator[str]:
    """Run the null server on a free loopback port; yield its URL."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "loadtests.servers.null", "--port", url.rpartition(":")[2]]
    try:
        with TemporaryDirectory() as folder, running(command, url, Path(folder) / "null.log"):
            yield url
    except NotStarted as error:
        raise DeadTarget(f"the null server did not start: {error}") from None


def null_check_of(
    spec: LoadSpec, wanted: bool | None = None, told: Callable[[str], None] = lambda _: None
) -> NullCheck | None:
    """Try the generator where that is wanted, or where its limit is not known to be enough."""
    due = not limit.may_claim(spec) if wanted is None else wanted
    if not due:
        return None
    null = check_generator(spec)
    told(null.words)
    if null.passed and null.rate / spec.processes > (limit.remembered() or 0.0):
        limit.remember(null.rate / spec.processes)
    return null


def doubted(report: LoadReport, null: NullCheck | None) -> LoadReport:
    """Believe no generator that failed the null check, or that is near its limit without one."""
    if null is None:
        return limit.trusted(report)
    if null.passed:
        return report
    reasons = (*report.invalid_reasons, null.words)
    return report.model_copy(update={"valid": False, "invalid_reasons": reasons})


def believable_run(
    slo: Slo,
    run: Callable[[LoadSpec, Slo], LoadReport] = run_load,
    wanted: bool | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Callable[[LoadSpec], LoadReport]:
    """Return a run that is judged by the generator's own rules, too: what a search of a knee needs.

    At each rate the null check is made where the limit is not known to be enough for that rate.
    """

    def judged(spec: LoadSpec) -> LoadReport:
        known = wanted if not limit.may_claim(spec) else False
        null = null_check_of(spec, known, told)
        return doubted(run(spec, slo), null)

    return judged


def check_generator(spec: LoadSpec) -> NullCheck:
    """Send the same kind of traffic at 1.5 times the rate to a null server for five seconds."""
    with null_server() as url:
        at = HEADROOM * peak_rps(spec) * spec.processes
        report = run_load(
            spec.model_copy(
                update={
                    "url": url,
                    "rate": at,
                    "shape": type(spec.shape)(),
                    "surface": "classify",
                    "student_only": False,
                    "hard_share": None,
                    "closed_loop": None,
                    "arrivals": "poisson",
                    "trace": None,
                    "time": None,
                    **dict.fromkeys(("ca", "client_cert", "client_key")),
                    "insecure": False,
                    "samples": None,
                    "locust": (),
                    "duration_s": SECONDS,
                    "warmup_s": 1.0,
                }
            )
        )
    passed = report.valid and not report.failed
    words = (
        f"null server at {at:.0f} rps: send lag p99 {report.send_lag_ms.p99:.2f} ms, generator "
        f"{report.generator_cpu:.0%} of a core, p99 {report.latency_ms['all'].p99 or 0:.2f} ms"
    )
    if not passed:
        faults = report.invalid_reasons or (f"{report.failed} requests failed",)
        words += f"; the generator cannot be believed: {'; '.join(faults)}"
    return NullCheck(
        rate=at,
        send_lag_p99_ms=report.send_lag_ms.p99 or 0.0,
        generator_cpu=report.generator_cpu,
        p99_ms=report.latency_ms["all"].p99 or 0.0,
        passed=passed,
        words=words,
    )
