"""Shipped fakes for tests against the router: a clock to turn, a teacher server that breaks."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import msgspec

from router.ledger.entry import Entry
from router.policy import Reason, Route
from router.shared.records import Audit


class ManualClock:
    """A monotonic clock that moves only when told; `sleep` moves it instead of waiting."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the moment, in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let others run, and be `seconds` later."""
        self.now += seconds
        await asyncio.sleep(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop without waiting: as soon as nothing is left to do, it is the next timer's time.

        loop = SimulatedLoop()
        loop.run_until_complete(main())  # time-outs and sleeps read `loop.time`

    Nothing in it may wait for anything but timers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._wait = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def _jump(self, timeout: float | None) -> Any:
        if timeout:
            self._now = self._scheduled[0].when()  # type: ignore[attr-defined]
        return self._wait(0)


def sample_entry(**changes: Any) -> Entry:
    """A kept answer of a student at 12.403 nano-dollars, with the given fields changed."""
    entry = Entry(
        at=1_764_000_000.25,
        request_id="r-1",
        task="urgent",
        bundle="0123456789ab",
        surface="classify",
        route=Route.STUDENT,
        reason=Reason.CONFIDENT,
        label="urgent",
        confidence=0.98,
        student_usd=Decimal("0.000000012403"),
        teacher_usd=Decimal(0),
        input_tokens=0,
        output_tokens=0,
        attempts=0,
        latency_ms=1.25,
        degraded=False,
        audited=False,
        propensity=0.01,
        text_sha256="00" * 32,
    )
    return msgspec.structs.replace(entry, **changes)


def sample_audit(**changes: Any) -> Audit:
    """A kept answer with which the teacher agreed, with the given fields changed."""
    audit = Audit(
        task="urgent",
        bundle="0123456789ab",
        at=1_764_000_000.25,
        request_id="r-1",
        propensity=0.01,
        escalated=False,
        student_label="urgent",
        confidence=0.98,
        teacher_label="urgent",
        disagreed=False,
    )
    return msgspec.structs.replace(audit, **changes)


class Fault(StrEnum):
    """What a `FaultServer` does to a request."""

    NONE = "none"
    HANG = "hang"
    """Reads the request and never answers."""
    HALF_OPEN = "half_open"
    """Accepts the connection and never reads."""
    RESET = "reset"
    """Resets the connection instead of answering."""
    DRIP = "drip"
    """Answers one byte at a time, ten bytes a second."""
    TRUNCATED = "truncated"
    """Announces the whole answer, sends half and closes."""
    CUT = "cut"
    """Breaks a stream off half way; any other answer likewise."""
    ERROR = "error"
    THROTTLE = "throttle"
    THROTTLE_LONG = "throttle_long"
    """429 with Retry-After: 30."""
    REJECT = "reject"
    GARBAGE = "garbage"
    NOT_AN_OBJECT = "not_an_object"
    NAN = "nan"
    """Probabilities that are not numbers."""
    HUGE = "huge"
    """An answer of 20 MB."""
    REDIRECT = "redirect"
    """Sends the caller elsewhere, as a hijacked name would."""


class FaultServer:
    """A teacher over real HTTP on loopback, with a fault that can be changed at any time.

    vLLM's `/classify` (always the class `says`, at first 0) and streamed chat completions of
    `stream_words` words. One word is one token. What was read and not refused is billed, also when
    the answer was lost: `billed_input` and `billed_output` are its invoice. `seen` counts requests
    by the fault they met, `cut_off` those whose caller hung up first, `peak` how many there were at
    once at most; `heads` and `bodies` keep what was received.

        async with FaultServer(["urgent", "not urgent"]) as server:
            server.fault = Fault.HANG
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.fault = Fault.NONE
        self.says = 0
        self.latency_s = 0.0
        self.seen: Counter[Fault] = Counter()
        self.cut_off = 0
        self.inflight = 0
        self.peak = 0
        self.stream_words = 20
        self.stream_pause_s = 0.005
        self.billed_input = 0
        self.billed_output = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Base URL for a task file."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Start to listen on a free port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening and drop every connection, as a dying process does."""
        self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if self.fault is Fault.HALF_OPEN:
                self.seen[Fault.HALF_OPEN] += 1
                await asyncio.Event().wait()
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = await reader.readexactly(_length_in(head))
                self.heads.append(head)
                self.bodies.append(body)
                fault = self.fault
                if fault not in REFUSALS:
                    self.billed_input += _words_in(body)
                self.seen[fault] += 1
                self.inflight += 1
                self.peak = max(self.peak, self.inflight)
                try:
                    if not await self._answer(fault, body, reader, writer):
                        break
                finally:
                    self.inflight -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(
        self,
        fault: Fault,
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Send what the fault calls for; whether the connection goes on."""
        if fault is Fault.HANG or (self.latency_s and fault not in REFUSALS):
            with suppress(TimeoutError):
                async with asyncio.timeout(None if fault is Fault.HANG else self.latency_s):
                    await reader.read(1)  # only a caller that hangs up sends anything now
                    self.cut_off += 1
                    return False
        if fault is Fault.RESET:
            writer.transport.abort()
            return False
        if fault in (Fault.NONE, Fault.CUT) and b'"messages"' in body:
            return await self._stream(body, writer, cut=fault is Fault.CUT)
        status, headers, reply = self._reply(fault, body)
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(reply)}\r\n{headers}\r\n"
        if fault in (Fault.TRUNCATED, Fault.CUT):
            writer.write(head.encode() + reply[: len(reply) // 2])
            await writer.drain()
            return False
        if fault is Fault.DRIP:
            for byte in head.encode() + reply:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)
            return True
        writer.write(head.encode() + reply)
        await writer.drain()
        return True

    def _reply(self, fault: Fault, body: bytes) -> tuple[str, str, bytes]:
        elsewhere = "location: http://127.0.0.1:9/elsewhere\r\n"
        if fault is Fault.HUGE:
            return "200 OK", "", b"[" + b"0," * 10_000_000 + b"0]"
        replies = {
            Fault.ERROR: ("500 Internal Server Error", "", b'{"error": "out of memory"}'),
            Fault.THROTTLE: ("429 Too Many Requests", "", b'{"error": "slow down"}'),
            Fault.THROTTLE_LONG: ("429 Too Many Requests", "retry-after: 30\r\n", b"{}"),
            Fault.REJECT: ("400 Bad Request", "", b'{"error": "no such model"}'),
            Fault.GARBAGE: ("200 OK", "", b"<html>teapot</html>"),
            Fault.NOT_AN_OBJECT: ("200 OK", "", b"[1, 2]"),
            Fault.REDIRECT: ("307 Temporary Redirect", elsewhere, b""),
        }
        return replies.get(fault) or ("200 OK", "", self._classified(fault, body))

    def _classified(self, fault: Fault, body: bytes) -> bytes:
        tokens = _words_in(body)
        rest = 0.1 / (len(self.labels) - 1)
        probs = [rest] * len(self.labels)
        probs[self.says] = 0.9
        if fault is Fault.NAN:
            probs = [float("nan")] * len(self.labels)
        data = [
            {"index": i, "label": self.labels[self.says], "probs": probs, "num_classes": len(probs)}
            for i in range(len(_texts_in(body)))
        ]
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        return json.dumps({"object": "list", "data": data, "usage": usage}).encode()

    async def _stream(self, body: bytes, writer: asyncio.StreamWriter, cut: bool) -> bool:
        """Stream words until the caller hangs up; close, as the length is not known before."""
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
        # Of an announced length the caller can tell that the end is missing.
        writer.write(head + (b"content-length: 1000000\r\n\r\n" if cut else b"\r\n"))
        for i in range(self.stream_words // (2 if cut else 1)):
            await asyncio.sleep(self.stream_pause_s)
            if writer.transport.is_closing():
                self.cut_off += 1
                return False
            delta = {"choices": [{"index": 0, "delta": {"content": f"word{i} "}}]}
            self.billed_output += 1
            writer.write(b"data: " + json.dumps(delta).encode() + b"\n\n")
        if cut:
            await writer.drain()
            return False
        if json.loads(body).get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": _words_in(body), "completion_tokens": self.stream_words}
            last = json.dumps({"choices": [], "usage": usage})
            writer.write(b"data: " + last.encode() + b"\n\n")
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()
        return False


REFUSALS = {Fault.ERROR, Fault.THROTTLE, Fault.THROTTLE_LONG, Fault.REJECT, Fault.REDIRECT}
"""Faults in which the teacher does no work: answered at once, and not billed."""


def _length_in(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def _texts_in(body: bytes) -> list[str]:
    request = json.loads(body)
    if "messages" in request:
        return [message["content"] for message in request["messages"]]
    texts = request["input"]
    return [texts] if isinstance(texts, str) else texts


def _words_in(body: bytes) -> int:
    return sum(len(text.split()) for text in _texts_in(body))
