"""What a bundle is worth, measured on rows that nothing else ever used.

*Agreement* is with the teacher, *accuracy* is with gold. Where there is no gold, accuracy is None:
agreement is never sold as accuracy. The arithmetic is in `students.certify.evaluation`.
"""

from __future__ import annotations

from typing import Literal

from costmodel.frozen import Frozen
from costmodel.inputs.profile import RiskCoveragePoint


class CountedShare(Frozen):
    """A count out of n and its exact (Clopper-Pearson) two-sided 95 % interval."""

    count: int
    n: int
    rate: float
    low: float
    high: float


class IntervalEstimate(Frozen):
    """An estimate with a 95 % interval."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


class GoldFigures(Frozen):
    """Against gold; None without gold. Macro-F1 is over the classes that occur in gold."""

    accuracy: float | None = None
    macro_f1: float | None = None


class Paired(Frozen):
    """Two answerers on the same gold rows: differences first − second, bootstrapped in pairs.

    `only_first` and `only_second` count the rows that only that one gets right; `p_value` is
    McNemar's exact test on them.
    """

    n: int
    accuracy: IntervalEstimate
    macro_f1: IntervalEstimate
    only_first: int
    only_second: int
    p_value: float


class Probabilities(Frozen):
    """How good the calibrated probabilities are, on all test rows.

    `nll` and `brier` score the teacher's answer, `kl` the teacher's whole distribution, in nats.
    A perfectly calibrated student of this confidence on this many rows would show an `ece` within
    [ece_null_low, ece_null_high] in 95 % of samples: inside it, the ECE says nothing.
    """

    nll: float
    brier: float
    kl: float
    ece: float
    ece_null_low: float
    ece_null_high: float


class Ranking(Frozen):
    """How well confidence ranks the rows: what escalation lives on.

    `augrc` is the average share of traffic that is kept and wrong, over all coverages (Traub et
    al. 2024); `augrc_oracle` that of a perfect ranking, half the squared error rate. `auroc` of
    agreement is None when every row agrees or none does.
    """

    augrc: float
    augrc_oracle: float
    auroc: float | None
    coverage_at_promise: float
    """Largest share kept on these rows within the promise; picked after looking: no proof."""


class LabelMass(Frozen):
    """How sure the teacher was that its answer is a label at all."""

    mean: float
    unsure: int
    """Rows with label mass under a half or with something else on top."""
    unusable: int = 0
    """Rows whose answer means no label: unsure, refused or turned away; 0 in older bundles."""
    unusable_escalated: int = 0
    """Of these, rows that are escalated: asked live, they get the student's answer or none."""
    truncated: int
    """Rows where a label was missing from the teacher's top-k."""


class CurvePoint(RiskCoveragePoint):
    """One threshold: kept and wrong, with the exact two-sided 95 % band of the risk."""

    kept: int
    disagreements: int
    low: float
    high: float
    oracle: float
    """Risk of a perfect ranking at this coverage."""


class ReliabilityBin(Frozen):
    """Rows whose confidence lies in (low, high]: how often they agree with the teacher."""

    low: float
    high: float
    mean_confidence: float
    agreement: CountedShare


class ClassRow(Frozen):
    """One label. Precision, recall and F1 are agreement with the teacher; gold F1 is apart."""

    label: str
    teacher: int
    """Rows that the teacher gives this label."""
    student: int
    precision: float | None
    recall: float | None
    f1: float
    escalation: float | None
    """Share of the teacher's rows of this label that escalate."""
    missed: CountedShare | None
    """Of the teacher's rows of this label: kept, and answered otherwise."""
    teacher_gold_f1: float | None = None
    student_gold_f1: float | None = None
    cascade_gold_f1: float | None = None


class Confusion(Frozen):
    """How often the student said one label where the teacher said the other."""

    teacher: str
    student: str
    count: int


class Suspect(Frozen):
    """A confident disagreement: a wrong student, or a wrong teacher. `row` is the test row."""

    row: int
    teacher: str
    student: str
    confidence: float
    gold: str | None


class Unlike(Frozen):
    """Test rows whose text is no copy, up to case, marks and numbers, of any learnt text.

    Traffic repeats itself, so the figures over all rows are those to expect; these tell what to
    expect of what is new. None where there is no such row.
    """

    agreement: CountedShare | None
    cascade_agreement: CountedShare | None
    escalation: CountedShare | None


class Evaluation(Frozen):
    """Everything measured on the test rows at the deployed thresholds."""

    n: int
    n_gold: int
    labels: tuple[str, ...]
    confidence_kind: str
    promise: Literal["system", "strict"]
    promised_agreement: float
    thresholds: tuple[float, ...]

    teacher: GoldFigures
    student: GoldFigures
    cascade: GoldFigures
    majority: GoldFigures
    """Always answering the most frequent gold label."""
    teacher_minus_student: Paired | None
    teacher_minus_cascade: Paired | None

    agreement: CountedShare
    """Student = teacher when the student answers everything."""
    kept_agreement: CountedShare | None
    """Student = teacher among the answers that the student keeps; None when it keeps none."""
    cascade_agreement: CountedShare
    """Answer = teacher over all traffic: escalated answers agree by definition."""
    escalation: CountedShare
    unlike: Unlike | None = None
    """The same on texts unlike anything that was learnt from; None in older bundles."""
    self_agreement: CountedShare | None = None
    """Teacher = teacher, asked twice: the ceiling of agreement."""

    probabilities: Probabilities
    ranking: Ranking
    label_mass: LabelMass
    risk_coverage: tuple[CurvePoint, ...]
    reliability: tuple[ReliabilityBin, ...]
    classes: tuple[ClassRow, ...]
    confusion: tuple[Confusion, ...]
    """Most frequent first, agreement left out."""
    suspects: tuple[Suspect, ...]

    @property
    def retention(self) -> float | None:
        """Share of the teacher's gain in macro-F1 over the majority answer that the student has.

        (M_S − M_base) / (M_T − M_base): 95 % of 99 % can be worse than no model at all.
        """
        scores = self.teacher.macro_f1, self.student.macro_f1, self.majority.macro_f1
        if scores[0] is None or scores[1] is None or scores[2] is None or scores[0] == scores[2]:
            return None
        return (scores[1] - scores[2]) / (scores[0] - scores[2])
