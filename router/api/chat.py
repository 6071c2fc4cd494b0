"""POST /v1/chat/completions: the drop-in. An application changes its base URL and nothing else.

A request is a task's when its model is the task's name or its teacher's model and its messages are
what the task's prompt makes of some text. The answer then is the word the teacher would have said,
or its own words where it was asked and named no label. What is not a task's goes to the teacher
untouched.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from router.api.answer_shape import Shape
from router.api.chat_question import ChatQuestion, ChatQuestions, NoQuestion
from router.clock import Clock
from router.errors import BadRequest, UnknownModel
from router.http.edge import parse
from router.http.hot_route import Call, Reply, Single, limits_in
from router.policy import Reason
from router.provenance import provenance_fields
from router.request import Answer
from router.schemas import (
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatEnvelope,
    ChatMessage,
    ChatRequest,
    ChunkChoice,
    FunctionCall,
    ToolCall,
    Usage,
)
from router.service.served import Served
from router.service.service import Service, refuse_student_only
from students.prompt import content_of

SURFACE = "chat"
EVENT_STREAM = b"text/event-stream; charset=utf-8"
_NOBODY = (
    "there is no chat teacher to pass the request to under this model name; send the messages of "
    "teacher.prompt in the task file, and leave other fields out."
)
_HELP = "Send a chat completion: model and messages, as to OpenAI."


class Chat:
    """Answers /v1/chat/completions."""

    def __init__(self, service: Service, *, wall: Clock = time.time) -> None:
        self._service = service
        self._wall = wall
        self._encode = msgspec.json.Encoder().encode
        self._decode_envelope = msgspec.json.Decoder(ChatEnvelope).decode
        self._questions = ChatQuestions(_tasks(service), service.fault_of)
        self._by_model = self._questions.by_model

    async def __call__(self, call: Call) -> Reply | None:
        """Answer one call, or stream the teacher's answer and return None.

        Raises:
            Refusal: the body is wrong or nobody could answer.
        """
        found = self._questions.read(call.body)
        if isinstance(found, ChatQuestion):
            return await self._single(call, found).answer()
        await self._pass_on(call, found)
        return None

    def single(self, call: Call) -> Single | None:
        """Read a call that is a task's.

        Raises:
            Refusal: a header, the text or a field is wrong.
        """
        found = self._questions.read(call.body)
        return self._single(call, found) if isinstance(found, ChatQuestion) else None

    def _single(self, call: Call, question: ChatQuestion) -> Single:
        ask = self._service.ask(call, question.text, SURFACE, *limits_in(call))
        return Single(question.served.pipeline, ask, partial(self._word, call, question))

    def _word(self, call: Call, question: ChatQuestion, answer: Answer) -> Reply:
        said = said_of(question, answer, call.request_id)
        finish = "stop"
        if question.shape is not None and not said.refusal:
            finish = question.shape.finish_reason
        usage = usage_of(answer, question.request.messages)
        form = self._stream if question.request.stream else self._whole
        return form(call, question.request, answer, said, finish, usage)

    async def _pass_on(self, call: Call, why: NoQuestion) -> None:
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
            raise BadRequest(f"{why.sentence}, and {_NOBODY}")
        if why.why != "model":
            self._service.metrics.unmatched(why.why, why.field)
        call.why = why.words
        passthrough = chat[0].passthrough
        assert passthrough is not None
        await passthrough.forward(call, model=model, streams=bool(envelope.stream))

    def _whole(
        self,
        call: Call,
        request: ChatRequest,
        answer: Answer,
        said: ChatMessage,
        finish: str,
        usage: Usage,
    ) -> Reply:
        said.role = "assistant"
        choices = [ChatChoice(said, finish)]
        its_id, created = f"chatcmpl-{call.request_id}", int(self._wall())
        model = answer.answered_as or request.model
        completion = ChatCompletion(its_id, created, model, choices, usage)
        return Reply(self._encode(completion), fields=provenance_fields(answer))

    def _stream(
        self,
        call: Call,
        request: ChatRequest,
        answer: Answer,
        said: ChatMessage,
        finish: str,
        usage: Usage,
    ) -> Reply:
        """All events at once: the answer is known before the first byte."""
        wants_usage = bool(request.stream_options and request.stream_options.include_usage)
        model = answer.answered_as or request.model
        chunk = partial(ChatChunk, f"chatcmpl-{call.request_id}", int(self._wall()), model)
        none_yet = None if wants_usage else msgspec.UNSET
        chunks = [
            *(chunk([ChunkChoice(part)], usage=none_yet) for part in _parts(said)),
            chunk([ChunkChoice(ChatMessage(), finish_reason=finish)], usage=none_yet),
        ]
        if wants_usage:
            chunks.append(chunk([], usage=usage))
        events = [b"data: " + self._encode(event) + b"\n\n" for event in chunks]
        body = b"".join([*events, b"data: [DONE]\n\n"])
        fields = b"cache-control: no-cache\r\n" + provenance_fields(answer)
        return Reply(body, content_type=EVENT_STREAM, fields=fields)


def _tasks(service: Service) -> list[Served]:
    return list(service.tasks.values())


def said_of(question: ChatQuestion, answer: Answer, request_id: str) -> ChatMessage:
    """Return what is said: the label in the form that is asked for, or the teacher's own words."""
    if answer.reason is Reason.TEACHER_REFUSED:
        return ChatMessage(content=None, refusal=answer.wording)
    if question.shape is None:
        word = answer.wording or question.served.words[answer.label]
        return ChatMessage(content=word, refusal=None)
    return _shaped(question.shape, answer.label, request_id)


def _shaped(shape: Shape, label: int, request_id: str) -> ChatMessage:
    """Put a label as JSON, or as the call that was asked for."""
    if shape.tool is None:
        return ChatMessage(content=shape.put(label), refusal=None)
    call = ToolCall(FunctionCall(shape.put(label), shape.tool), f"call_{request_id}", "function")
    return ChatMessage(content=None, refusal=None, tool_calls=[call])


def _parts(said: ChatMessage) -> list[ChatMessage]:
    """Cut a message as a stream brings it: who speaks, then what is said."""
    if said.refusal:
        return [ChatMessage(role="assistant", content=""), ChatMessage(refusal=said.refusal)]
    if said.tool_calls is msgspec.UNSET:
        return [ChatMessage(role="assistant", content=""), ChatMessage(content=said.content)]
    [call] = said.tool_calls
    begins = ToolCall(FunctionCall("", call.function.name), call.id, call.type, index=0)
    goes_on = ToolCall(FunctionCall(call.function.arguments), index=0)
    return [
        ChatMessage(role="assistant", content=None, tool_calls=[begins]),
        ChatMessage(tool_calls=[goes_on]),
    ]


def usage_of(answer: Answer, messages: Sequence[Mapping[str, Any]]) -> Usage:
    """Return the teacher's tokens where it answered, else an estimate of what it would have read.

    One token for every four characters of the prompt, and four around each message, as OpenAI
    counts them for its chat models.
    """
    if answer.wording is not None:
        read, wrote = answer.usage.input_tokens, answer.usage.output_tokens
    else:
        read, wrote = 0, 1
        for one in messages:
            read += len(content_of(one.get("content")) or "") // 4 + 5
    return Usage(read, wrote, read + wrote)
