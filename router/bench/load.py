"""A lean HTTP load generator: closed loop to find the knee, open loop to judge latency.

One process, one event loop, an `asyncio.Protocol` per connection, no HTTP library: it must cost
less than the server it measures. Latency in the open loop counts from the scheduled instant, so a
server that stalls cannot slow the clock that judges it.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import cycle
from time import perf_counter
from typing import cast

import numpy as np
import numpy.typing as npt


class Way(StrEnum):
    """How a client brings its requests; each is the way of many."""

    WHOLE = "whole"
    """Head and body in one write: aiohttp, curl, geventhttpclient."""
    APART = "apart"
    """The body in a write of its own: openai, httpx, requests, urllib, Java, Go, node."""
    FRESH = "fresh"
    """A connection for each request, as without a session or a pool."""


_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass
class BenchCounts:
    """What came back in one run. `statuses` counts 0 for a connection that broke."""

    seconds: float = 0.0
    scheduled: int = 0
    unsent: int = 0
    """Arrivals that found no free connection in time: their clients gave up."""
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    """Seconds, of the 200s."""
    refusals: list[float] = field(default_factory=list)
    """Seconds, of everything else that was answered."""

    @property
    def rps(self) -> float:
        """200s a second."""
        return self.statuses[200] / self.seconds

    def goodput(self, within_s: float) -> float:
        """200s a second that came within `within_s` of their scheduled instant."""
        return float(np.count_nonzero(np.asarray(self.latencies) <= within_s)) / self.seconds

    def quantile_ms(self, q: float) -> float:
        """Latency quantile of the 200s in milliseconds."""
        return float(np.quantile(self.latencies, q)) * 1000 if self.latencies else float("nan")

    def refusal_quantile_ms(self, q: float) -> float:
        """Latency quantile of the refusals in milliseconds."""
        return float(np.quantile(self.refusals, q)) * 1000 if self.refusals else float("nan")


def http_requests(path: str, bodies: Sequence[bytes]) -> list[bytes]:
    """Lay out whole POST requests."""
    head = (
        "POST {} HTTP/1.1\r\nhost: router\r\ncontent-type: application/json\r\n"
        "authorization: Bearer none\r\ncontent-length: {}\r\n\r\n"
    )
    return [head.format(path, len(body)).encode() + body for body in bodies]


async def closed_loop(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    way: Way = Way.WHOLE,
) -> BenchCounts:
    """Keep so many clients busy for so long."""
    if way is Way.FRESH:
        return await _afresh(port, requests, clients=connections, seconds=seconds)
    tally, supply = BenchCounts(), cycle(requests)
    end = perf_counter() + seconds
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    open_ = 0

    def next_request(connection: _Connection) -> None:
        nonlocal open_
        if perf_counter() < end and not connection.broken:
            connection.send(next(supply), perf_counter())
            return
        open_ -= 1
        if not open_ and not finished.done():
            finished.set_result(None)

    started = perf_counter()
    pool = [await _connect(port, tally, next_request, way) for _ in range(connections)]
    open_ = len(pool)
    for connection in pool:
        next_request(connection)
    await asyncio.wait([finished], timeout=seconds + 10)
    tally.seconds = perf_counter() - started
    _close(pool)
    return tally


async def _afresh(
    port: int, requests: Sequence[bytes], *, clients: int, seconds: float
) -> BenchCounts:
    """Let each client connect, ask once, be answered and begin again."""
    tally = BenchCounts()
    supply = cycle([r.replace(_END, b"\r\nconnection: close\r\n\r\n", 1) for r in requests])
    started = perf_counter()
    end = started + seconds

    async def ask() -> None:
        while (at := perf_counter()) < end:
            answered = asyncio.Event()
            try:
                connection = await _connect(port, tally, partial(_set, answered))
            except OSError:
                tally.statuses[0] += 1
                continue
            connection.send(next(supply), at)
            await answered.wait()
            connection.transport.close()

    await asyncio.gather(*(ask() for _ in range(clients)))
    tally.seconds = perf_counter() - started
    return tally


def _set(event: asyncio.Event, connection: _Connection) -> None:
    event.set()


async def open_loop(
    port: int,
    requests: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    connections: int,
    seed: int = 0,
    patience_s: float = 1.0,
) -> BenchCounts:
    """Send on a Poisson schedule of `rate` a second, whatever comes back.

    An arrival that finds no free connection within `patience_s` is never sent: it must not make
    those after it late.
    """
    gc.collect()
    gc.freeze()  # what a pause of this process adds would be taken for the server's
    tally, supply = BenchCounts(), cycle(requests)
    arrivals = _schedule(rate, seconds, seed)
    free: deque[_Connection] = deque()
    late: deque[float] = deque()

    def on_free(connection: _Connection) -> None:
        if connection.broken:
            return
        oldest = perf_counter() - patience_s
        while late and late[0] < oldest:
            late.popleft()
            tally.unsent += 1
        if late:
            connection.send(next(supply), late.popleft())
        else:
            free.append(connection)

    pool = [await _connect(port, tally, on_free) for _ in range(connections)]
    free.extend(pool)
    start = perf_counter()
    due = deque((arrivals + start).tolist())
    while due:
        now = perf_counter()
        while due and due[0] <= now:
            at = due.popleft()
            tally.scheduled += 1
            if free:
                free.pop().send(next(supply), at)
            else:
                late.append(at)
        await asyncio.sleep(max(0.0, min(0.001, due[0] - perf_counter())) if due else 0)
    grace = perf_counter() + 1.0
    while (late or any(c.busy for c in pool)) and perf_counter() < grace:
        await asyncio.sleep(0.01)
    tally.seconds = seconds
    tally.unsent += len(late)
    _close(pool)
    return tally


def _schedule(rate: float, seconds: float, seed: int) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1.0 / rate, int(rate * seconds * 1.2) + 100)
    arrivals = np.cumsum(gaps)
    return arrivals[arrivals < seconds]


class _Connection(asyncio.Protocol):
    """One connection with at most one request on the way."""

    def __init__(
        self, tally: BenchCounts, on_free: Callable[[_Connection], None], way: Way
    ) -> None:
        self._tally = tally
        self._apart = way is Way.APART
        self._loop = asyncio.get_running_loop()
        self._on_free = on_free
        self._buffer = b""
        self._at = 0.0
        self.busy = False
        self.broken = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def send(self, request: bytes, at: float) -> None:
        self._at, self.busy = at, True
        if not self._apart:
            self.transport.write(request)
            return
        body = request.index(_END) + len(_END)
        self.transport.write(request[:body])
        # Two ticks later: what was written is on its way, and the server may have read it.
        self._loop.call_soon(self._loop.call_soon, self.transport.write, request[body:])

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        head = buffer.find(_END)
        if head < 0:
            return
        start = buffer.find(_LENGTH, 0, head)
        if start < 0:
            self._finish(0)
            return
        stop = buffer.find(b"\r\n", start)
        if len(buffer) - head - 4 < int(buffer[start + len(_LENGTH) : stop]):
            return
        self._finish(int(buffer[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = True
        if self.busy:
            self._finish(0)

    def _finish(self, status: int) -> None:
        self._buffer, self.busy = b"", False
        self._tally.statuses[status] += 1
        if status:
            kept = self._tally.latencies if status == 200 else self._tally.refusals
            kept.append(perf_counter() - self._at)
        self._on_free(self)


async def _connect(
    port: int,
    tally: BenchCounts,
    on_free: Callable[[_Connection], None],
    way: Way = Way.WHOLE,
) -> _Connection:
    _, protocol = await asyncio.get_running_loop().create_connection(
        lambda: _Connection(tally, on_free, way), "127.0.0.1", port
    )
    return protocol


def _close(pool: Sequence[_Connection]) -> None:
    for connection in pool:
        connection.busy = False
        connection.transport.abort()
