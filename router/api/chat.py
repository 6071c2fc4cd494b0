"""POST /v1/chat/completions: the drop-in. An application changes its base URL and nothing else.

A request is a task's when its model is the task's name or its teacher's model and its messages are
what the task's prompt makes of some text. The answer then is the word the teacher would have said,
or its own words where it was asked and named no label. What is not a task's goes to the teacher
untouched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import msgspec

from router.api.tasks import Served, Service, refuse_student_only
from router.clock import Clock
from router.errors import BadRequest, UnknownModel
from router.http.edge import parse
from router.http.hot_route import Call, Reply, Single, limits_in
from router.policy import Reason
from router.provenance import provenance_fields
from router.request import Answer
from router.schemas import (
    ABSENT,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatEnvelope,
    ChatMessage,
    ChatRequest,
    ChunkChoice,
    Usage,
)
from students.prompt import Template

SURFACE = "chat"
EVENT_STREAM = b"text/event-stream; charset=utf-8"
_HELP = "Send a chat completion: model and messages, as to OpenAI."


class _Matched(msgspec.Struct, frozen=True, gc=False):
    served: Served
    text: str
    request: ChatRequest


class Chat:
    """Answers /v1/chat/completions."""

    def __init__(self, service: Service, *, wall: Clock = time.time) -> None:
        self._service = service
        self._wall = wall
        self._encode = msgspec.json.Encoder().encode
        self._decode = _decoder([served.task.teacher.extra_body for served in _tasks(service)])
        self._decode_envelope = msgspec.json.Decoder(ChatEnvelope).decode
        self._by_model: dict[str, list[Served]] = {}
        for served in _tasks(service):
            for name in {served.task.name, served.task.teacher.model}:
                self._by_model.setdefault(name, []).append(served)
        self._words = {served.task.name: served.task.answers for served in _tasks(service)}
        self._templates = {
            served.task.name: Template(served.task.prompt) for served in _tasks(service)
        }

    async def __call__(self, call: Call) -> Reply | None:
        """Answer one call, or stream the teacher's answer and return None.

        Raises:
            Refusal: the body is wrong or nobody could answer.
        """
        single = self.single(call)
        if single is not None:
            return await single.answer()
        await self._pass_on(call)
        return None

    def single(self, call: Call) -> Single | None:
        """Read a call that is a task's.

        Raises:
            Refusal: a header or the text is wrong.
        """
        matched = self._match(call.body)
        if matched is None:
            return None
        ask = self._service.ask(
            call,
            matched.text,
            SURFACE,
            *limits_in(call),
        )
        return Single(matched.served.pipeline, ask, partial(self._word, call, matched))

    def _word(self, call: Call, matched: _Matched, answer: Answer) -> Reply:
        word = answer.wording or self._words[matched.served.task.name][answer.label]
        refused = answer.reason is Reason.TEACHER_REFUSED
        said = ChatMessage(refusal=word) if refused else ChatMessage(content=word)
        usage = _usage(answer, matched.text)
        form = self._stream if matched.request.stream else self._whole
        return form(call, matched.request, answer, said, usage)

    def _match(self, body: bytes) -> _Matched | None:
        """Recognise a task's request; None for everything else, whatever is the matter with it."""
        try:
            request = self._decode(body)
        except (ValueError, RecursionError):
            return None
        if request.logprobs:
            return None
        for served in self._by_model.get(request.model, ()):
            text = self._templates[served.task.name].match(request.messages)
            if text is None or not _same_extras(request, served.task.teacher.extra_body):
                continue
            if served.passthrough is None or self._service.fault_of(text) is None:
                return _Matched(served, text, request)
        return None

    async def _pass_on(self, call: Call) -> None:
        """Send what is no task's to the chat teacher whose model it names, or to the only one.

        Raises:
            BadRequest, UnknownModel: there is no such teacher.
        """
        envelope = parse(self._decode_envelope, call.body, _HELP)
        refuse_student_only(envelope.student_only)
        model = envelope.model
        named = self._by_model.get(model, [])
        chat = [s for s in named or _tasks(self._service) if s.passes_on(model)]
        own_name = named and all(s.task.name == model != s.task.teacher.model for s in named)
        if not named and not chat:
            raise UnknownModel(
                "There is no model of that name here; the models are: "
                f"{', '.join(self._service.models)}."
            )
        if own_name or not chat:
            raise BadRequest(
                "The request does not fit the task's prompt template, and there is no chat "
                "teacher to pass it to under this model name; send the messages of "
                "teacher.prompt in the task file."
            )
        passthrough = chat[0].passthrough
        assert passthrough is not None
        await passthrough.forward(call, model=model, streams=bool(envelope.stream))

    def _whole(
        self, call: Call, request: ChatRequest, answer: Answer, said: ChatMessage, usage: Usage
    ) -> Reply:
        message = ChatMessage(said.content or None, "assistant", said.refusal or None)
        completion = ChatCompletion(
            id=f"chatcmpl-{call.request_id}",
            created=int(self._wall()),
            model=request.model,
            choices=[ChatChoice(message)],
            usage=usage,
        )
        return Reply(self._encode(completion), fields=provenance_fields(answer))

    def _stream(
        self, call: Call, request: ChatRequest, answer: Answer, said: ChatMessage, usage: Usage
    ) -> Reply:
        """All events at once: the answer is known before the first byte."""
        wants_usage = bool(request.stream_options and request.stream_options.include_usage)
        chunk = partial(ChatChunk, f"chatcmpl-{call.request_id}", int(self._wall()), request.model)
        none_yet = None if wants_usage else msgspec.UNSET
        chunks = [
            chunk([ChunkChoice(ChatMessage(role="assistant", content=""))], usage=none_yet),
            chunk([ChunkChoice(said)], usage=none_yet),
            chunk([ChunkChoice(ChatMessage(), finish_reason="stop")], usage=none_yet),
        ]
        if wants_usage:
            chunks.append(chunk([], usage=usage))
        events = [b"data: " + self._encode(event) + b"\n\n" for event in chunks]
        body = b"".join([*events, b"data: [DONE]\n\n"])
        fields = b"cache-control: no-cache\r\n" + provenance_fields(answer)
        return Reply(body, content_type=EVENT_STREAM, fields=fields)


def _tasks(service: Service) -> list[Served]:
    return list(service.tasks.values())


def _decoder(extras: list[dict[str, object]]) -> Callable[[bytes], ChatRequest]:
    """Build the decoder; a task's fixed extra fields are known fields too."""
    names = {name for extra in extras for name in extra} - set(ChatRequest.__struct_fields__)
    request = msgspec.defstruct(
        "ChatRequest",
        [(name, msgspec.Raw, ABSENT) for name in sorted(names)],
        bases=(ChatRequest,),
        forbid_unknown_fields=True,
    )
    return cast(Callable[[bytes], ChatRequest], msgspec.json.Decoder(request).decode)


def _same_extras(request: ChatRequest, extra: dict[str, object]) -> bool:
    """Whether the extra fields that were sent are the ones the teacher was labelled with."""
    for name in extra:
        sent: Any = getattr(request, name)
        if sent is not ABSENT and isinstance(sent, msgspec.Raw):
            sent = msgspec.json.decode(sent)
            if sent != extra[name]:
                return False
    return True


def _usage(answer: Answer, text: str) -> Usage:
    """Return the teacher's tokens where it answered, else the student's own count of the text."""
    if answer.wording is not None:
        read, wrote = answer.usage.input_tokens, answer.usage.output_tokens
    else:
        read, wrote = answer.model.student.token_count(text), 1
    return Usage(read, wrote, read + wrote)
