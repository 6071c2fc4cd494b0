"""What is known of the bundles on disk: what each promises, and since when."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from students.errors import BadBundle
from students.runtime.bundle import find_bundle
from students.task import Task

MOST = 20
"""Bundles shown, the newest first."""


@dataclass(frozen=True, slots=True)
class BundleCard:
    """One bundle; its manifest was verified when it was read."""

    bundle: str
    created: str
    family: str
    fault: str = ""
    """It cannot be served, and why."""
    promise: str = ""
    """`system` or `strict`; empty: it has no certificate."""
    agreement: float | None = None
    """Promised."""
    proved: float | None = None
    """Lower bound of the agreement on its calibration rows."""
    confidence: float | None = None
    coverage: float | None = None
    teacher: str = ""
    certified: str = ""
    statement: str = ""
    classes: tuple[dict[str, Any], ...] = ()
    """Class promises: label and agreement."""


def cards_of(task: Task) -> list[BundleCard]:
    """Return the task's bundles, the newest first."""
    folder = task.work_dir / "bundles"
    found = [
        (path.stat().st_mtime_ns, path)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.is_dir() and (path / "manifest.json").is_file()
    ]
    newest = sorted(found, reverse=True)[:MOST]
    return [_card(task.work_dir, path.name, changed) for changed, path in newest]


@lru_cache(maxsize=1_000)
def _card(work_dir: Path, bundle: str, changed: int) -> BundleCard:
    """Read one bundle; a bundle never changes, so it is read once."""
    del changed  # another one under the same name is read again
    try:
        manifest = find_bundle(work_dir, bundle).manifest
    except BadBundle as fault:
        return BundleCard(bundle, "", "", fault=str(fault))
    told = BundleCard(bundle, manifest.created, manifest.family)
    certificate = manifest.certificate
    if certificate is None:
        return told
    return BundleCard(
        **{
            **asdict(told),
            "promise": certificate.promise,
            "agreement": certificate.agreement,
            "proved": certificate.agreement_lower_bound,
            "confidence": certificate.confidence,
            "coverage": certificate.coverage,
            "teacher": f"{certificate.teacher_model}, revision {certificate.teacher_revision}",
            "certified": certificate.date,
            "statement": certificate.statement,
            "classes": tuple(
                {"label": one.label, "agreement": one.agreement}
                for one in certificate.per_class
                if one.is_proved
            ),
        }
    )
