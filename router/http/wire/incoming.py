"""The bytes of one connection, cut into requests: no sockets, no clocks.

However the bytes are split over reads, the same requests come of them.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable

import msgspec

from router.http.wire.body import Body, Chunked, Sized, too_large
from router.http.wire.decoding import decode_body
from router.http.wire.head import MAX_HEAD_BYTES, Head, Heads, malformed, too_long

_NEVER = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r[^\n]")
"""What no head may hold: found before its end, which may never come."""

_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")


class Request(msgspec.Struct, gc=False):
    """One whole request; its body is decoded, and without a byte order mark."""

    head: Head
    body: bytes
    waited_s: float = 0.0
    """From its first byte to its last."""


class Incoming:
    """Cuts what comes into requests, one at a time.

    Args:
        limit: bytes a body may have.
        limit_of: the same for a path, where it may have more on some.

    Attributes:
        head: of the request whose body is being read.
        unread: what is held, or a head that is not whole.
    """

    def __init__(
        self, heads: Heads, limit: int, limit_of: Callable[[str], int] | None = None
    ) -> None:
        self._heads = heads
        self._least = self._limit = limit
        self._limit_of = limit_of
        self.unread = b""
        self._searched = 0
        """Where the end of a head may begin, at the earliest."""
        self._body: Body | None = None
        self.head: Head | None = None

    def hold(self, data: bytes) -> None:
        """Keep bytes for later."""
        self.unread += data

    def feed(self, data: bytes) -> Request | None:
        """Take bytes; return the next request once it is whole. What follows it is held.

        Raises:
            Refusal: this cannot become a request, and nothing that follows may be read as one.
        """
        if self._body is not None:
            return self._read_body(data)
        if self.unread:
            data, self.unread = self.unread + data, b""
        if data.startswith(b"\r\n"):  # empty lines before a request
            data, self._searched = _EMPTY_LINES.sub(b"", data, 1), 0
        end = data.find(b"\r\n\r\n", self._searched) + 4
        if end == 3:
            if _NEVER.search(data, self._searched):
                raise malformed()
            if len(data) > MAX_HEAD_BYTES:
                raise too_long()
            self.unread, self._searched = data, max(0, len(data) - 3)
            return None
        self._searched = 0
        head = self._heads.read(data[:end])
        if len(data) - end == head.length <= self._least and not head.encodings:
            return Request(head, data[end:].removeprefix(BOM_UTF8))
        self.head = head
        if self._limit_of is not None:
            self._limit = self._limit_of(head.path)
        if head.length > self._limit:
            raise too_large(self._limit)
        self._body = Chunked(self._limit) if head.length < 0 else Sized(head.length)
        return self._read_body(data[end:])

    def _read_body(self, data: bytes) -> Request | None:
        assert self._body is not None, "there is a head"
        assert self.head is not None, "there is a head"
        rest = self._body.feed(data)
        if rest is None:
            return None
        body, self._body, self.unread = self._body.whole, None, rest
        if self.head.encodings and body:
            body = decode_body(body, self.head.encodings, self._limit)
        request = Request(self.head, body.removeprefix(BOM_UTF8))
        self.head = None
        return request
