"""Which headers go on to a teacher and which come back: all but those of one hop and one place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from router.teacher.usage_reader import READABLE

Field = tuple[bytes, bytes]
TEACHER_REQUEST_ID = b"x-raisehand-teacher-request-id"
"""The id that the teacher gave the request; `x-request-id` is the router's."""
_OWN = b"x-raisehand-"
"""Said by a router to its client, or to a router by its client: never said on."""
_NEVER = re.compile(rb"q=0(\.0*)?")
_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_THERE = _HOP | {b"host", b"content-length", b"expect", b"cookie", b"accept-encoding"}
_BACK = _HOP | {
    b"set-cookie", b"date", b"location", b"alt-svc", b"strict-transport-security",
    b"nel", b"report-to",
}  # fmt: skip
"""The last five say where else to ask, or what holds for the teacher's own address."""


def headers_there(
    headers: Mapping[bytes, bytes],
    request_id: str,
    key: Mapping[str, str],
    *,
    streams: bool,
    fixed: Mapping[str, str] = MappingProxyType({}),
) -> list[tuple[str, str]]:
    """Return what goes on to the teacher.

    The router's own key, where it has one, replaces the client's, and so do the headers that are
    `fixed` for this teacher. Of the encodings that the client
    takes only one that can be read is asked for, and none for a stream, to which its cost is added.
    """
    left_out = _THERE | _named(headers.get(b"connection", b"")) | {b"x-request-id"}
    if key:
        left_out |= {b"authorization", b"api-key", b"x-api-key"}
    own = {**fixed, **key}
    left_out |= {name.lower().encode() for name in own}
    there = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers.items()
        if name not in left_out and not name.startswith(_OWN)
    ]
    takes = not streams and _takes(headers.get(b"accept-encoding", b""), READABLE.encode())
    encoding = READABLE if takes else "identity"
    return [*there, ("x-request-id", request_id), ("accept-encoding", encoding), *own.items()]


def headers_back(raw: Iterable[Field]) -> list[Field]:
    """Return what comes back from the teacher, its request id under another name."""
    fields = [(name.lower(), value) for name, value in raw]
    left_out = _BACK | _named(b",".join(value for name, value in fields if name == b"connection"))
    return [
        (TEACHER_REQUEST_ID if name == b"x-request-id" else name, value)
        for name, value in fields
        if name not in left_out and not name.startswith(_OWN)
    ]


def _named(connection: bytes) -> frozenset[bytes]:
    """The headers that a Connection header calls those of one hop."""
    return frozenset(name.strip().lower() for name in connection.split(b",") if name.strip())


def _takes(accept_encoding: bytes, encoding: bytes) -> bool:
    for offer in accept_encoding.lower().split(b","):
        name, _, weight = offer.partition(b";")
        if name.strip() == encoding:
            return _NEVER.fullmatch(weight.strip()) is None
    return False
