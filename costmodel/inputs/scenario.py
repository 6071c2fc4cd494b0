"""One frozen scenario: what arrives, who answers, by which rule, at which prices.

    scenario = load(Path("average-10M-day.yaml"))
    cheaper = vary(scenario, {"policy.escalation_rate": 0.03})

Every fault of a file is one sentence: the field, what was found and what is allowed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import Field, ValidationError, model_validator

from costmodel.errors import BadScenario
from costmodel.faults import first_fault
from costmodel.fields import NotNegative, Positive, Share
from costmodel.frozen import Frozen
from costmodel.inputs.asking import SLOT_WAIT_S, SLOTS, TIMEOUT_S, Asking
from costmodel.inputs.changes import changed
from costmodel.inputs.fleet import (
    Autoscaling,
    Interruptions,
    Noise,
    StudentFleet,
)
from costmodel.inputs.limits import Limits, Promise
from costmodel.inputs.measured import with_profile, with_roofline
from costmodel.inputs.stated_doubt import Doubt
from costmodel.inputs.workload import MONTH_DAYS, Bursts, Lengths, Workload
from costmodel.money.pricelist import PriceList, read_prices
from costmodel.money.pricing import PriceSpec, Processing, today
from costmodel.units import DAY_S

Floats = npt.NDArray[np.float64]


class Quality(Frozen):
    """How sure and how right the student is: a risk-coverage curve, or two plain rates."""

    risk_coverage: tuple[tuple[float, float, float], ...] = ()
    """Rows of threshold, coverage, share of the kept that disagrees with the teacher."""
    kept_disagreement: Share = 0.02
    """Without a curve: share of the kept answers that differ from the teacher's."""
    unsure_disagreement: Share = 0.4
    """Without a curve: the same for the answers it is not sure of."""
    length_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Spearman correlation of length and unsureness."""
    rows: int = Field(default=1000, ge=1)
    """Evaluated rows that all of this rests on: they set the width of every interval."""

    @model_validator(mode="after")
    def _curve_is_a_curve(self) -> Self:
        rows = sorted(self.risk_coverage)
        for (low, cover, _), (high, less, _) in itertools.pairwise(rows):
            if less > cover:
                raise ValueError(
                    f"coverage rises from {cover:g} at threshold {low:g} to {less:g} at {high:g}; "
                    "a higher threshold cannot keep more"
                )
        if len(rows) == 1 or any(not 0 <= x <= 1 for _, *rest in rows for x in rest):
            raise ValueError("risk_coverage needs at least 2 rows with coverage and risk in 0..1")
        return self


class Drift(Frozen):
    """How the share of unsure requests moves; 1 is as measured."""

    per_month: Annotated[float, Field(gt=-1, allow_inf_nan=False)] = 0.0
    """Growth of that share in a month without retraining."""
    retrain_days: Positive | None = None
    """A new student every so many days sets it back: a sawtooth."""
    spells: Bursts | None = None
    """Hard spells (an outage, a new topic): factor on the share, share of time, mean seconds."""

    def hardness(self, middle_s: Floats) -> Floats:
        """Factor on the unsure share at each moment."""
        days = middle_s / DAY_S
        if self.retrain_days is not None:
            days = days % self.retrain_days
        drifted: Floats = (1 + self.per_month) ** (days / MONTH_DAYS)
        return drifted


class Policy(Frozen):
    """When the teacher is asked: by threshold on the curve, or by the share to escalate."""

    threshold: Share | None = None
    escalation_rate: Share | None = None
    audit_rate: Share = 0.01
    audit_processing: Processing | None = None
    """Terms on which audits are asked, e.g. batch: they may wait. None: as escalations."""
    budget_per_s: Positive | None = None
    """Escalations per second that may be sustained; beyond it answers are degraded."""
    budget_usd_per_hour: Positive | None = None
    """US dollars an hour that escalations and audits may cost at the teacher's price."""
    audit_usd_per_hour: Positive | None = None
    """Of these, what audits may cost; None: a tenth."""
    budget_burst_s: Positive = 60.0
    """Seconds' worth of them that may be saved up; below half, those of most doubt go first."""
    deadline_s: Positive = 10.0
    """A request that waited longer in the student's queue is dropped; no answer comes later."""
    on_failure: Literal["student", "error"] = "student"

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.threshold is None) == (self.escalation_rate is None):
            raise ValueError("give either threshold or escalation_rate")
        return self


class TeacherMachines(Frozen):
    """How machines of one's own are sized where the price is by the hour."""

    min_machines: int = Field(default=1, ge=1)
    """Somebody must be there to be asked. Hosted: at least its replicas are kept."""
    peak_to_mean: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    """Busiest moment over the mean; None: that of the workload's shape, bursts and hard spells."""
    max_utilisation: Annotated[float, Field(gt=0, le=1)] = 0.7
    """How busy a machine may be at the busiest moment."""


