"""The sections of a task file, each with its own rules."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    HttpUrl,
    field_validator,
    model_validator,
)

from costmodel.fields import NotNegative
from costmodel.frozen import Frozen
from costmodel.money.pricing import MONTH_S, PriceSpec
from costmodel.units import DAY_S
from students.confidence import Kind
from students.prompt import Prompt


def _no_per_cent(value: object) -> object:
    """Whoever writes 95 or 95% means .95: say so rather than that it is too large."""
    words = str(value).strip()
    try:
        number = float(words.removesuffix("%"))
    except ValueError:
        return value
    if words.endswith("%") or 1 < number <= 100:
        raise ValueError(f"a share is needed, and {number:g} % is written {number / 100:g}")
    return value


def _as_written(value: object) -> object:
    """YAML reads 2026-11-01 as a date and 3 as a number; people mean the words."""
    plain = isinstance(value, (int, float, date)) and not isinstance(value, bool)
    return str(value) if plain else value


Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(_no_per_cent)]
OpenFraction = Annotated[float, Field(gt=0, lt=1), BeforeValidator(_no_per_cent)]
Header = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, Field(pattern=r"^[\t\x20-\x7e]*$"), BeforeValidator(_as_written)]
_KEY_HEADERS = ("authorization", "api-key", "x-api-key", "x-goog-api-key", "proxy-authorization")
Sampling = Literal["rows", "latest", "groups"]
"""What judges: random rows of the pile, its latest rows, or one row of each group drawn."""


def _off_as_meant(value: object) -> object:
    """YAML reads a bare `off` as false; and one model may be given without a list."""
    if value is False:
        return "off"
    return [value] if isinstance(value, str) and value not in ("off", "task_model") else value


class Section(Frozen):
    """What is read is not changed, and what is unknown is refused."""


class TeacherSection(Section):
    """Where the teacher is, how it is asked and what it costs."""

    mode: Literal["classify", "decisions", "chat", "text", "local"] = "chat"
    """classify, local: an owned classifier, behind `/classify` or started here from `model_path`.
    decisions: `/v1/systemone` or `/v1/decisions`. chat: logprobs of the answer's first token.
    text: the answer alone, a hard label."""
    base_url: HttpUrl = HttpUrl("http://127.0.0.1:9101")
    """Required in every mode but local."""
    model_path: Path | None = None
    """Local mode: folder of a Hugging Face sequence classifier, served in a process of its own."""
    model: str
    revision: Annotated[str, BeforeValidator(_as_written)] = "unknown"
    """Whatever identifies these exact weights; a change de-certifies."""
    api_key_env: str | None = None
    api_key_header: Header = "Authorization"
    """Which header the key goes in: `Authorization` as `Bearer KEY`, any other as it is."""
    idempotency_header: Header | None = None
    """Where it takes idempotency keys, e.g. `Idempotency-Key`: the same call twice is paid once."""
    headers: dict[Header, HeaderValue] = {}
    """Further headers of every request, e.g. a project's or an API's version. Never a key."""
    prompt: Prompt = Prompt()
    answers: dict[str, str] = {}
    """The word the teacher uses for each label; default the label itself."""
    answer_with: Literal["word", "letter"] = "word"
    """Chat mode: `letter` lists the options as A, B, C in `{labels}` and reads the letter; with
    more than 20 labels it asks for a group of labels first and then within the likely groups."""
    option_orders: Literal["auto", "one", "both"] = "auto"
    """Chat mode: ask with the options both ways round and average; auto: for 2 listed labels."""
    samples: int = Field(default=1, ge=1, le=32)
    """Text mode: answers drawn with shuffled options; their shares are the soft label."""
    decisions_route: Literal["systemone", "decisions"] = "systemone"
    top_logprobs: int = Field(default=20, ge=1, le=20)
    max_tokens: int | None = Field(default=None, ge=1)
    """Chat mode: how far to read, default 1; more only for a server that starts with white space.
    Text mode: room for the answer and for what the model thinks before it; default no limit."""
    texts_per_call: int = Field(default=32, ge=1, le=1024)
    """Classify mode: texts sent in one labelling request."""
    extra_body: dict[str, object] = {}
    """Fixed extra fields of the request, e.g. chat_template_kwargs: {enable_thinking: false}; null
    takes a field out that is otherwise sent, e.g. temperature: null."""
    ignore_fields: tuple[str, ...] = ()
    """Fields the router may leave unread when it asks whether a call is the task's question."""
    json_key: str | None = None
    """Under which property `response_format: json_object` wants the answer; None: the teacher."""
    price: PriceSpec
    batch: bool = False
    """Chat and text mode: label through the OpenAI-style Batch API, within a day, at its tariff."""
    batch_price: PriceSpec | None = None
    """What it charges there; without it the batch tariff of `price.model`."""
    terms: str = ""
    """The provider's terms on training with its outputs, as you read them."""
    retires: date | None = None
    """When its supplier ends it; default: as `costmodel/money/retirements.yaml` knows."""
    min_machines: int = Field(default=1, ge=1)
    """Machines kept if it is rented by the hour, paid whether busy or idle."""
    max_concurrency: int = Field(default=8, ge=1)
    passthrough: Annotated[
        Literal["off", "task_model"] | tuple[Annotated[str, Field(min_length=1)], ...],
        BeforeValidator(_off_as_meant),
    ] = "task_model"
    """Chat and text mode: which calls that are no question of the task are passed on, with the
    teacher's key and at your expense: none, those for `model`, or those for the models listed."""
    max_passthrough: int | None = Field(default=None, ge=1)
    """Calls passed on at once; default as `max_concurrency`."""
    timeout_s: float = Field(default=10.0, gt=0)
    latency_s: float | None = Field(default=None, gt=0)
    """Mean seconds of one call as you measured it; what-ifs assume 0.6 without it."""
    max_usd_per_hour: Decimal | None = Field(default=None, ge=0)
    max_requests_per_second: float | None = Field(default=None, ge=0)
    """Escalation budget: beyond it only the least sure texts are escalated, then none."""
    hedge: bool = False
    """Ask twice when an answer is late; buys tail latency with a few per cent more calls."""
    on_failure: Literal["student", "error"] = "student"
    """When an escalation gets no answer: the student's answer flagged degraded, or a 503."""

    @property
    def passed_on(self) -> frozenset[str]:
        """The models for which calls are passed on."""
        if self.mode not in ("chat", "text") or self.passthrough == "off":
            return frozenset()
        if self.passthrough == "task_model":
            return frozenset((self.model,))
        return frozenset(self.passthrough)

    @field_validator("headers")
    @classmethod
    def _no_keys(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in _KEY_HEADERS:
                raise ValueError(
                    f"{name} holds a key, and a task file holds none: put it in the environment "
                    "and name the variable in api_key_env, the header in api_key_header"
                )
        return headers

    @model_validator(mode="after")
    def _mode_has_what_it_needs(self) -> Self:
        if self.mode == "local" and self.model_path is None:
            raise ValueError("mode local needs model_path, the folder of the classifier")
        if self.mode != "local" and "base_url" not in self.model_fields_set:
            raise ValueError(f"mode {self.mode} needs base_url, e.g. http://127.0.0.1:8000")
        if self.mode == "chat" and self.answer_with == "letter" and not self.prompt.lists_options:
            raise ValueError(
                "answer_with: letter needs {labels} in the prompt, to show the letters"
            )
        return self


class InputsSection(Section):
    """The pile of real inputs: one of `costmodel.inputs.tables.read.FORMATS`."""

    path: Path
    text: str = "text"
    gold: str | None = None
    """Column of true labels where there are any; only ever used to report accuracy."""
    split: str | None = None
    """Column that says which rows are train, validation, temperature, calibration or test; of rows
    without one, calibration and test are drawn at random. The word `time` is no column: it says
    that the latest rows judge, by the column `time`, or the one that `inputs.time` names."""
    time: str | None = None
    """Column of times (ISO 8601 or numbers). With it the latest rows are calibration and test: the
    promise is about traffic like theirs."""
    group: str | None = None
    """Column of customers, conversations, … With it one row of each group drawn judges, and nothing
    of that group is learnt from: every group counts once, however many rows it has."""
    encoding: str = "utf-8"
    """Of a file that does not begin with a byte order mark, e.g. cp1252."""
    delimiter: str | None = None
    """Of .csv and .tsv; default: , ; tab or |, whichever finds the columns in the header."""

    @model_validator(mode="before")
    @classmethod
    def _split_by_time(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("split") == "time":
            return {**given, "split": None, "time": given.get("time") or "time"}
        return given

    @model_validator(mode="after")
    def _one_way_to_draw(self) -> Self:
        ways = [name for name in ("split", "time", "group") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(
                f"{' and '.join(ways)} are both given, and each says which rows judge; keep one"
            )
        return self

    @property
    def sampling(self) -> Sampling:
        """How the rows that judge are drawn."""
        return "latest" if self.time else "groups" if self.group else "rows"


class ClassPromiseSection(Section):
    """What is promised on one class beside the overall promise.

    `system`: of the texts that the teacher gives this class; `strict`: of the answers of this class
    that the student gives.
    """

    agreement: OpenFraction


class PromiseSection(Section):
    """What is certified. `system`: of all answers; `strict`: of the answers the student gives."""

    agreement: OpenFraction = 0.97
    confidence: OpenFraction = 0.95
    promise: Literal["system", "strict"] = "system"
    per_class: dict[str, ClassPromiseSection] = {}

    @model_validator(mode="after")
    def _strict_classes_promise_no_less(self) -> Self:
        # Only then does the overall promise follow from the promises by class.
        for name, one in self.per_class.items():
            if self.promise == "strict" and one.agreement < self.agreement:
                raise ValueError(
                    f"the strict promise is {self.agreement} overall and {one.agreement} on "
                    f"{name!r}; promise at least as much on a class as on the whole"
                )
        return self

    @property
    def alpha(self) -> float:
        """The share of answers that may differ from the teacher's."""
        return 1.0 - self.agreement

    @property
    def delta(self) -> float:
        """The probability that the promise may fail."""
        return 1.0 - self.confidence


class StudentSection(Section):
    """Which student to distil and what one machine of it costs."""

    family: Literal["linear", "frozen", "encoder", "blend", "auto"] = "linear"
    """linear: hashed n-grams. frozen: a head on the encoder at `encoder_path` as it is. encoder:
    all of it fine-tuned. blend: linear and `blend_with` together. auto: each, the cheapest first,
    and the best buy is kept."""
    blend_with: Literal["frozen", "encoder"] = "frozen"
    confidence: Kind | None = None
    """What rows are ranked by; None: margin, unless held-out rows show max probability better."""
    encoder_path: Path | None = None
    """Local Hugging Face folder of the encoder; nothing is downloaded."""
    in_scope: OpenFraction | None = None
    """Share of unlabelled texts that an out-of-scope gate lets through, e.g. 0.99: a text unlike
    all that was learnt from is escalated, however sure the student is. None: no gate."""
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)
    hard_weights: tuple[float, ...] = (0.0, 0.1)
    """Mixing weights lambda of the hard cross-entropy; T and lambda are chosen on validation."""
    l2: Annotated[tuple[NotNegative, ...], Field(min_length=1)] = (0.01, 0.0, 0.1)
    """Linear: strengths of the L2 penalty, scikit-learn's 1 / C; T is chosen with the first."""
    variants: int = Field(default=0, ge=0, le=100)
    """Linear: texts made of each row by leaving out words, answered by a frozen encoder's head."""
    epochs: int | None = Field(default=None, ge=1)
    """Most passes over the rows, early stopping takes fewer; linear without it: all it needs."""
    gradient_checkpointing: bool = False
    """Encoder: recompute activations instead of keeping them; less memory, about a third slower."""
    seed: int = 0
    price: PriceSpec = PriceSpec(machine="aws:c7i.large", requests_per_second=2000)
    min_machines: int = Field(default=2, ge=1)
    """Machines kept for availability, paid whether busy or idle."""


class TrafficSection(Section):
    """The load the money is projected for."""

    requests_per_day: float = Field(default=10_000_000, gt=0)

    @property
    def requests_per_month(self) -> float:
        """Requests in the product's month of 730 hours."""
        return self.requests_per_day / DAY_S * MONTH_S


class WebhookSection(Section):
    """Who is told of events: alarms, their end, what a candidate is worth."""

    kind: Literal["json", "slack"] = "json"
    url: HttpUrl | None = None
    url_env: str | None = None
    """The variable that holds the address, where it is a secret, as Slack's are."""
    secret_env: str | None = None
    """The variable that holds what bodies are signed with: `x-raisehand-signature`."""
    events: tuple[str, ...] = ()
    """Kinds of events; empty: all."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("a webhook needs url or url_env, and not both")
        return self


class TextsSection(Section):
    """Consent to keep texts of the traffic: off where the task does not have this section."""

    basis: Annotated[str, Field(min_length=3)]
    """On which legal basis, in your words; it stands in the file so that somebody has thought."""
    keep_days: float = Field(default=30.0, gt=0, le=366)
    inputs_rate: Fraction = 0.0
    """Share of the answers neither escalated nor audited whose text is kept, too."""
    mask: bool = True
    """Mask what names a person by its pattern (e-mail, phone, card, account, key) before it is
    stored; names in prose stay."""
    key_env: str | None = None
    """The variable that holds the key: 32 random bytes in base64."""
    key_file: Path | None = None
    """A file that holds it, readable by its owner only; default: texts.key in the work_dir."""


class PromotionSection(Section):
    """When a candidate may take over, and how."""

    margin: OpenFraction = 0.01
    """By how much more often than the student that serves it may differ from the teacher."""
    cost_margin: OpenFraction = 0.01
    """By which share of all requests it may ask the teacher more often."""
    error: OpenFraction = 0.05
    """Probability that one that is worse by a margin is ever promoted."""
    steps: tuple[OpenFraction, ...] = (0.01, 0.1, 0.5)
    """Shares of the traffic that it answers on its way."""
    step_audits: int = Field(default=100, ge=1)
    """Comparisons between two steps."""
    automatic: bool = False
    """Whether the router takes the steps itself; else each is an operator's call."""
