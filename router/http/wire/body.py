"""The body of a request, collected until it is whole, by its length or in chunks (RFC 9112 6, 7).

Its limit is on what it holds; what stands around chunks has limits of its own.
"""

from __future__ import annotations

import re
from typing import Protocol

from router.errors import BodyTooLarge
from router.http.wire.head import FIELD_LINES, malformed

MAX_LINE_BYTES = 256
"""Of a chunk's size and its extensions, which are ignored."""
MAX_TRAILER_BYTES = 8_192
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?[ \t]*\r\n")


class Body(Protocol):
    """A body on its way."""

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; None while it is not whole, else what follows it.

        Raises:
            BodyTooLarge, BadRequest.
        """
        ...

    @property
    def whole(self) -> bytes:
        """What it holds."""
        ...


class Sized:
    """A body of a known length."""

    def __init__(self, length: int) -> None:
        self._missing = length
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes."""
        part = data[: self._missing]
        self._parts.append(part)
        self._missing -= len(part)
        return None if self._missing else data[len(part) :]

    @property
    def whole(self) -> bytes:
        """What it holds."""
        return b"".join(self._parts)


class Chunked:
    """A body in chunks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._raw = bytearray()
        self._body = bytearray()
        self._missing = 0
        """Bytes of the chunk that is being read, its line end included."""
        self._last = False

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes."""
        self._raw += data
        while not self._last:
            if not (self._read_chunk() if self._missing else self._read_size()):
                return None
        return self._read_trailers()

    @property
    def whole(self) -> bytes:
        """What it holds."""
        return bytes(self._body)

    def _read_size(self) -> bool:
        """Read the line before a chunk; False while it is not there."""
        end = self._raw.find(b"\n", 0, MAX_LINE_BYTES) + 1
        if not end:
            if len(self._raw) >= MAX_LINE_BYTES:
                raise malformed()
            return False
        line = _SIZE_LINE.fullmatch(bytes(self._raw[:end]))
        if line is None:
            raise malformed()
        size = int(line[1], 16)
        del self._raw[:end]
        if len(self._body) + size > self._limit:
            raise too_large(self._limit)
        self._missing = size + 2 if size else 0
        self._last = not size
        return True

    def _read_chunk(self) -> bool:
        """Read what is there of a chunk; False while it is not whole."""
        part = self._raw[: self._missing - 2]
        self._body += part
        self._missing -= len(part)
        del self._raw[: len(part)]
        if self._missing > 2 or len(self._raw) < 2:
            return False
        if self._raw[:2] != b"\r\n":
            raise malformed()
        del self._raw[:2]
        self._missing = 0
        return True

    def _read_trailers(self) -> bytes | None:
        """Check and drop what stands behind the last chunk; return what follows the message."""
        end = 2 if self._raw.startswith(b"\r\n") else self._raw.find(b"\r\n\r\n") + 4
        if end == 3 and len(self._raw) <= MAX_TRAILER_BYTES:
            return None
        if not 2 <= end <= MAX_TRAILER_BYTES or not FIELD_LINES.fullmatch(self._raw[:end]):
            raise malformed()
        return bytes(self._raw[end:])


def too_large(limit: int) -> BodyTooLarge:
    """Return the refusal of a body over its limit."""
    return BodyTooLarge(f"The body is over {limit:,} bytes; send less, or raise the limit.")
