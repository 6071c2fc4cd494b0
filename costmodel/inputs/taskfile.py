"""A deployment as its files describe it: the task file and the bundle beside it.

This package cannot import what writes task files and bundles; it takes the few fields that it
needs from the files themselves. A task file says who is paid how and how much traffic there is, a
bundle's manifest what its evaluation counted and what its labels cost, the labelling record how
many tokens the teacher used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from costmodel.errors import BadProjection
from costmodel.faults import first_fault
from costmodel.inputs.changes import changed
from costmodel.inputs.deployment import Deployment, with_changes
from costmodel.inputs.limits import Promise
from costmodel.inputs.profile import RiskCoveragePoint, StudentProfile
from costmodel.inputs.taskyaml import parse_task


class _Share(BaseModel):
    count: int
    n: int


class _Curve(RiskCoveragePoint):
    model_config = ConfigDict(frozen=True, extra="ignore")

    kept: int
    disagreements: int


class _LabelMass(BaseModel):
    unusable: int = 0
    unusable_escalated: int = 0


class _Evaluation(BaseModel):
    n: int
    escalation: _Share
    label_mass: _LabelMass = _LabelMass()
    cascade_agreement: _Share
    thresholds: tuple[float, ...] = ()
    risk_coverage: tuple[_Curve, ...] = ()


class _Usage(BaseModel):
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    requests: int = Field(ge=1)


class _Labelling(BaseModel):
    usd: Decimal
    labels_sha256: str = ""


class _Certificate(Promise):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Manifest(BaseModel):
    """The few fields of a bundle's manifest.json that are about money."""

    evaluation: _Evaluation
    certificate: _Certificate | None = None
    labelling: _Labelling | None = None
    training_s: float = 0.0
    profile: StudentProfile | None = None


class _LabellingRecord(BaseModel):
    """The few fields of labels.json that are about tokens."""

    labels_sha256: str
    usage: _Usage


_FROM_TASK = {
    "name": None,
    "teacher": (
        "price", "max_concurrency", "timeout_s", "latency_s", "max_requests_per_second",
        "max_usd_per_hour", "hedge", "on_failure", "min_machines",
    ),
    "promise": ("agreement", "confidence", "promise"),
    "student": ("price", "min_machines"),
    "traffic": ("requests_per_day",),
    "audit_rate": None,
    "max_cost_ratio": None,
    "limits": None,
    "cost_of_refusal": None,
    "cost_of_wrong_answer": None,
}  # fmt: skip


def read_deployment(
    task_path: Path, bundle: str | None = None, changes: Mapping[str, Any] | None = None
) -> Deployment:
    """Read a task file and the manifest of one of its bundles, then apply a what-if.

    Args:
        task_path: the task file.
        bundle: a bundle's id; the latest one if not given.
        changes: dotted field to value, e.g. {"traffic.requests_per_day": 1e6}; with `evaluation.n`
            and `evaluation.escalated` no bundle is needed. Changed counts leave all else of a
            bundle that is there: its tokens, its profile, what its labels cost.

    Raises:
        BadProjection: a file is missing or unreadable, or a field or value does not exist.
    """
    changes = changes or {}
    task = _read_yaml(task_path)
    raw: dict[str, Any] = {}
    for key, inner in _FROM_TASK.items():
        if key in task:
            value = task[key]
            if inner is not None and isinstance(value, dict):
                value = {name: value[name] for name in inner if name in value}
            raw[key] = value
    work_dir = task_path.resolve().parent / str(task.get("work_dir", ".raisehand"))
    guessed = {name: value for name, value in changes.items() if name.startswith("evaluation.")}
    if not {"evaluation.n", "evaluation.escalated"} <= set(guessed) or _latest(work_dir, bundle):
        name, manifest = _read_manifest(work_dir / "bundles", bundle)
        raw |= _from_manifest(name, manifest)
        raw |= _token_usage(work_dir / "labels.json", manifest)
    if guessed:
        # What was counted at other thresholds, or certified, is not of these counts.
        raw = {name: value for name, value in raw.items() if name not in _COUNTED}
        raw = changed(raw, guessed)
    try:
        return with_changes(Deployment.model_validate(raw), changes)
    except ValidationError as error:
        raise BadProjection(f"{task_path}: {first_fault(error)}") from None


