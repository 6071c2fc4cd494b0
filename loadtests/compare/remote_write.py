"""Load tests written to Prometheus by its remote-write protocol, version 1.

A message of protobuf (WriteRequest: series of labels and samples) in one block of snappy. Both are
small enough to be written down here; the block holds literals only, which every reader takes.
"""

from __future__ import annotations

import struct
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from loadtests.compare.points import labels_of, points_of
from loadtests.errors import CannotWrite
from loadtests.verdict.conclusion import Conclusion

TIMEOUT_S = 10.0
_LITERAL = 65_536
"""Bytes of one literal of a snappy block, whose length then takes two bytes."""

Series = Mapping[tuple[tuple[str, str], ...], Sequence[tuple[float, float]]]
"""By labels: (seconds since 1970, value)."""


def remote_write(conclusions: Sequence[Conclusion], url: str) -> int:
    """Write the intervals of each test and its verdict; return how many points were taken.

    Raises:
        CannotWrite: nobody took them.
    """
    series = series_of(conclusions)
    request = urllib.request.Request(
        url,
        snappy(write_request(series)),
        {
            "content-encoding": "snappy",
            "content-type": "application/x-protobuf",
            "x-prometheus-remote-write-version": "0.1.0",
        },
    )
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        said = error.read(300).decode(errors="replace").strip()
        raise CannotWrite(
            f"{url} did not take the points ({error.code}: {said}); Prometheus needs "
            "--web.enable-remote-write-receiver, and for a test that ended over an hour ago "
            "storage.tsdb.out_of_order_time_window"
        ) from None
    except (OSError, ValueError) as error:
        raise CannotWrite(
            f"{url} cannot be written to ({error}); give Prometheus' own, e.g. "
            "http://127.0.0.1:9090/api/v1/write"
        ) from None
    return sum(map(len, series.values()))


def series_of(conclusions: Sequence[Conclusion]) -> Series:
    """Return the points by their labels, the name among them, in the order of time."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for conclusion in conclusions:
        said = {**labels_of(conclusion), "job": "raisehand-loadtest"}
        for name, at_s, value in points_of(conclusion):
            labels = {**said, "__name__": f"raisehand_loadtest_{name}"}
            found.setdefault(tuple(sorted(labels.items())), []).append((at_s, value))
    return {labels: sorted(points) for labels, points in found.items()}


def write_request(series: Series) -> bytes:
    """Encode a WriteRequest."""
    message = b""
    for labels, points in series.items():
        one = b"".join(
            _field(1, _field(1, name.encode()) + _field(2, value.encode()))
            for name, value in labels
        )
        for at_s, value in points:
            sample = b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(1000 * at_s))
            one += _field(2, sample)
        message += _field(1, one)
    return message


def snappy(data: bytes) -> bytes:
    """Wrap bytes as a block of snappy."""
    parts = [_varint(len(data))]
    for at in range(0, len(data), _LITERAL):
        literal = data[at : at + _LITERAL]
        # The tag: a literal (00) whose length minus one stands in the next two bytes (61).
        parts += [bytes([61 << 2]), struct.pack("<H", len(literal) - 1), literal]
    return b"".join(parts)


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes: strings and messages."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)
