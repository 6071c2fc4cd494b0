"""What a scenario leaves open, from what was measured: a student's profile, a GPU's datasheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from costmodel.errors import BadScenario
from costmodel.faults import first_fault
from costmodel.inputs.profile import StudentProfile
from costmodel.queueing.roofline import DecoderShape, gpu_named, step_fields


def from_profile(profile: StudentProfile) -> dict[str, Any]:
    """Turn a measured profile into the `student` and `quality` fields of a scenario."""
    return {
        "student": {"fixed_s": profile.fixed_s, "per_token_s": profile.per_token_s},
        "quality": {
            "risk_coverage": [(p.threshold, p.coverage, p.risk) for p in profile.risk_coverage]
        },
    }


def with_roofline(teacher: dict[str, Any], path: Path) -> dict[str, Any]:
    """Fill the step times the file leaves open from a GPU's datasheet and a model's shape."""
    shape = dict(teacher.pop("roofline") or {})
    gpu = gpu_named(str(shape.pop("gpu", None)))
    try:
        return {**step_fields(gpu, DecoderShape.model_validate(shape)), **teacher}
    except ValidationError as error:
        raise BadScenario(f"{path}: teacher.roofline.{first_fault(error)}") from error


def with_profile(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Fill what the file leaves open from a measured student profile."""
    try:
        measured = from_profile(StudentProfile.model_validate_json(path.read_bytes()))
    except OSError as error:
        raise BadScenario(f"profile {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BadScenario(f"profile {path}: {first_fault(error)}") from error
    for section, fields in measured.items():
        raw[section] = {**fields, **(raw.get(section) or {})}
    return raw
