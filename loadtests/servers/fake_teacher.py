r"""A teacher that can be told what to be: real HTTP, vLLM's `/classify` and OpenAI's chat.

    raisehand fake-teacher --port 8001 --label urgent --label not_urgent \
        --references answers.csv --set latency_ms=120 --set latency_sigma=0.5

OpenAI's Batch API (`/v1/files`, `/v1/batches`) answers the same questions from files.
`POST /control/knobs` changes knobs while it runs, `GET /control/served` says what it served and
billed, so that ledgers can be reconciled with it to the token, `POST /control/reset` starts
counters, clock, randomness and memory anew. A question under an `Idempotency-Key` that it remembers
is answered as before and not billed; 409 while it is still answering it, 400 if it is another one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import msgspec
from pydantic import ValidationError

from costmodel.faults import every_fault
from loadtests.servers.answers import probabilities_of, tokens_of
from loadtests.servers.asgi import (
    JSON,
    Header,
    Receive,
    Scope,
    Send,
    cut,
    is_gone,
    read_body,
    reply,
)
from loadtests.servers.fake_batches import FakeBatches
from loadtests.servers.fake_stream import stream
from loadtests.servers.kept_replies import REPLAYED, KeptReplies, KeptReply, key_of
from loadtests.servers.knobs import Knobs

EVENT_STREAM: Header = (b"content-type", b"text/event-stream")
TOKENS_PER_MESSAGE = 4
OTHER_MASS = 0.01
"""Chat: probability that goes to anything but the labels, as with a real model."""


class FakeTeacher:
    """An ASGI app. `references` maps texts to the label that it should answer."""

    def __init__(
        self,
        knobs: Knobs,
        references: Mapping[str, str] | None = None,
        *,
        model: str = "fake-teacher",
        api_key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.knobs = knobs
        self.served: Counter[str] = Counter()
        self._references = references or {}
        self._model = model
        self._api_key = api_key
        self._clock = clock
        self._began = self._filled = clock()
        self._tokens = 0.0
        self._kept = KeptReplies()
        self.batches = FakeBatches(self._line_answer, clock)
        self._reset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await read_body(receive)
        path, method = scope["path"], scope["method"]
        if path.startswith("/control/"):
            await self._control(path, method, body, send)
        elif path == "/health":
            await reply(send, 200, b"{}")
        elif not self._authorised(scope):
            await _error(send, 401, "invalid API key")
        elif path == "/v1/models":
            models = {"object": "list", "data": [{"id": self._model, "object": "model"}]}
            await reply(send, 200, msgspec.json.encode(models))
        elif path.startswith(("/v1/files", "/v1/batches")):
            status, content, kind = self.batches.answer(
                method, path, body, dict(scope["headers"]), self.knobs
            )
            await reply(send, status, content, ((b"content-type", kind),))
        elif path == "/tokenize" and method == "POST":
            await self._tokenize(body, send)
        elif path in ("/classify", "/v1/chat/completions") and method == "POST":
            await self._teach(scope, body, receive, send)
        else:
            await _error(send, 404, f"no {method} {path}")

    async def _teach(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.served["requests"] += 1
        if await self._misbehave(receive, send):
            return
        key = key_of(scope) if self.knobs.keys_kept else b""
        new, kept = self._kept.begin(key, path, body, self.knobs.keys_kept)
        if kept is None:
            await _error(send, 400, "this idempotency key came with another request")
        elif new:
            try:
                await self._answer(path, body, receive, send, kept)
            finally:
                if kept.content is None:
                    self._kept.forget(key)
        elif kept.content is None:
            await _error(send, 409, "a request with this idempotency key is being answered")
        else:
            self.served["replayed"] += 1
            await reply(send, 200, kept.content, (kept.kind, REPLAYED))

    async def _answer(
        self, path: str, body: bytes, receive: Receive, send: Send, kept: KeptReply
    ) -> None:
        try:
            question = msgspec.json.decode(body)
            answer, usage, stream = (
                self._classify(question) if path == "/classify" else self._chat(question)
            )
        except (msgspec.DecodeError, KeyError, TypeError, IndexError, AttributeError) as error:
            self.served["rejected_400"] += 1
            await _error(send, 400, f"not a request of {path}: {error}")
            return
        await self._think()
        kind = EVENT_STREAM if stream else JSON
        if await is_gone(receive):
            kept.keep(answer, kind)
            # A provider bills what it generated, whether or not anyone still listened.
            usage = {f"abandoned_{name}": count for name, count in usage.items()}
            self.served["abandoned"] += 1
            self.served.update(usage)
            return
        if self._drawn(self.knobs.garbage_rate):
            self.served["garbage"] += 1
            await reply(send, 200, b"<html>teapot</html>")
            return
        if self._drawn(self.knobs.truncated_rate):
            self.served["truncated"] += 1
            await cut(send, answer)
            return
        self.served["answered"] += 1
        self.served.update(usage)
        kept.keep(answer, kind)
        await reply(send, 200, answer, (kind,))

    async def _misbehave(self, receive: Receive, send: Send) -> bool:
        """Fail in the way that the knobs ask for now; return whether it did."""
        knobs, now = self.knobs, self._clock() - self._began
        if any(start <= now < end for start, end in knobs.outages):
            self.served[f"outage_{knobs.outage_kind}"] += 1
            if knobs.outage_kind == "hang":
                await receive()
            elif knobs.outage_kind == "reset":
                await cut(send, b"")
            else:
                await _error(send, 503, "the teacher is out")
            return True
        throttled = any(start <= now < end for start, end in knobs.throttle_windows)
        if throttled or self._drawn(knobs.throttle_rate) or self._above_limit():
            self.served["throttled"] += 1
            await _error(send, 429, "rate limit reached", ((b"retry-after", b"1"),))
            return True
        if self._drawn(knobs.error_rate):
            self.served["errors"] += 1
            await _error(send, 500, "internal error")
            return True
        return False

    def _classify(self, question: dict[str, Any]) -> tuple[bytes, dict[str, int], bool]:
        given = question["input"]
        texts = [given] if isinstance(given, str) else list(given)
        data = []
        for index, text in enumerate(texts):
            probabilities = self._ponder(text)
            data.append(
                {
                    "index": index,
                    "label": self._best(probabilities),
                    "probs": probabilities,
                    "num_classes": len(probabilities),
                }
            )
        tokens = sum(map(tokens_of, texts))
        reply_body = {
            "id": f"classify-{self.served['requests']}",
            "object": "list",
            "created": int(time.time()),
            "model": self._model,
            "data": data,
            "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
        }
        return msgspec.json.encode(reply_body), self._bill(data, tokens, 0), False

    def _chat(self, question: dict[str, Any]) -> tuple[bytes, dict[str, int], bool]:
        messages = question["messages"]
        probabilities = self._ponder(self._text_in(messages[-1]["content"]))
        word = self._best(probabilities)
        tokens = sum(tokens_of(m["content"]) + TOKENS_PER_MESSAGE for m in messages)
        usage = {
            "prompt_tokens": tokens,
            "completion_tokens": 1,
            "total_tokens": tokens + 1,
        }
        logprobs = None
        if question.get("logprobs"):
            listed = self._listed(probabilities, int(question.get("top_logprobs") or 0))
            top = [{"token": t, "logprob": lp, "bytes": list(t.encode())} for t, lp in listed]
            chosen = math.log(max(probabilities) * (1 - OTHER_MASS))
            logprobs = {
                "content": [
                    {
                        "token": word,
                        "logprob": chosen,
                        "bytes": list(word.encode()),
                        "top_logprobs": top,
                    }
                ]
            }
        head = {
            "id": f"chatcmpl-{self.served['requests']}",
            "created": int(time.time()),
            "model": self._model,
        }
        billed = self._bill([{"label": word}], tokens, 1)
        if question.get("stream"):
            with_usage = (question.get("stream_options") or {}).get("include_usage", False)
            return stream(head, word, logprobs, usage if with_usage else None), billed, True
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": word},
            "logprobs": logprobs,
            "finish_reason": "stop",
        }
        whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return msgspec.json.encode(whole), billed, False

    def _line_answer(self, question: dict[str, Any]) -> bytes:
        """Answer a line of a batch, and bill it."""
        answer, usage, _ = self._chat(question)
        self.served.update(usage)
        self.served["batch_lines"] += 1
        return answer

    def _ponder(self, text: str) -> list[float]:
        return probabilities_of(text, self.knobs, self._references, self._rng)

    def _best(self, probabilities: list[float]) -> str:
        return self.knobs.labels[max(range(len(probabilities)), key=probabilities.__getitem__)]

    def _listed(self, probabilities: list[float], k: int) -> list[tuple[str, float]]:
        tokens = [
            *zip(self.knobs.labels, (p * (1 - OTHER_MASS) for p in probabilities), strict=True),
            ("Well", OTHER_MASS),
        ]
        tokens.sort(key=lambda token: -token[1])
        return [(token, math.log(max(p, 1e-30))) for token, p in tokens[:k]]

    def _text_in(self, content: str) -> str:
        before, after = self.knobs.user.split("{text}")
        if content.startswith(before) and content.endswith(after):
            return content[len(before) : len(content) - len(after)]
        return content

    def _bill(
        self, data: list[dict[str, Any]], input_tokens: int, output_tokens: int
    ) -> dict[str, int]:
        billed = Counter(f"label_{row['label']}" for row in data)
        billed.update(texts=len(data), input_tokens=input_tokens, output_tokens=output_tokens)
        return billed

    async def _think(self) -> None:
        knobs = self.knobs
        if knobs.latency_ms:
            seconds = knobs.latency_ms / 1000
            if knobs.latency_sigma:
                seconds *= math.exp(knobs.latency_sigma * self._rng.gauss(0.0, 1.0))
            await asyncio.sleep(seconds)

    def _drawn(self, rate: float) -> bool:
        return rate > 0 and self._rng.random() < rate

    def _above_limit(self) -> bool:
        limit = self.knobs.rate_limit_rps
        if limit is None:
            return False
        now = self._clock()
        room = max(1.0, limit)
        self._tokens = min(room, self._tokens + (now - self._filled) * limit)
        self._filled = now
        if self._tokens < 1.0:
            return True
        self._tokens -= 1.0
        return False

    def _authorised(self, scope: Scope) -> bool:
        if self._api_key is None:
            return True
        wanted = f"Bearer {self._api_key}".encode()
        return any(name == b"authorization" and value == wanted for name, value in scope["headers"])

    async def _tokenize(self, body: bytes, send: Send) -> None:
        words = str(msgspec.json.decode(body).get("prompt", "")).split()
        ids = [sum(word.encode()) * 131 + len(word) for word in words]
        answer = {"count": len(ids), "tokens": ids, "token_strs": words}
        await reply(send, 200, msgspec.json.encode(answer))

    async def _control(self, path: str, method: str, body: bytes, send: Send) -> None:
        if (method, path) == ("GET", "/control/served"):
            await reply(send, 200, msgspec.json.encode(dict(self.served)))
        elif (method, path) == ("GET", "/control/knobs"):
            await reply(send, 200, self.knobs.model_dump_json().encode())
        elif (method, path) == ("POST", "/control/reset"):
            self._reset()
            await reply(send, 200, b"{}")
        elif (method, path) == ("POST", "/control/knobs"):
            try:
                changes = msgspec.json.decode(body, type=dict[str, Any])
                self.knobs = Knobs.model_validate({**self.knobs.model_dump(), **changes})
            except ValidationError as error:
                await _error(send, 422, every_fault(error))
            except msgspec.MsgspecError as error:
                await _error(send, 400, f"not a JSON object: {error}")
            else:
                await reply(send, 200, self.knobs.model_dump_json().encode())
        else:
            await _error(send, 404, f"no {method} {path}")

    def _reset(self) -> None:
        self.served.clear()
        self._kept.clear()
        self._began = self._filled = self._clock()
        self._tokens = self.knobs.rate_limit_rps or 0.0
        self._rng = Random(self.knobs.seed)


async def _error(send: Send, status: int, words: str, headers: tuple[Header, ...] = ()) -> None:
    body = {"error": {"message": words, "type": "fake_teacher", "code": status}}
    await reply(send, status, msgspec.json.encode(body), (JSON, *headers))
