"""Which chat completions are a task's question, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from router.api.answer_shape import OtherShape, Shape, shape_of
from router.api.chat_fields import DEFAULTS, plain_message, says_nothing
from router.errors import BadRequest
from router.schemas import ABSENT, ChatRequest
from router.service.served import Served
from students.prompt import Template
from students.task import Task

_AGAINST = {
    "unreadable": "The body is not a chat completion",
    "model": "The model is no task's",
    "messages": "The messages do not fit the task's prompt template",
    "field": "The messages fit the task, but `{}` asks for more than its label",
    "text": "The text cannot be answered",
}


class ChatQuestion(msgspec.Struct, frozen=True, gc=False):
    """A chat completion that asks for a task's label of a text."""

    served: Served
    text: str
    request: ChatRequest
    shape: Shape | None
    """None: the bare word."""


class NoQuestion(msgspec.Struct, frozen=True, gc=False):
    """A chat completion that no task can answer.

    Attributes:
        why: what stands against it: `unreadable`, `model`, `messages`, `field` or `text`.
        field: the field, where it is one that is known to OpenAI or vLLM.
    """

    why: str
    field: str = ""

    @property
    def sentence(self) -> str:
        """As an error begins, without its full stop."""
        return _AGAINST[self.why].format(self.field or "a field")

    @property
    def words(self) -> str:
        """As a header says it; never what the client wrote."""
        return f"{self.why} {self.field}".strip()


_OTHER_MODEL = NoQuestion("model")


class ChatQuestions:
    """Recognises the questions of some tasks.

    Args:
        tasks: in the order in which they are tried.
        fault_of: why a text cannot be answered, if so: one that can be passed on is then passed on.
    """

    def __init__(self, tasks: Iterable[Served], fault_of: Callable[[str], str | None]) -> None:
        tasks = list(tasks)
        self._fault_of = fault_of
        self._type = _type_of([served.task for served in tasks])
        self._known = set(self._type.__struct_fields__)
        self._decode = msgspec.json.Decoder(self._type).decode
        self._ignored = {name for s in tasks for name in s.task.teacher.ignore_fields}
        self._templates = {s.task.name: Template(s.task.prompt) for s in tasks}
        self.by_model: dict[str, list[Served]] = {}
        for served in tasks:
            for name in {served.task.name, served.task.teacher.model}:
                self.by_model.setdefault(name, []).append(served)

    def read(self, body: bytes) -> ChatQuestion | NoQuestion:
        """Recognise a body.

        Raises:
            BadRequest: it is a task's question, with a value that cannot be.
        """
        try:
            return self._match(self._decode(body))
        except msgspec.ValidationError:
            return self._read_slowly(body)
        except (ValueError, RecursionError):
            return NoQuestion("unreadable")

    def _read_slowly(self, body: bytes) -> ChatQuestion | NoQuestion:
        """Leave out what says nothing, and find what stands against the rest."""
        try:
            given = msgspec.json.decode(body)
        except (ValueError, RecursionError):
            return NoQuestion("unreadable")
        if not isinstance(given, dict):
            return NoQuestion("unreadable")
        fields = {
            name: value
            for name, value in given.items()
            if not says_nothing(name, value, self._ignored)
        }
        for name in fields:
            if name not in self._known:
                return NoQuestion("field", name if name in DEFAULTS else "")
        if fields.get("n", 1) != 1 and isinstance(fields["n"], int):
            return NoQuestion("field", "n")
        try:
            return self._match(self._decode(msgspec.json.encode(fields)))
        except msgspec.ValidationError as error:
            asked = {name: fields.get(name) for name in ("model", "messages")}
            try:
                found = self._match(self._decode(msgspec.json.encode(asked)))
            except msgspec.ValidationError:
                return NoQuestion("unreadable")
            if isinstance(found, NoQuestion):
                return found
            raise BadRequest(f"The body is not taken: {error}.") from None

    def _match(self, request: ChatRequest) -> ChatQuestion | NoQuestion:
        found = _OTHER_MODEL
        for served in self.by_model.get(request.model, ()):
            one = self._match_task(request, served)
            if isinstance(one, ChatQuestion):
                return one
            found = one
        return found

    def _match_task(self, request: ChatRequest, served: Served) -> ChatQuestion | NoQuestion:
        task = served.task
        if request.logprobs:
            return NoQuestion("field", "logprobs")
        if not all(map(plain_message, request.messages)):
            return NoQuestion("messages")
        text = self._templates[task.name].match(request.messages)
        if text is None:
            return NoQuestion("messages")
        extra = task.teacher.extra_body
        if extra and (other := _other_extra(request, extra)) is not None:
            return NoQuestion("field", other)
        if request.stop and not _harmless(request.stop, served.words):
            return NoQuestion("field", "stop")
        try:
            shape = _shape(request, task, served.words)
        except OtherShape as other_shape:
            return NoQuestion("field", str(other_shape))
        if served.passthrough is not None and self._fault_of(text) is not None:
            return NoQuestion("text")
        return ChatQuestion(served, text, request, shape)


def _type_of(tasks: Iterable[Task]) -> type[ChatRequest]:
    """Build the request's type; a task's fixed extra fields are known fields too."""
    names = {n for task in tasks for n in task.teacher.extra_body}
    names -= set(ChatRequest.__struct_fields__)
    made = msgspec.defstruct(
        "ChatRequest",
        [(name, msgspec.Raw, ABSENT) for name in sorted(names)],
        bases=(ChatRequest,),
        forbid_unknown_fields=True,
    )
    return made  # type: ignore[return-value]


def _other_extra(request: ChatRequest, extra: dict[str, object]) -> str | None:
    """Return an extra field that was sent with another value than the teacher was labelled with."""
    for name in extra:
        sent: Any = getattr(request, name)
        if sent is None or sent is ABSENT:
            continue
        if isinstance(sent, msgspec.Raw):
            sent = msgspec.json.decode(sent)
        if sent != extra[name]:
            return name
    return None


def _harmless(stop: str | list[str], words: Sequence[str]) -> bool:
    """Whether no answer contains a stop sequence: the teacher would not have stopped there."""
    stops = [stop] if isinstance(stop, str) else stop
    return not any(one and one in word for one in stops for word in words)


def _shape(request: ChatRequest, task: Task, words: Sequence[str]) -> Shape | None:
    if request.response_format is ABSENT and request.tools is ABSENT:
        return None
    decode = msgspec.json.decode
    return shape_of(
        decode(request.response_format),
        decode(request.tools),
        decode(request.tool_choice),
        task.schema_.names,
        words,
        task.teacher.json_key,
    )
