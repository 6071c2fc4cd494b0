"""What travels over the wire: msgspec structs, decoded and encoded without pydantic.

A decoder built once knows every field and its type; an unknown field of `/v1/classify` is an
error, because a misspelt `treshold` that is silently ignored is worse.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

ABSENT = Raw(b"null")


class ClassifyRequest(Struct, forbid_unknown_fields=True):
    """Body of POST /v1/classify."""

    text: str | list[str]
    model: str | None = None
    top_k: Annotated[int, Meta(ge=1, le=1_000)] = 1
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    deadline_ms: Annotated[float, Meta(gt=0)] | None = None
    student_only: bool = False
    """Take the student's answer however sure it is: no teacher is asked, now or in an audit."""


class Provenance(Struct):
    """Who answered, why, from which bundle, for how much; the price None means unpriced."""

    route: str
    reason: str
    bundle: str
    cost_usd: float | None
    degraded: bool


class Classified(Struct):
    """One classified text."""

    label: str
    confidence: float | None
    probabilities: dict[str, float]
    raisehand: Provenance
    id: str
    """By which `/v1/feedback` names it: the request's id, and in a list its place behind a dot."""
    model: str | UnsetType = UNSET


class ItemError(Struct):
    """Why one text of a list has no answer."""

    type: str
    message: str
    code: str | None = None
    """The reason, where the pipeline has one."""


class FailedItem(Struct):
    """What stands in the place of an answer."""

    error: ItemError


class ClassifiedList(Struct):
    """The answer to a list of texts, in its order; one that failed has its error in its place."""

    id: str
    model: str
    data: list[Any]
    """`Classified` or `FailedItem`: msgspec describes no union of structs without tags."""


class FeedbackRequest(Struct, forbid_unknown_fields=True):
    """Body of POST /v1/feedback: `gold`, or only whether the answer was `correct`."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,80}(\.[0-9]{1,6})?$")]
    """Of the answer: its `id` or its `x-request-id`."""
    gold: str | None = None
    correct: bool | None = None
    source: Literal["user", "reviewer", "system"] = "user"
    model: str | None = None
    """The task, where there are several."""


class FeedbackTaken(Struct):
    """What became of feedback: `new`, `same` as was known, or `changed`."""

    id: str
    received: str


class StreamOptions(Struct, forbid_unknown_fields=True):
    """How a chat stream ends."""

    include_usage: bool | None = False
    include_obfuscation: bool | None = None


Number = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1)]


class ChatRequest(Struct, forbid_unknown_fields=True):
    """A chat completion that a task might answer.

    Fields that change how a teacher words or bills an answer, not which label is meant, are checked
    and not used. `Raw` ones say in which form the label is wanted, or what else is wanted. What a
    field that is not here says, `router.api.chat_fields` knows.
    """

    model: str
    messages: list[dict[str, Any]]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=1)] | None = 1
    logprobs: bool | None = False
    stop: str | list[str] | None = None
    response_format: Raw = ABSENT
    tools: Raw = ABSENT
    tool_choice: Raw = ABSENT
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    seed: int | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class ChatEnvelope(Struct):
    """As much of any chat completion as is needed to pass it on."""

    model: str
    messages: list[Any]
    student_only: Any = UNSET
    """Refused: a teacher is what it forbids, and would be asked."""
    stream: Any = False


class PassedEnvelope(Struct):
    """As much of a call that only a teacher answers as is needed to pass it on."""

    model: str
    student_only: Any = UNSET
    """Refused, as everywhere but on `/v1/classify`."""
    stream: bool | None = False
    background: bool | None = False
    """Refused: its cost would be known nowhere."""


class FunctionCall(Struct):
    """Which function is to be called, with its arguments as JSON text."""

    arguments: str
    name: str | UnsetType = UNSET


class ToolCall(Struct):
    """A call of a function; `index` in a stream, `id` and `type` where it begins."""

    function: FunctionCall
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    index: int | UnsetType = UNSET


class ChatMessage(Struct):
    """What was said, whole or as a part of a stream."""

    content: str | UnsetType | None = UNSET
    role: str | UnsetType = UNSET
    refusal: str | UnsetType | None = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChatChoice(Struct):
    """The one choice of an answer."""

    message: ChatMessage
    finish_reason: str = "stop"
    index: int = 0
    logprobs: None = None


class ChunkChoice(Struct):
    """The one choice of a stream's chunk."""

    delta: ChatMessage
    finish_reason: str | None = None
    index: int = 0
    logprobs: None = None


class Usage(Struct):
    """Tokens; the student's own count where the student answered."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class VllmClassifyRequest(Struct):
    """Body of POST /classify, as vLLM takes it; its other fields leave the answer as it is."""

    input: str | list[str]
    model: str | None = None
    student_only: Any = UNSET
    """Refused: a teacher is what it forbids, and might be asked."""


class VllmClass(Struct):
    """The class of one text: its name, and the probability of each, in the model's order."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class VllmClasses(Struct):
    """Answer of POST /classify, as vLLM gives it."""

    id: str
    created: int
    model: str
    data: list[VllmClass]
    usage: Usage
    object: str = "list"


class ChatCompletion(Struct):
    """The answer to a chat completion."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    object: str = "chat.completion"
    system_fingerprint: str | None = None


class ChatChunk(Struct):
    """One server-sent event of a streamed answer."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: str = "chat.completion.chunk"
    usage: Usage | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType | None = UNSET
