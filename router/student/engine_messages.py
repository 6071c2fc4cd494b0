"""What a worker and the engine say to each other: length-prefixed msgpack over a Unix socket.

    worker                          engine
    Open(bundle)              →
                              ←     Opened(tokens), or Refused(words)
    Ask(texts)                →
                              ←     Told(labels, confidences, probabilities), or Failed(fault)

A connection is about one bundle and has one question on the way at most.
"""

from __future__ import annotations

import struct

import msgspec

_LENGTH = struct.Struct("!I")
HEADER = _LENGTH.size
MAX_FRAME = 1 << 28
"""Bytes; a longer message is no message of ours."""


class Open(msgspec.Struct, frozen=True, tag=True):
    """Load the bundle in this folder, if it is not loaded yet, and keep it for this connection."""

    bundle: str


class Opened(msgspec.Struct, frozen=True, tag=True):
    """It is loaded. `tokens`: the most that `Student.token_count` says of any text."""

    tokens: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """It cannot be loaded, for the reason in `words`."""

    words: str


class EngineRequest(msgspec.Struct, frozen=True, tag=True):
    """Answer these texts."""

    texts: list[str]


class EngineAnswer(msgspec.Struct, frozen=True, tag=True):
    """One answer for each text. `probabilities` is float32 of shape (N, K), row by row."""

    labels: list[int]
    confidences: list[float]
    probabilities: bytes
    outside: list[int] = []
    """Which of the texts are out of scope."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The student failed on at least one of the texts."""

    fault: str


Message = Open | Opened | Refused | EngineRequest | EngineAnswer | Failed
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def frame(message: Message) -> bytes:
    """Return the bytes to send."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def length_in(header: bytes) -> int:
    """Return how many bytes follow a header.

    Raises:
        ValueError: more than any message of ours has.
    """
    length: int = _LENGTH.unpack(header)[0]
    if length > MAX_FRAME:
        raise ValueError(f"a message of {length:,} bytes; at most {MAX_FRAME:,} are allowed")
    return length


def message_in(body: bytes) -> Message:
    """Return the message.

    Raises:
        msgspec.DecodeError: the bytes are none.
    """
    return _decoder.decode(body)
