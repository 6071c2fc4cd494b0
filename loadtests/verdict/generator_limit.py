"""The generator's own limit on this machine, and what may be claimed below it.

A figure near the limit is about the generator, not the server. The limit is what `raisehand bench
harness` found, or the highest rate at which a check against the null server held; it is kept in the
user's cache, for this machine and these versions.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.inputs.spec import LoadSpec
from loadtests.verdict.conclusion import versions

if TYPE_CHECKING:
    from loadtests.figures.load_report import LoadReport

CLAIM_SHARE = 0.7
ASSUMED_RPS = 1000.0
"""Of a machine that nobody has measured."""


def peak_rps(spec: LoadSpec) -> float:
    """Return the most that one process has to send in a second, by rate and shape."""
    return spec.rate * float(spec.shape.points(spec.duration_s)[1].max()) / spec.processes


def may_claim(spec: LoadSpec) -> bool:
    """Whether what is known of this generator is enough for the rate of `spec`.

    What a closed loop will ask is not known before.
    """
    return spec.closed_loop is not None or _is_within(peak_rps(spec))


def _is_within(rps: float) -> bool:
    return rps <= CLAIM_SHARE * (remembered() or ASSUMED_RPS)


def refusal(rps: float) -> str:
    """Say why nothing is claimed at so many requests a second of one process."""
    known = remembered()
    whose = f"{known:.0f} that one" if known else f"{ASSUMED_RPS:.0f} that an unmeasured one"
    return (
        f"{rps:.0f} rps are asked of one generator process; nothing is claimed above "
        f"{CLAIM_SHARE:.0%} of the {whose} sends on time here: use more --processes, or measure "
        "the limit with raisehand bench harness"
    )


def trusted(report: LoadReport) -> LoadReport:
    """Return the report, as INVALID where more was asked of the generator than it may claim."""
    spec = report.spec
    closed = spec.closed_loop is not None
    rps = report.achieved_rps / spec.processes if closed else peak_rps(spec)
    if _is_within(rps):
        return report
    reasons = (*report.invalid_reasons, refusal(rps))
    return report.model_copy(update={"valid": False, "invalid_reasons": reasons})


def remembered() -> float | None:
    """Return requests per second that one process sends on time; None when never measured."""
    try:
        rps = json.loads(_path().read_text(encoding="utf-8"))[_here()]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return float(rps) if isinstance(rps, int | float) else None


def remember(rps: float) -> None:
    """Keep what one process sends on time; where the cache cannot be written it is forgotten."""
    with contextlib.suppress(OSError):
        _path().parent.mkdir(parents=True, exist_ok=True)
        _path().write_text(json.dumps({_here(): round(rps, 1)}) + "\n", encoding="utf-8")


def _path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "raisehand" / "load-generator.json"


def _here() -> str:
    others = ("commit", "gpu", "pinned")
    return ", ".join(f"{name} {value}" for name, value in versions().items() if name not in others)
