"""What money needs to know of one deployment: of its task file, of its bundle, and of the future.

This package cannot import what reads task files and bundles; it takes the few fields that it
needs from the files themselves. A task file says who is paid how and how much traffic there is, a
bundle's manifest what its evaluation counted and what its labels cost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AliasPath, BaseModel, ConfigDict, Field, ValidationError

from costmodel.errors import BadProjection
from costmodel.pricing import PriceSpec
from costmodel.profile import RiskCoveragePoint

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TeacherTerms(_Section):
    """How the teacher is paid."""

    price: PriceSpec


class StudentTerms(_Section):
    """How the student is paid; the defaults are those of a task file."""

    price: PriceSpec = PriceSpec(machine="aws:c7i.large", requests_per_second=2000)
    min_machines: int = Field(default=2, ge=1)


class TrafficTerms(_Section):
    """How much there is to answer."""

    requests_per_day: Positive = 10_000_000


class FleetTerms(_Section):
    """How machines are sized; see `costmodel.rails.Fleet`."""

    peak_to_mean: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.3
    max_utilisation: Annotated[float, Field(gt=0, le=1)] = 0.7


class OperationTerms(_Section):
    """Billed teacher calls per escalation, and what recurs each month."""

    attempts: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    monthly_usd: NotNegative = Decimal(0)


class OneOffTerms(_Section):
    """Paid once."""

    labelling_usd: NotNegative = Decimal(0)
    training_usd: NotNegative = Decimal(0)
    other_usd: NotNegative = Decimal(0)


class UsageTerms(_Section):
    """Teacher tokens of the mean request, and how much longer escalated requests are."""

    input_tokens: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    output_tokens: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    fixed_input_tokens: int = Field(default=0, ge=0)
    escalated_factor: Positive = 1.0


class CountTerms(_Section):
    """Test rows of the evaluation: all, escalated, kept but different from the teacher's."""

    n: int = Field(ge=1)
    escalated: int = Field(ge=0)
    disagreements: int = Field(default=0, ge=0)


class Deployment(_Section):
    """Everything a projection needs, each field open to a what-if."""

    name: str
    bundle: str | None = None
    teacher: TeacherTerms
    student: StudentTerms = StudentTerms()
    traffic: TrafficTerms = TrafficTerms()
    audit_rate: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_cost_ratio: Positive | None = None
    evaluation: CountTerms
    usage: UsageTerms = UsageTerms()
    fleet: FleetTerms = FleetTerms()
    operation: OperationTerms = OperationTerms()
    one_off: OneOffTerms = OneOffTerms()
    decision_api: PriceSpec | None = PriceSpec(model="openai:gpt-6-luna")
    """A cheap public model as the third baseline; nobody checked that it does the job."""
    curve: tuple[tuple[float, int, int], ...] = ()
    """Thresholds with rows kept and kept rows that disagree, from the evaluation."""
    certified_threshold: float | None = None


class _Share(BaseModel):
    count: int
    n: int


class _Curve(RiskCoveragePoint):
    model_config = ConfigDict(frozen=True, extra="ignore")

    kept: int
    disagreements: int


class _Evaluation(BaseModel):
    n: int
    escalation: _Share
    cascade_agreement: _Share
    thresholds: tuple[float, ...] = ()
    risk_coverage: tuple[_Curve, ...] = ()


class _Usage(BaseModel):
    input_tokens: int
    output_tokens: int
    requests: int = Field(ge=1)


class _Manifest(BaseModel):
    """The few fields of a bundle's manifest.json that are about money."""

    evaluation: _Evaluation
    labelling_usd: Decimal = Field(
        default=Decimal(0), validation_alias=AliasPath("labelling", "usd")
    )
    usage: _Usage | None = Field(default=None, validation_alias=AliasPath("labelling", "usage"))


_FROM_TASK = {
    "name": None,
    "teacher": ("price",),
    "student": ("price", "min_machines"),
    "traffic": ("requests_per_day",),
    "audit_rate": None,
    "max_cost_ratio": None,
}