_COUNTED = ("bundle", "curve", "certified", "certified_threshold", "unusable", "unusable_rows")
"""What a bundle's evaluation says beyond its counts."""


def _latest(work_dir: Path, bundle: str | None) -> bool:
    """Whether there is a bundle to read."""
    return bundle is not None or (work_dir / "bundles" / "latest").is_file()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = parse_task(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadProjection(f"{path} does not exist; name a task file, e.g. task.yaml") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadProjection(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise BadProjection(f"{path} holds a {type(raw).__name__}; a task file is a mapping")
    return raw


def _read_manifest(folder: Path, bundle: str | None) -> tuple[str, _Manifest]:
    latest = folder / "latest"
    if bundle is None:
        if not latest.is_file():
            raise BadProjection(
                f"there is no bundle in {folder}; run `raisehand distill`, or project a guess with "
                "--set evaluation.n=1000 --set evaluation.escalated=100"
            )
        bundle = latest.read_text(encoding="utf-8").strip()
    path = folder / bundle / "manifest.json"
    try:
        return bundle, _Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        known = sorted(p.parent.name for p in folder.glob("*/manifest.json"))
        raise BadProjection(
            f"there is no bundle {bundle!r}; there is {', '.join(known) or 'none'} in {folder}"
        ) from None
    except (OSError, ValueError) as error:
        what = first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise BadProjection(f"{path} cannot be used: {' '.join(what.split())}") from None


def _from_manifest(bundle: str, manifest: _Manifest) -> dict[str, Any]:
    counted = manifest.evaluation
    raw: dict[str, Any] = {
        "bundle": bundle,
        "evaluation": {
            "n": counted.n,
            "escalated": counted.escalation.count,
            "disagreements": counted.n - counted.cascade_agreement.count,
        },
        "unusable": counted.label_mass.unusable_escalated / max(counted.escalation.count, 1),
        "unusable_rows": counted.label_mass.unusable,
        "training_s": manifest.training_s,
        "curve": [(p.threshold, p.kept, p.disagreements) for p in counted.risk_coverage],
    }
    if manifest.certificate is not None:
        raw["certified"] = manifest.certificate.model_dump()
    if manifest.labelling is not None:
        raw["one_off"] = {"labelling_usd": manifest.labelling.usd}
    if manifest.profile is not None:
        raw["profile"] = manifest.profile.model_dump()
    if len(set(counted.thresholds)) == 1:
        raw["certified_threshold"] = counted.thresholds[0]
    return raw


def _token_usage(path: Path, manifest: _Manifest) -> dict[str, Any]:
    """Mean tokens of the very labels this bundle was trained on; nothing when they are gone."""
    try:
        record = _LabellingRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
    if manifest.labelling is None or manifest.labelling.labels_sha256 != record.labels_sha256:
        return {}
    usage = record.usage
    return {
        "usage": {
            "input_tokens": usage.input_tokens / usage.requests,
            "output_tokens": usage.output_tokens / usage.requests,
            "cached_input_tokens": usage.cached_input_tokens / usage.requests,
            "input_quantiles": _label_lengths(path.with_name("replies.sqlite")),
        }
    }


def _label_lengths(path: Path) -> tuple[float, ...]:
    """Quantiles of the input tokens of the teacher's paid answers; none where they are gone."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows = connection.execute("select input_tokens from replies limit 1000000").fetchall()
    except sqlite3.Error:
        return ()
    at = np.linspace(0, 1, min(len(rows), 1001))
    return tuple(float(x) for x in np.quantile([n for (n,) in rows], at)) if len(rows) > 1 else ()
