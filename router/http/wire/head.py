"""The head of a request, read strictly by the grammar of RFC 9112: what is not in it is refused.

Where a message ends is said by its head and nowhere else. An offer to upgrade is an offer: this
server takes none, so it reads the message as if the header were not there (RFC 9110 7.8).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import msgspec

from router.errors import (
    BadRequest,
    HeadTooLarge,
    Refusal,
    UnknownCoding,
    UnknownVersion,
)
from router.keys.ring import SECRET_HEADERS

MAX_HEAD_BYTES = 65_536
MAX_REMEMBERED_BYTES = 4_096
MAX_REMEMBERED = 1_024
"""Heads remembered; clients send the same one over and over, but for its content-length."""
Pairs = tuple[tuple[bytes, bytes], ...]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(b"(" + _TOKEN + rb") ([\x21\x22\x24-\x7e]+) HTTP/(\d)\.(\d)\r\n")
FIELD_LINES = re.compile(b"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
"""Header or trailer lines and the empty line after them: no folding, no lonely CR or LF."""
_AUTHORITY = re.compile(rb"https?://[^/?]+", re.IGNORECASE)
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+\])(?::\d*)?")
_LENGTH = re.compile(rb"\d{1,18}")


class Head(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What a head says."""

    method: str
    path: str
    """Decoded; of an absolute target the part after the authority."""
    raw_path: bytes
    query: bytes
    version: str
    pairs: Pairs
    """Every header line, names in lower case, but for Content-Encoding: bodies are decoded here."""
    headers: dict[bytes, bytes]
    """The last of repeated names, without the secret ones."""
    secrets: Pairs
    """The header lines where a key may be."""
    length: int
    """Bytes of the body; -1 where it comes in chunks."""
    encodings: tuple[bytes, ...]
    """What the body has to be decoded from."""
    keeps_alive: bool
    """Whether the client asks for more after this."""
    waits: bool
    """Whether the client waits for a 100 before it sends the body."""


class Heads:
    """Reads heads and remembers them."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, raw: bytes) -> Head:
        """Return what a head says; `raw` ends with its empty line.

        Raises:
            Refusal: what it says cannot be a request that this server takes.
        """
        try:
            return self._known[raw]
        except KeyError:
            head = read_head(raw)
        if len(raw) <= MAX_REMEMBERED_BYTES:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[raw] = head
        return head


def read_head(raw: bytes) -> Head:
    """Read a head.

    Raises:
        HeadTooLarge, UnknownVersion, UnknownCoding, BadRequest.
    """
    if len(raw) > MAX_HEAD_BYTES:
        raise too_long()
    line = _REQUEST_LINE.match(raw)
    if line is None or not FIELD_LINES.fullmatch(raw, line.end()):
        raise malformed()
    method, target, major, minor = line.groups()
    if major != b"1":
        raise UnknownVersion("This server speaks HTTP 1.1 and 1.0.")
    pairs = tuple(map(_pair, raw[line.end() : -4].split(b"\r\n"))) if raw[line.end() : -2] else ()
    encodings = tuple(c for c in _tokens(pairs, b"content-encoding") if c not in (b"identity", b""))
    pairs = tuple(pair for pair in pairs if pair[0] != b"content-encoding")
    modern = minor != b"0"
    _check_host([value for name, value in pairs if name == b"host"], modern)
    raw_path, _, query = _origin_form(target, method).partition(b"?")
    connection = _tokens(pairs, b"connection")
    return Head(
        method=method.decode(),
        path=unquote(raw_path.decode()),
        raw_path=raw_path,
        query=query,
        version="1.1" if modern else "1.0",
        pairs=pairs,
        headers={name: value for name, value in pairs if name not in SECRET_HEADERS},
        secrets=tuple(pair for pair in pairs if pair[0] in SECRET_HEADERS),
        length=_length(pairs, modern),
        encodings=encodings,
        keeps_alive=modern and b"close" not in connection,
        waits=modern and b"100-continue" in _tokens(pairs, b"expect"),
    )


def malformed() -> Refusal:
    """Return the refusal of bytes that are no request."""
    return BadRequest("This is not an HTTP request; RFC 9112 says what is.")


def too_long() -> Refusal:
    """Return the refusal of a head without end."""
    return HeadTooLarge(f"The request head is over {MAX_HEAD_BYTES:,} bytes; send fewer headers.")


def _pair(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def _tokens(pairs: Pairs, name: bytes) -> list[bytes]:
    """Return the members of a list header, in lower case, over all its lines."""
    lines = [value for known, value in pairs if known == name]
    return [token.strip().lower() for line in lines for token in line.split(b",")]


def _check_host(hosts: list[bytes], modern: bool) -> None:
    if len(hosts) > 1 or (modern and not hosts):
        raise BadRequest(f"A request has one Host header; this one has {len(hosts)}.")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadRequest("The Host header is not a host with an optional port.")


def _origin_form(target: bytes, method: bytes) -> bytes:
    """Return path and query of a request target."""
    if authority := _AUTHORITY.match(target):
        rest = target[authority.end() :]
        target = rest if rest.startswith(b"/") else b"/" + rest
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    raise BadRequest("The request target is not a path; this server is no proxy.")


def _length(pairs: Pairs, modern: bool) -> int:
    lengths = [value for name, value in pairs if name == b"content-length"]
    codings = _tokens(pairs, b"transfer-encoding")
    if codings:
        if lengths or not modern:
            raise BadRequest(
                "A body is either in chunks, which HTTP 1.0 has not, or of a Content-Length."
            )
        if codings.count(b"chunked") > 1:
            raise BadRequest("A body is chunked once.")
        if codings != [b"chunked"]:
            raise UnknownCoding("The only Transfer-Encoding this server knows is chunked.")
        return -1
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadRequest("A request has one Content-Length, a whole number of bytes.")
    return int(lengths[0])
