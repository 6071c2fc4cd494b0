"""The task file: the one YAML that every command reads.

Paths in it are relative to the file. Secrets never stand in it: `api_key_env` names the
environment variable that holds one.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)

from costmodel.faults import every_fault
from costmodel.fields import NotNegative
from costmodel.inputs.limits import Limits
from costmodel.inputs.taskyaml import parse_task
from students.errors import BadTask
from students.labels import LabelSchema
from students.prompt import Prompt, fill, option_list
from students.sections import (
    Fraction,
    InputsSection,
    PromiseSection,
    PromotionSection,
    Section,
    StudentSection,
    TeacherSection,
    TextsSection,
    TrafficSection,
    WebhookSection,
)
from students.wording import alike


def _off(given: object) -> object:
    """YAML reads a bare `off` as false."""
    return None if given is False or given == "off" else given


class TeacherCheckSection(Section):
    """How often the router itself asks the teacher again about rows that it has labelled."""

    every_hours: float = Field(default=24.0, gt=0)
    rows: int = Field(default=20, ge=1)
    """Asked about in one check; a check costs what so many labels have cost."""
    max_usd: Decimal = Field(default=Decimal("0.10"), ge=0)
    """Of one check: as many rows as this pays, at what a label has cost."""


class Task(Section):
    """One narrow, high-volume job."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    labels: dict[str, str] | list[str]
    teacher: TeacherSection
    inputs: InputsSection
    promise: PromiseSection = PromiseSection()
    student: StudentSection = StudentSection()
    traffic: TrafficSection = TrafficSection()
    audit_rate: Fraction = 0.01
    audit_max_usd_per_hour: Decimal | None = Field(default=None, ge=0)
    """What audits may cost, within `teacher.max_usd_per_hour`; default a tenth of that."""
    """Share of kept answers also asked of the teacher, in shadow."""
    max_cost_ratio: Annotated[float, Field(gt=0)] | None = None
    """Budget: refuse to call it a saving above this share of the teacher-only bill."""
    limits: Limits = Limits()
    """What may fail before a what-if says that the system does not answer."""
    cost_of_refusal: NotNegative = 0.0
    """US dollars that a request without an answer costs its user."""
    cost_of_wrong_answer: NotNegative = 0.0
    """The same of an answer that differs from the teacher's."""
    p99_ms: float = Field(default=50.0, gt=0)
    max_labelling_usd: Decimal | None = Field(default=None, ge=0)
    teacher_check: Annotated[TeacherCheckSection | None, BeforeValidator(_off)] = (
        TeacherCheckSection()
    )
    """`off`: only `raisehand canary teacher` asks again."""
    promotion: PromotionSection = PromotionSection()
    store_texts: TextsSection | None = None
    webhooks: tuple[WebhookSection, ...] = ()
    work_dir: Path = Path(".raisehand")
    """Where labels, bundles and ledgers go."""

    @model_validator(mode="after")
    def _labels_and_answers(self) -> Self:
        schema = LabelSchema.of(self.labels)
        for name in self.teacher.answers:
            if name not in schema:
                raise ValueError(
                    f"teacher.answers names {name!r}, which is not one of {list(schema.names)}"
                )
        for name in self.promise.per_class:
            if name not in schema:
                raise ValueError(
                    f"promise.per_class names {name!r}, which is not one of {list(schema.names)}"
                )
        letters = self.teacher.answer_with == "letter"
        if letters and len(schema) > 400:
            raise ValueError(
                f"{len(schema)} labels are more than two levels of 20 letters can tell apart; "
                "use teacher.mode classify"
            )
        words = self.answers
        if len(set(words)) != len(words):
            raise ValueError(f"teacher.answers are not distinct: {list(words)}")
        if self.teacher.mode == "text" and letters and len(schema) > 26:
            raise ValueError(
                f"there is no letter for each of {len(schema)} labels; answer_with: word"
            )
        read = self.teacher.mode in ("chat", "text") and not letters
        same = alike(words) if read else None
        if same:
            raise ValueError(
                f"the answers {same[0]!r} and {same[1]!r} differ only in what reading passes over "
                "(case, blank, - and _, punctuation and quotes around them); give one of them "
                "another word in teacher.answers"
            )
        return self

    @property
    def audit_usd_per_hour(self) -> Decimal | None:
        """What audits may cost; None: as much as they do."""
        if self.audit_max_usd_per_hour is not None or self.teacher.max_usd_per_hour is None:
            return self.audit_max_usd_per_hour
        return self.teacher.max_usd_per_hour / 10

    @property
    def schema_(self) -> LabelSchema:
        """The labels as the rest of the code wants them."""
        return LabelSchema.of(self.labels)

    @property
    def prompt(self) -> Prompt:
        """The teacher's prompt with `{labels}` filled in, as an application would send it."""
        schema = self.schema_
        return fill(self.teacher.prompt, option_list(self.answers, schema.descriptions))

    @property
    def answers(self) -> tuple[str, ...]:
        """The teacher's word for each label, in schema order."""
        return tuple(
            self.teacher.answers.get(name, name) for name in LabelSchema.of(self.labels).names
        )


def load_task(path: Path) -> Task:
    """Read and check a task file; relative paths in it become absolute.

    Raises:
        BadTask: the file is missing, is no YAML, or breaks a rule; the message has one line for
            each fault: field, what was found, what is allowed.
    """
    try:
        raw = parse_task(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadTask(f"{path} does not exist; name a task file, e.g. task.yaml") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadTask(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise BadTask(
            f"{path} holds {type(raw).__name__}; a mapping with name, labels, … is needed"
        )
    try:
        task = Task.model_validate(raw)
    except ValidationError as error:
        raise BadTask(f"{path}: {every_fault(error)}") from None
    base = path.resolve().parent
    encoder = task.student.encoder_path
    model = task.teacher.model_path
    return task.model_copy(
        update={
            "inputs": task.inputs.model_copy(update={"path": base / task.inputs.path}),
            "work_dir": base / task.work_dir,
            "store_texts": _beside(base, task.store_texts),
            "teacher": task.teacher.model_copy(
                update={"model_path": base / model if model else None}
            ),
            "student": task.student.model_copy(
                update={"encoder_path": base / encoder if encoder else None}
            ),
        }
    )


def _beside(base: Path, section: TextsSection | None) -> TextsSection | None:
    if section is None or section.key_file is None:
        return section
    return section.model_copy(update={"key_file": base / section.key_file})
