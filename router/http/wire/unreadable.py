"""Why a body cannot be read: its true cause, in words that repeat nothing a stranger made up."""

from __future__ import annotations

import codecs
import re

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HALF_PAIR = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_UNKNOWN = re.compile(r"unknown field `(.*)`", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_WORDS = 200


def cause_of(body: bytes, error: ValueError) -> str:
    """Say in one sentence why `body` is not taken, after a decoder raised `error`."""
    for magic, name in _COMPRESSED.items():
        if body.startswith(magic):
            return f"The body is in {name}, and no Content-Encoding says so."
    if body.startswith(_WIDE) or b"\0" in body[:4]:
        return "The body is in UTF-16 or UTF-32; JSON is sent in UTF-8."
    try:
        body.decode()
    except UnicodeDecodeError as fault:
        return f"The body is not UTF-8: byte {fault.start} is none of it."
    if not body.strip():
        return "The body is empty."
    if "surrogate" in str(error) or ("truncated" in str(error) and _HALF_PAIR.search(body)):
        return "The body has half of a surrogate pair, which is no character."
    return f"The body is not taken: {_UNKNOWN.sub(_plain, str(error))[:_WORDS]}."


def _plain(found: re.Match[str]) -> str:
    """Name an unknown field only if its name is one."""
    return found[0] if _NAME.fullmatch(found[1]) else "unknown field"