def read_deployment(
    task_path: Path, bundle: str | None = None, changes: Mapping[str, Any] | None = None
) -> Deployment:
    """Read a task file and the manifest of one of its bundles, then apply a what-if.

    Args:
        task_path: the task file.
        bundle: a bundle's id; the latest one if not given.
        changes: dotted field to value, e.g. {"traffic.requests_per_day": 1e6}; with `evaluation.n`
            and `evaluation.escalated` no bundle is needed.

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
    if not any(field.startswith("evaluation.") for field in changes):
        folder = task_path.resolve().parent / str(task.get("work_dir", ".raisehand")) / "bundles"
        raw |= _from_manifest(*_read_manifest(folder, bundle))
    for field, value in changes.items():
        _set(raw, field, value)
    try:
        return Deployment.model_validate(raw)
    except ValidationError as error:
        raise BadProjection(f"{task_path}: {_first_fault(error)}") from None


def with_changes(deployment: Deployment, changes: Mapping[str, Any]) -> Deployment:
    """Apply a what-if to a deployment.

    Raises:
        BadProjection: a field does not exist or does not allow the value.
    """
    raw = deployment.model_dump(exclude_unset=True)
    for field, value in changes.items():
        _set(raw, field, value)
    try:
        return Deployment.model_validate(raw)
    except ValidationError as error:
        raise BadProjection(_first_fault(error)) from None


def at_threshold(deployment: Deployment, threshold: float) -> Deployment:
    """The deployment as if the student answered from another confidence on; nothing is certified.

    Raises:
        BadProjection: the evaluation kept no risk–coverage curve.
    """
    if not deployment.curve:
        raise BadProjection("the evaluation has no risk–coverage curve; give evaluation.escalated")
    n = deployment.evaluation.n
    # The student keeps what the next higher measured threshold keeps: never more than measured.
    above = [point for point in deployment.curve if point[0] >= threshold]
    _, kept, wrong = min(above) if above else (1.0, 0, 0)
    counts = CountTerms(n=n, escalated=n - kept, disagreements=wrong)
    return deployment.model_copy(update={"evaluation": counts})


def parse_changes(settings: Sequence[str]) -> dict[str, Any]:
    """Turn `field=value` words into changes; values are read as YAML, so 1e6 is a number.

    Raises:
        BadProjection: a word has no `=`.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        field, equals, text = setting.partition("=")
        if not equals or not field.strip():
            raise BadProjection(
                f"{setting!r} is not field=value, e.g. traffic.requests_per_day=1e6"
            )
        changes[field.strip()] = _value(text)
    return changes


def _value(text: str) -> Any:
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text


def _set(raw: dict[str, Any], field: str, value: Any) -> None:
    *parents, leaf = field.split(".")
    place = raw
    for parent in parents:
        inner = place.get(parent)
        place[parent] = place = dict(inner) if isinstance(inner, dict) else {}
    if "price" in parents or parents == ["decision_api"]:
        _drop_other_forms(place, leaf)
    place[leaf] = value


def _drop_other_forms(price: dict[str, Any], leaf: str) -> None:
    """A what-if that names one form of a price means it instead of the form in the file."""
    tokens = {"usd_per_mtok_input", "usd_per_mtok_output", "usd_per_mtok_cached_input"}
    forms = [{"model"}, tokens, {"machine"}, {"usd_per_hour"}]
    for form in forms:
        if leaf not in form and any(leaf in other for other in forms):
            for name in form:
                price.pop(name, None)
    if leaf == "model" or leaf in tokens:
        price.pop("requests_per_second", None)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
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
        what = _first_fault(error) if isinstance(error, ValidationError) else str(error)
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
        "curve": [(p.threshold, p.kept, p.disagreements) for p in counted.risk_coverage],
        "one_off": {"labelling_usd": manifest.labelling_usd},
    }
    if len(set(counted.thresholds)) == 1:
        raw["certified_threshold"] = counted.thresholds[0]
    if manifest.usage is not None:
        raw["usage"] = {
            "input_tokens": manifest.usage.input_tokens / manifest.usage.requests,
            "output_tokens": manifest.usage.output_tokens / manifest.usage.requests,
        }
    return raw


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"there is no field {where}"
    if fault["type"] == "missing":
        return f"{where} is missing"
    found = fault["input"]
    shown = "" if isinstance(found, dict) else f" (found {found!r})"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}{shown}"
