"""What labelling leaves beside the labels: who was asked, what it cost, how the rows are split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from costmodel.frozen import Frozen
from costmodel.money.pricing import now
from students.errors import BadInputs
from students.label.flips import OrderFlips
from students.label.inputs import Inputs
from students.label.labelled import LabelledSet
from students.label.labelling import Labelling
from students.label.summary import count_labels
from students.sections import Sampling
from students.task import Task
from students.teachers.protocol import TeacherDescriptor

LABELS_FILE = "labels.npz"
RECORD_FILE = "labels.json"


class TeacherIdentity(Frozen):
    """The descriptor of the teacher that was asked."""

    mode: str
    model: str
    revision: str
    prompt_sha256: str
    parameters: str
    terms: str = ""
    """The provider's terms on training with its outputs, as the user read them."""

    @property
    def descriptor(self) -> TeacherDescriptor:
        """What is part of cache keys and certificates."""
        return TeacherDescriptor(
            self.mode, self.model, self.revision, self.prompt_sha256, self.parameters
        )


class LabelUsage(Frozen):
    """Tokens and requests that all answers together consumed."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    requests: int
    cache_write_tokens: int = 0


class Agreement(Frozen):
    """`agreed` of `n` answers were the same."""

    n: int
    agreed: int


class LabellingRecord(Frozen):
    """labels.json: the bill, the quality of the labels, and the split of the rows of labels.npz."""

    task: str
    teacher: TeacherIdentity
    labels_sha256: str
    inputs_sha256: str
    n: int
    rows: int | None = None
    """Rows of the inputs that these labels stand for, copies and spare rows too; None where an
    older version did not count them."""
    dropped: dict[str, int] = {}
    """What of the rows does not count as it stands; see `students.label.inputs.Dropped`."""
    answers: dict[str, int] = {}
    """How many texts the teacher gave each label; 0 for those it never gave."""
    usd: Decimal
    """What this teacher cost in all, in earlier runs too, repeated questions included."""
    unconfirmed_usd: Decimal
    """At most this much more was billed, for calls that broke off or did not say what they took."""
    usage: LabelUsage
    price: str
    """The unit price in words."""
    asked: int
    """Texts asked in the last run."""
    cached: int
    """Texts answered in earlier runs."""
    rejected: int
    """Texts whose question the teacher turned away (a 4xx, or no readable reply)."""
    unusable: int
    """Texts without a usable answer: `rejected`, `refused` and `unsure` ones."""
    refused: int
    """Texts that the teacher, asked, would not answer."""
    estimated: int = 0
    """Answers whose consumption the teacher did not say: their bill is an estimate."""
    complete: bool = True
    """False: labelling ended early, and these are a random sample of the inputs."""
    self_agreement: Agreement
    """Texts asked twice: the ceiling of any student's agreement."""
    order_agreement: Agreement | None = None
    """Texts whose label stayed when the listed options were reversed; None: not measured."""
    label_mass: tuple[int, ...]
    """Histogram of label mass: ten bins of width 0.1 from 0 to 1."""
    unsure: int
    """Answers that mean no label: the teacher wanted to say something else."""
    truncated: int
    """Answers in which a label was missing from the top-k."""
    gold: Agreement | None
    """Teacher against gold where gold is known; None without gold."""
    splits: dict[str, list[int]]
    """Rows of labels.npz; in calibration and test as often as the pile holds their text."""
    sampling: Sampling = "rows"
    seed: int
    date: str

    def split_rows(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return row numbers of the labelled set by split."""
        return {name: np.array(rows, np.int64) for name, rows in self.splits.items()}


def make_record(
    task: Task,
    inputs: Inputs,
    labelling: Labelling,
    splits: Mapping[str, npt.NDArray[np.int64]],
    seed: int,
    flips: OrderFlips | None = None,
    clock: Callable[[], datetime] = now,
) -> LabellingRecord:
    """Describe a labelling; `splits` are from `split_inputs`.

    The bill includes what measuring `flips` cost.
    """
    labelled, usage = labelling.labelled, labelling.usage
    usd = labelling.usd + labelling.other_usd
    unconfirmed, order_agreement = labelling.unconfirmed_usd, None
    if flips is not None:
        usage, usd = usage + flips.usage, usd + flips.usd
        unconfirmed += flips.unconfirmed_usd
        order_agreement = Agreement(n=flips.n, agreed=flips.n - flips.flipped)
    mass = np.clip(1.0 - labelled.other, 0.0, 1.0)
    known = labelled.gold >= 0
    unusable = int((~labelled.usable).sum())
    right = int((labelled.teacher[known] == labelled.gold[known]).sum())
    return LabellingRecord(
        task=task.name,
        teacher=TeacherIdentity(**asdict(labelling.descriptor), terms=task.teacher.terms),
        labels_sha256=labelled.sha256,
        inputs_sha256=inputs.sha256,
        n=len(labelled),
        rows=len(inputs.rows) + inputs.dropped.spare,
        dropped=asdict(inputs.dropped),
        answers=count_labels(labelled.schema, labelled.teacher),
        usd=usd,
        unconfirmed_usd=unconfirmed,
        usage=LabelUsage(**{name: getattr(usage, name) for name in LabelUsage.model_fields}),
        price=labelling.price_words,
        asked=labelling.asked,
        cached=labelling.cached,
        rejected=labelling.rejected,
        self_agreement=Agreement(
            n=labelling.self_agreement.n, agreed=labelling.self_agreement.agreed
        ),
        order_agreement=order_agreement,
        label_mass=tuple(np.histogram(mass, bins=10, range=(0, 1))[0].tolist()),
        unusable=unusable,
        refused=labelling.refused,
        estimated=labelling.estimated,
        complete=len(labelled) == len(inputs),
        unsure=unusable - labelling.refused - labelling.rejected,
        truncated=int(labelled.truncated.sum()),
        gold=Agreement(n=int(known.sum()), agreed=right) if known.any() else None,
        splits={name: rows.tolist() for name, rows in splits.items()},
        sampling=task.inputs.sampling,
        seed=seed,
        date=clock().date().isoformat(),
    )


def save_labels(work_dir: Path, labelled: LabelledSet, record: LabellingRecord) -> None:
    """Write labels.npz, then labels.json, which names the fingerprint of the former."""
    labelled.save(work_dir / LABELS_FILE)
    path = work_dir / RECORD_FILE
    partial = path.with_name(path.name + ".partial")
    partial.write_text(record.model_dump_json(indent=1), encoding="utf-8")
    partial.replace(path)


def load_labels(work_dir: Path) -> tuple[LabelledSet, LabellingRecord]:
    """Read both files.

    Raises:
        BadInputs: one is missing or unreadable, or they do not belong together.
    """
    labelled, record = LabelledSet.load(work_dir / LABELS_FILE), load_record(work_dir)
    if record.labels_sha256 != labelled.sha256:
        raise BadInputs(
            f"{work_dir / RECORD_FILE} describes other labels than {LABELS_FILE} beside it; run "
            "`raisehand label` again: answers that were paid for are kept in its cache"
        )
    return labelled, record


def load_record(work_dir: Path) -> LabellingRecord:
    """Read labels.json alone.

    Raises:
        BadInputs: it is missing or unreadable.
    """
    path = work_dir / RECORD_FILE
    try:
        return LabellingRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BadInputs(f"{path} does not exist; run `raisehand label` first") from None
    except ValidationError as error:
        raise BadInputs(
            f"{path} is not a labelling record ({error.error_count()} faults); run "
            "`raisehand label` again: answers that were paid for are kept in its cache"
        ) from None
