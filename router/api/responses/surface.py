"""POST /v1/responses: a task's question is answered by its student, the rest is passed on."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import msgspec

from router.api.chat import EVENT_STREAM, said_of, usage_of
from router.api.chat_question import ChatQuestion, ChatQuestions, NoQuestion
from router.api.pass_on import PassOn
from router.api.responses.events import stream_of
from router.api.responses.item import (
    ResponseObject,
    ResponseTokens,
    SaidCall,
    SaidMessage,
    SaidRefusal,
    SaidText,
)
from router.api.responses.question import NoChat, as_chat
from router.clock import Clock
from router.errors import BadRequest, UnknownModel
from router.http.hot_route import Call, Reply, Single, limits_in
from router.provenance import provenance_fields
from router.request import Answer
from router.schemas import ChatMessage
from router.service.service import Service

PATH = "/responses"
SURFACE = "responses"


class Responses:
    """Answers /v1/responses."""

    def __init__(self, service: Service, *, wall: Clock = time.time) -> None:
        self._service = service
        self._wall = wall
        self._encode = msgspec.json.Encoder().encode
        self._questions = ChatQuestions(service.tasks.values(), service.fault_of)
        self._passed = PassOn(service, PATH)

    async def __call__(self, call: Call) -> Reply | None:
        """Answer one call, or send the teacher's answer back and return None.

        Raises:
            Refusal: the body is wrong, the model is not passed on, or nobody could answer.
        """
        asked, found = self._read(call.body)
        if isinstance(found, ChatQuestion):
            return await self._single(call, asked, found).answer()
        past_a_task = found.why not in ("unreadable", "model")
        if past_a_task:
            self._service.metrics.unmatched(found.why, found.field)
            call.why = found.words
        try:
            return await self._passed(call)
        except UnknownModel as unknown:
            if past_a_task:
                raise BadRequest(f"{found.sentence}. {unknown}") from None
            raise

    def single(self, call: Call) -> Single | None:
        """Read a call that is a task's.

        Raises:
            Refusal: a header, the text or a field is wrong.
        """
        asked, found = self._read(call.body)
        return self._single(call, asked, found) if isinstance(found, ChatQuestion) else None

    def _read(self, body: bytes) -> tuple[dict[str, Any], ChatQuestion | NoQuestion]:
        """Decode a body, and recognise the chat completion that it would be.

        Raises:
            BadRequest: it is a task's question, with a value that cannot be.
        """
        try:
            asked = msgspec.json.decode(body)
        except (ValueError, RecursionError):
            return {}, NoQuestion("unreadable")
        if not isinstance(asked, dict):
            return {}, NoQuestion("unreadable")
        model = asked.get("model")
        if not isinstance(model, str) or model not in self._questions.by_model:
            return {}, NoQuestion("model")
        try:
            return asked, self._questions.read(self._encode(as_chat(asked)))
        except NoChat as no_chat:
            return {}, NoQuestion("field", str(no_chat))

    def _single(self, call: Call, asked: dict[str, Any], question: ChatQuestion) -> Single:
        ask = self._service.ask(call, question.text, SURFACE, *limits_in(call))
        word = partial(self._word, call, asked, question)
        return Single(question.served.pipeline, ask, word)

    def _word(
        self, call: Call, asked: dict[str, Any], question: ChatQuestion, answer: Answer
    ) -> Reply:
        request, id_ = question.request, call.request_id
        usage = usage_of(answer, request.messages)
        response = ResponseObject(
            id=f"resp_{id_}",
            created_at=int(self._wall()),
            model=answer.answered_as or request.model,
            output=[_item(said_of(question, answer, id_), id_)],
            usage=ResponseTokens(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
            asked=asked,
        )
        fields = provenance_fields(answer)
        if request.stream:
            fields = b"cache-control: no-cache\r\n" + fields
            return Reply(stream_of(response), content_type=EVENT_STREAM, fields=fields)
        return Reply(self._encode(response.fields()), fields=fields)


def _item(said: ChatMessage, request_id: str) -> SaidMessage | SaidCall:
    """Put what a chat completion would say as an item of this API."""
    if said.tool_calls is not msgspec.UNSET:
        [call] = said.tool_calls
        function = call.function
        return SaidCall(f"fc_{request_id}", str(call.id), str(function.name), function.arguments)
    part: SaidText | SaidRefusal = SaidText(str(said.content))
    if said.refusal:
        part = SaidRefusal(said.refusal)
    return SaidMessage(f"msg_{request_id}", [part])