class TeacherBase(Frozen):
    """What every teacher has."""

    prompt_tokens: NotNegative = 60.0
    """Tokens of the template around the text."""
    tokens_per_student_token: Positive = 1.0
    cached_prompt_tokens: NotNegative = 0.0
    """Beginning of the prompt that never changes, which the supplier's cache may hold."""
    cache_ttl_s: Positive = 300.0
    """Seconds that a cache holds it after its last use: rare calls find it cold and write it."""
    cache_hit_rate: Share | None = None
    """Measured share of calls that find it; None: that of calls at random within cache_ttl_s."""
    output_tokens: Lengths = Lengths(mean=1)
    price: PriceSpec | None = None
    machines: TeacherMachines = TeacherMachines()
    timeout_s: Positive = TIMEOUT_S
    max_concurrency: int = Field(default=SLOTS, ge=1)
    max_wait_s: Positive | None = SLOT_WAIT_S
    """A call that got no slot within this is given up as teacher_busy, and no more wait than there
    are slots; None: any number waits until its deadline."""
    max_attempts: int = Field(default=2, ge=1, le=2)
    asking: Asking | None = Asking()
    """The router's rules; None: nobody spares it, and a hosted one has no slots before it."""
    pending_limit: int = Field(default=65_536, ge=1, le=2**22)
    """Calls in flight or queued; beyond it the answer is degraded as teacher_busy."""

    @model_validator(mode="after")
    def _cache_within_prompt(self) -> Self:
        if self.cached_prompt_tokens > self.prompt_tokens:
            raise ValueError(
                f"cached_prompt_tokens {self.cached_prompt_tokens:g} is more than "
                f"prompt_tokens {self.prompt_tokens:g}"
            )
        return self


class ApiTeacher(TeacherBase):
    """A service with a latency, a number of slots and a rate limit; also plain c servers."""

    kind: Literal["api"] = "api"
    latency_s: NotNegative = 0.6
    """Mean time of a call, before its tokens."""
    per_input_token_s: NotNegative = 0.0
    per_output_token_s: NotNegative = 0.0
    noise: Noise = Noise(kind="lognormal", cv=0.5)
    calls_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    limit_burst_s: Positive = 60.0
    """Seconds' worth of the limits that may be spent at once."""
    failure_rate: Share = 0.0
    reject_s: NotNegative = 0.05
    """Mean time of a 429; it scatters as answers do."""
    retry_after_s: NotNegative | None = None
    """What a 429 asks everybody to wait; None: it says nothing."""


class HostedTeacher(TeacherBase):
    """Replicas that batch continuously: a step costs fixed + requests + context + prefill."""

    kind: Literal["hosted"] = "hosted"
    replicas: int = Field(default=1, ge=1, le=1024)
    autoscaling: Autoscaling | None = None
    """Replicas so that each has `target_utilisation` of `max_running` calls, waiting ones too."""
    interruptions: Interruptions | None = None
    max_running: int = Field(default=256, ge=1, le=65_536)
    kv_tokens: Positive = 400_000.0
    """Tokens of context that fit one replica's cache."""
    step_s: NotNegative = 0.008
    step_per_request_s: NotNegative = 0.00005
    step_per_context_token_s: NotNegative = 0.0
    step_per_prefill_token_s: NotNegative = 0.00002
    prefill_tokens_per_step: Annotated[float, Field(ge=1)] = 8192.0
    """Tokens of one step, those that decode included; a longer prompt is read in chunks."""
    block_tokens: int = Field(default=16, ge=1)
    prefix_cache: bool = True
    """Whether cached_prompt_tokens, the beginning that all prompts share, are computed once."""
    abort_on_leave: bool = True
    """Whether a caller that leaves at its deadline ends its own computation, as vLLM does it."""
    plans_ahead: bool = False
    """Whether a step is planned while another runs, as by vLLM's asynchronous scheduling."""
    noise: Noise = Noise()


class OneOffSection(Frozen):
    """What is paid once, or once for each student."""

    labelled_texts: int = Field(default=0, ge=0)
    label_processing: Processing | None = None
    """Terms on which labels are asked, e.g. batch: they may wait. None: as escalations."""
    training_usd: NotNegative = 0.0
    other_usd: NotNegative = 0.0
    retrainings_per_month: NotNegative = 0.0


