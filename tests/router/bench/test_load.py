"""The load generator's clients bring what they say, in the reads they say."""

import asyncio

import pytest

from router.bench.load import Way, closed_loop, http_requests

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class _Server(asyncio.Protocol):
    """Answers each request once its body is there, and notes every read."""

    def __init__(self, seen):
        self._seen = seen
        self._buffer = b""

    def connection_made(self, transport):
        """A client came."""
        self._transport = transport
        self._reads = []
        self._seen.append(self._reads)

    def data_received(self, data):
        """It sent something."""
        self._reads.append(data)
        self._buffer += data
        if self._buffer.endswith(b"}"):
            self._transport.write(ANSWER)
            if b"connection: close" in self._buffer:
                self._transport.close()
            self._buffer = b""


@pytest.mark.parametrize("way", Way)
async def test_each_client_asks_in_its_own_way(way):
    """Whole: one read a request; apart: two; fresh: a connection for each, which ends."""
    seen, loop = [], asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Server(seen), "127.0.0.1", 0)
    requests = http_requests("/v1/classify", [b'{"text": "help"}'])
    port = server.sockets[0].getsockname()[1]
    tally = await closed_loop(port, requests, connections=2, seconds=0.3, way=way)
    server.close()
    answered = tally.statuses[200]
    assert set(tally.statuses) == {200}
    assert len(tally.latencies) == answered > 4
    reads = [read for connection in seen for read in connection]
    assert len(reads) == answered * (2 if way is Way.APART else 1)
    assert len(seen) == (answered if way is Way.FRESH else 2)
    if way is Way.APART:
        assert all(head.endswith(b"\r\n\r\n") for head in reads[::2] if head[:4] == b"POST")
