"""The parts of a task file that a load test needs; the router reads the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from costmodel.faults import every_fault
from costmodel.inputs.asking import SLOTS, TIMEOUT_S
from costmodel.inputs.taskyaml import parse_task
from loadtests.errors import BadLoadSpec


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TaskTeacher(_Part):
    """Where the teacher is and which words it answers with."""

    mode: str = "chat"
    model: str = "teacher"
    answers: Mapping[str, str] = {}
    prompt: Mapping[str, Any] = {}
    max_concurrency: int = SLOTS
    timeout_s: float = TIMEOUT_S
    hedge: bool = False


class TaskInputs(_Part):
    """The real inputs."""

    path: Path
    text: str = "text"
    gold: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None


class LoadTask(_Part):
    """One task, as far as a load test looks at it; `raw` and `folder` are what was read."""

    name: str
    labels: Mapping[str, str] | tuple[str, ...]
    teacher: TaskTeacher
    inputs: TaskInputs
    work_dir: Path = Path(".raisehand")
    p99_ms: float = 50.0
    audit_rate: float = 0.01
    raw: Mapping[str, Any] = Field(repr=False)
    folder: Path

    @property
    def words(self) -> tuple[str, ...]:
        """The teacher's word for each label, in class order."""
        return tuple(self.teacher.answers.get(name, name) for name in self.labels)

    @property
    def latest_bundle(self) -> str | None:
        """The id of the bundle that is served unless another is named; None: there is none yet."""
        latest = self.inside(self.work_dir) / "bundles" / "latest"
        return latest.read_text(encoding="utf-8").strip() if latest.is_file() else None

    def inside(self, path: Path) -> Path:
        """Return a path of the task file, which is relative to it, as absolute."""
        return (self.folder / path).resolve()

    def with_teacher(self, base_url: str, mode: str) -> dict[str, Any]:
        """Return the task file's content with another teacher URL and every path absolute."""
        content = dict(self.raw)
        content["teacher"] = {**self.raw["teacher"], "base_url": base_url, "mode": mode}
        content["inputs"] = {**self.raw["inputs"], "path": str(self.inside(self.inputs.path))}
        content["work_dir"] = str(self.inside(self.work_dir))
        encoder = (self.raw.get("student") or {}).get("encoder_path")
        if encoder:
            content["student"] = {**content["student"], "encoder_path": str(self.inside(encoder))}
        return content


def read_task(path: Path) -> LoadTask:
    """Read a task file.

    Raises:
        BadLoadSpec: it is missing, no YAML mapping, or lacks what a load test needs.
    """
    try:
        raw = parse_task(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadLoadSpec(f"{path} does not exist; name a task file, e.g. task.yaml") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadLoadSpec(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise BadLoadSpec(f"{path} holds {type(raw).__name__}; a mapping with labels … is needed")
    try:
        return LoadTask.model_validate({**raw, "raw": raw, "folder": path.resolve().parent})
    except ValidationError as error:
        raise BadLoadSpec(f"{path}: {every_fault(error)}") from None
