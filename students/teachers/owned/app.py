"""HTTP around a local classifier: vLLM's `/classify`, and OpenAI's chat for the task's prompt."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from students.errors import BadTask
from students.prompt import match
from students.task import Task
from students.teachers.owned.classifier import ClassScores, LocalClassifier, Queue
from students.teachers.questions import Question, every_question


class RefusedRequest(Exception):
    """A request this server does not serve, told in OpenAI's error shape."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param


class TeacherClassifyRequest(BaseModel):
    """vLLM's ClassificationRequest, as far as text goes."""

    model_config = ConfigDict(extra="forbid")

    input: str | list[str]
    model: str | None = None
    user: str | None = None
    truncate_prompt_tokens: int | None = None
    use_activation: Literal[True] | None = None
    priority: int = 0
    request_id: str | None = None


class TeacherChatRequest(BaseModel):
    """An OpenAI chat completion, as far as one word from a classifier can answer it."""

    model_config = ConfigDict(extra="forbid")

    messages: list[dict[str, Any]] = Field(min_length=1)
    model: str
    logprobs: bool | None = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    stream: bool | None = False
    stream_options: dict[str, bool] | None = None
    n: Literal[1] | None = 1
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    # A classifier has one answer: what steers sampling is accepted and changes nothing.
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


def create_app(
    classifier: LocalClassifier,
    name: str,
    task: Task | None = None,
    *,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """Build the server; `task` gives the prompt and the answer words of the chat surface.

    Raises:
        BadTask: the model's classes are not the task's labels, in the task's order.
    """
    questions = _questions(classifier, task)
    queue = Queue(classifier)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        serving = asyncio.create_task(queue.run())
        yield
        serving.cancel()

    app = FastAPI(title=name, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(RefusedRequest, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)

    @app.get("/health")
    async def health() -> Response:
        return Response(status_code=200)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        card = {
            "id": name,
            "object": "model",
            "created": int(clock()),
            "owned_by": "raisehand",
            "max_model_len": classifier.max_length,
        }
        return {"object": "list", "data": [card]}

    @app.post("/classify")
    async def classify(request: TeacherClassifyRequest) -> dict[str, Any]:
        _require_model(request.model, name)
        texts = [request.input] if isinstance(request.input, str) else request.input
        if not texts:
            raise RefusedRequest(400, "input is empty; send at least one text", "input")
        answers = await queue.ask(texts)
        return _classification(answers, classifier.names, name, int(clock()))

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(request: TeacherChatRequest) -> dict[str, Any] | StreamingResponse:
        _require_model(request.model, name)
        text, question = _asked(questions, request)
        (answer,) = await queue.ask([text])
        reply = _ChatReply(answer, question, name, int(clock()), request)
        if request.stream:
            return StreamingResponse(reply.events(), media_type="text/event-stream")
        return reply.whole()

    return app


class _ChatReply:
    """One answer word with its logprobs, whole or as server-sent events."""

    def __init__(
        self,
        answer: ClassScores,
        question: Question,
        name: str,
        created: int,
        request: TeacherChatRequest,
    ) -> None:
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": created, "model": name}
        self._request = request
        words = question.answers
        p = np.array([answer.probabilities[list(labels)].sum() for labels in question.labels])
        p = p / p.sum()
        best = int(p.argmax())
        self._word = words[best]
        order = p.argsort()[::-1][: request.top_logprobs or 0]
        listed = [_token(words[k], float(p[k])) for k in order]
        position = {**_token(words[best], float(p[best])), "top_logprobs": listed}
        self._logprobs = {"content": [position]} if request.logprobs else None
        self._usage = {
            "prompt_tokens": answer.tokens,
            "completion_tokens": 1,
            "total_tokens": answer.tokens + 1,
        }

    def whole(self) -> dict[str, Any]:
        """Return the chat completion object."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": self._word},
            "logprobs": self._logprobs,
            "finish_reason": "stop",
        }
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": self._usage,
        }

    async def events(self) -> AsyncIterator[str]:
        """Yield the chunks of a stream, ended by [DONE]."""
        yield self._chunk({"role": "assistant", "content": ""})
        yield self._chunk({"content": self._word}, logprobs=self._logprobs)
        yield self._chunk({}, finish="stop")
        if (self._request.stream_options or {}).get("include_usage"):
            last = {**self._head, "object": "chat.completion.chunk", "choices": []}
            yield f"data: {json.dumps({**last, 'usage': self._usage})}\n\n"
        yield "data: [DONE]\n\n"

    def _chunk(
        self, delta: dict[str, str], *, logprobs: object = None, finish: str | None = None
    ) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        return f"data: {json.dumps(chunk)}\n\n"


def _token(word: str, probability: float) -> dict[str, Any]:
    logprob = max(-9999.0, math.log(probability)) if probability > 0 else -9999.0
    return {"token": word, "logprob": logprob, "bytes": list(word.encode())}


def _classification(
    answers: Sequence[ClassScores], names: Sequence[str], model: str, created: int
) -> dict[str, Any]:
    tokens = sum(answer.tokens for answer in answers)
    data = [
        {
            "index": i,
            "label": names[int(answer.probabilities.argmax())],
            "probs": answer.probabilities.tolist(),
            "num_classes": len(names),
        }
        for i, answer in enumerate(answers)
    ]
    usage = {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }
    return {
        "id": f"classify-{uuid.uuid4().hex}",
        "object": "list",
        "created": created,
        "model": model,
        "data": data,
        "usage": usage,
    }


def _questions(classifier: LocalClassifier, task: Task | None) -> list[Question]:
    """Return every question that a chat teacher of this task asks."""
    if task is None:
        return []
    known = (tuple(task.schema_.names), task.answers)
    if classifier.names not in known:
        raise BadTask(
            f"the model's classes are {list(classifier.names)} and the task's labels "
            f"{list(task.schema_.names)}; they must be the same, in the same order"
        )
    return every_question(task)


def _asked(questions: Sequence[Question], request: TeacherChatRequest) -> tuple[str, Question]:
    if not questions:
        raise RefusedRequest(400, "this server was started without --task, so it knows no prompt")
    if request.top_logprobs and not request.logprobs:
        raise RefusedRequest(400, "top_logprobs needs logprobs: true", "top_logprobs")
    for question in questions:
        text = match(question.prompt, request.messages)
        if text is not None:
            return text, question
    raise RefusedRequest(
        400, "this is a classifier: it answers the prompt of its task and nothing else", "messages"
    )


def _require_model(asked: str | None, name: str) -> None:
    if asked not in (None, name):
        raise RefusedRequest(
            404, f"The model `{asked}` does not exist; this server has `{name}`.", "model"
        )


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedRequest)
    return _error(error.status, error.message, error.param)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"][1:]) or "body"
    return _error(400, f"{field}: {fault['msg']}", field)


def _error(status: int, message: str, param: str | None) -> JSONResponse:
    kind = "NotFoundError" if status == 404 else "BadRequestError"
    body = {"message": message, "type": kind, "param": param, "code": status}
    return JSONResponse({"error": body}, status_code=status)