class Scenario(Frozen):
    """Everything one simulation needs."""

    name: str = Field(min_length=1)
    workload: Workload
    days: Positive = 1.0
    start: datetime = Field(default_factory=today)
    """Second 0 of the workload, for dated prices; today unless the file says a day."""
    prices: PriceList | None = None
    """Agreed prices, discounts, currency and tax; a file names the file that has them."""
    warmup_s: NotNegative = 0.0
    """Traffic before second 0 that fills the queues and is not counted."""
    student: StudentFleet = StudentFleet()
    quality: Quality = Quality()
    drift: Drift = Drift()
    policy: Policy = Policy(escalation_rate=0.08)
    teacher: Annotated[ApiTeacher | HostedTeacher, Field(discriminator="kind")] = ApiTeacher()
    baselines: dict[str, PriceSpec] = {}
    """Other APIs that could do the job alone: the cheap rails of the bill."""
    one_off: OneOffSection = OneOffSection()
    promise: Promise | None = None
    """What was promised to those who read the answers; None: nothing was."""
    limits: Limits = Limits()
    """What may fail before a cheap system is no system."""
    cost_of_refusal: NotNegative = 0.0
    cost_of_wrong_answer: NotNegative = 0.0
    """Of an answer that differs from the teacher's."""
    doubt: Doubt = Doubt()
    """How far inputs may be off that nothing above measures; only intervals use it."""

    @property
    def duration_s(self) -> float:
        """Counted seconds of workload."""
        return self.days * DAY_S

    @model_validator(mode="after")
    def _threshold_needs_a_curve(self) -> Self:
        if self.policy.threshold is not None and not self.quality.risk_coverage:
            raise ValueError(
                "policy.threshold is given without quality.risk_coverage: nothing says how many "
                "requests it keeps; give the curve, or policy.escalation_rate"
            )
        return self


def load(
    path: Path, changes: Mapping[str, Any] | None = None, prices: Path | None = None
) -> Scenario:
    """Read a scenario file (YAML or JSON); relative paths in it are relative to the file.

    Args:
        path: the file.
        changes: dotted field to value, applied before validation, e.g. {"policy.audit_rate": 0}.
        prices: a price list of one's own, instead of the one that the file names.

    Raises:
        BadPriceList: the price list cannot be used.
        BadScenario: with one sentence for the first fault and the number of others.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadScenario(f"scenario {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = " ".join(str(error).split())
        raise BadScenario(f"scenario {path} is not YAML: {first}") from error
    if not isinstance(raw, dict):
        raise BadScenario(f"scenario {path} is a {type(raw).__name__}; it must be a mapping")
    trace = raw.get("workload", {})
    trace = trace.get("trace") if isinstance(trace, dict) else None
    if isinstance(trace, dict) and isinstance(trace.get("path"), str):
        trace["path"] = str(path.parent / trace["path"])
    if isinstance(raw.get("teacher"), dict) and "roofline" in raw["teacher"]:
        raw["teacher"] = with_roofline(raw["teacher"], path)
    if prices is not None or isinstance(raw.get("prices"), str):
        raw["prices"] = read_prices(prices or path.parent / raw["prices"]).model_dump(mode="json")
    profile = raw.pop("profile", None)
    if profile is not None:
        raw = with_profile(raw, path.parent / str(profile))
    return _validated(_of_its_kind(changed(raw, changes or {}), changes or {}), str(path))


def vary(base: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """Return the scenario with dotted fields replaced.

    Raises:
        BadScenario: a field that does not exist, or a value it does not allow.
    """
    raw = changed(base.model_dump(), changes)
    return _validated(_of_its_kind(raw, changes), base.name)


def sweep(base: Scenario, axes: Mapping[str, Sequence[Any]]) -> Iterator[Scenario]:
    """Yield the scenario at every combination of the axes' values, the last axis fastest.

    Each is named after its place: `base [student.replicas=2, policy.escalation_rate=0.05]`.
    """
    for values in itertools.product(*axes.values()):
        place = dict(zip(axes, values, strict=True))
        words = ", ".join(f"{field}={value}" for field, value in place.items())
        yield vary(base, {**place, "name": f"{base.name} [{words}]"})


def _of_its_kind(raw: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A teacher of another kind keeps what both kinds have; the rest is that kind's own."""
    kinds: dict[object, type[TeacherBase]] = {"api": ApiTeacher, "hosted": HostedTeacher}
    kind = kinds.get(changes.get("teacher.kind"))
    if kind is not None:
        stated = {field.split(".")[1] for field in changes if field.startswith("teacher.")}
        raw["teacher"] = {
            name: value
            for name, value in raw["teacher"].items()
            if name in stated or name in ("kind", *TeacherBase.model_fields)
        }
    return raw


def _validated(raw: Mapping[str, Any], where: str) -> Scenario:
    if isinstance(raw.get("teacher"), dict):
        raw = {**raw, "teacher": {"kind": "api", **raw["teacher"]}}
    try:
        return Scenario.model_validate(raw)
    except ValidationError as error:
        raise BadScenario(f"{where}: {first_fault(error)}") from error
