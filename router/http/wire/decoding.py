"""Bodies that come compressed: gzip is decoded within the limit of what it holds, the rest refused.

zstd and br would each need a library of their own for what hardly any client sends.
"""

from __future__ import annotations

import zlib

from router.errors import BadRequest, UnknownEncoding
from router.http.wire.body import too_large

_GZIP = frozenset({b"gzip", b"x-gzip"})
_WITH_HEADER = 31
"""zlib's word for gzip."""
MAX_MEMBERS = 16
"""Parts that one gzip body may have; clients write one."""


def decode_body(body: bytes, encodings: tuple[bytes, ...], limit: int) -> bytes:
    """Return what a body holds.

    Raises:
        UnknownEncoding: it is encoded in a way that is not taken here.
        BodyTooLarge: it holds more than `limit` bytes.
        BadRequest: it is not what its Content-Encoding says.
    """
    if len(encodings) > 1 or encodings[0] not in _GZIP:
        raise UnknownEncoding("A body is taken as it is or in gzip; send it in one of the two.")
    try:
        return _gunzip(body, limit)
    except zlib.error:
        raise BadRequest("Content-Encoding says gzip, and the body is none.") from None


def _gunzip(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    for _ in range(MAX_MEMBERS):
        member = zlib.decompressobj(_WITH_HEADER)
        parts.append(member.decompress(body, left + 1))
        left -= len(parts[-1])
        if left < 0:
            raise too_large(limit)
        if not member.eof:
            raise BadRequest("The gzip body is cut short.")
        body = member.unused_data
        if not body:
            return b"".join(parts)
    raise BadRequest(f"The gzip body has over {MAX_MEMBERS} members.")
