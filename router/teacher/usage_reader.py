"""What an answer says of itself, read while its bytes go by: its tokens, its model, its events.

The bytes themselves are somebody else's to send on. Only a window of them is kept, so that an
answer of any size is read, compressed or not, streamed or whole: a key of JSON cannot occur within
a string (there its quotes are escaped), and the last `usage` of an answer is the one that counts.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator

from costmodel.money.pricing import TokenUsage
from router.teacher.usual_cost import CHARS_PER_TOKEN
from students.teachers.usage import is_told, usage_of

READABLE = "gzip"
"""The one encoding, beside none, that is asked for and read."""
USAGE_BYTES = 16_384
"""A usage object longer than this is not read."""
_CARRIED = 512
"""Bytes looked at again with the next ones: longer than any match of the patterns below."""
_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 2**20
"""Decoded at a time: a small answer that unpacks to a huge one stays small in memory."""
_USAGE = re.compile(rb'"usage"\s{0,16}:\s{0,16}\{')
_MODEL = re.compile(rb'"model"\s{0,16}:\s{0,16}"([^"\\]{1,200})"')
_EVENT = re.compile(rb"[\r\n]data: ?\{")
_Decode = Callable[[bytes], Iterable[bytes]]


class UsageReader:
    """Reads one answer.

    Attributes:
        model: who answered, as the answer says; None when it does not (or not yet).

    Args:
        encoding: the answer's Content-Encoding; of an unknown one only the length is known.
    """

    def __init__(self, encoding: str = "") -> None:
        self.model: str | None = None
        self._decode = _decoder(encoding.strip().lower())
        self._carried = b"\n"  # a stream begins like a line
        self._found: bytes | None = None
        self._events = 0
        self._bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Read what came."""
        try:
            for piece in self._decode(chunk):
                self._read(piece)
        except zlib.error:  # announced as compressed, and it is not: the client will see it, too
            self._decode = _nothing

    @property
    def usage(self) -> TokenUsage | None:
        """The tokens that the answer reports; None when it does not."""
        if self._found is None:
            return None
        try:
            reported, _ = json.JSONDecoder().raw_decode(self._found.decode("utf-8", "replace"))
            usage = usage_of({"usage": reported})
        except (ValueError, RecursionError):
            return None
        return usage if is_told(usage) else None

    def estimate(self, question: bytes) -> TokenUsage:
        """What was consumed where the answer does not say (cut off, or not asked to).

        An event of a stream is a token; elsewhere four bytes are one.
        """
        output = self._events or self._bytes // CHARS_PER_TOKEN
        return TokenUsage(max(1, len(question) // CHARS_PER_TOKEN), output)

    def _read(self, new: bytes) -> None:
        seen, text = len(self._carried), self._carried + new
        self._bytes += len(new)
        self._events += sum(match.end() > seen for match in _EVENT.finditer(text))
        if self.model is None:
            names = [m[1] for m in _keys(_MODEL, text)]
            self.model = names[0].decode("utf-8", "replace") if names else None
        if self._found is not None:
            self._found += new[: USAGE_BYTES - len(self._found)]
        for match in _keys(_USAGE, text):
            self._found = text[match.end() - 1 :][:USAGE_BYTES]
        self._carried = text[-_CARRIED:]


def _keys(pattern: re.Pattern[bytes], text: bytes) -> Iterator[re.Match[bytes]]:
    """Find keys: what looks like one behind a backslash is the end of a longer string."""
    for match in pattern.finditer(text):
        if match.start() and text[match.start() - 1 : match.start()] != b"\\":
            yield match


def _decoder(encoding: str) -> _Decode:
    if encoding in ("", "identity"):
        return lambda chunk: (chunk,)
    return _Gunzip() if encoding in (READABLE, "x-gzip") else _nothing


def _nothing(chunk: bytes) -> Iterable[bytes]:
    return ()


class _Gunzip:
    """Decodes gzip, also several members one after the other."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            yield self._member.decompress(chunk, _PIECE)
            chunk = self._member.unconsumed_tail
            if self._member.eof:
                chunk, self._member = self._member.unused_data, zlib.decompressobj(_GZIP)
