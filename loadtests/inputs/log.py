"""A log of one's own: texts with the moments at which they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtests.errors import BadRows
from loadtests.inputs.rows import Row, rows_of
from loadtests.inputs.spec import load_spec

NOWHERE = "http://127.0.0.1:9"
"""A log is read before there is a target; a spec wants a loopback URL."""


def in_order(rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """Return the seconds since the first row (N,), rising.

    Raises:
        BadRows: fewer than two rows, or all came at one moment.
    """
    at = np.sort([row.at_s for row in rows])
    if len(at) < 2 or not at[-1] > at[0]:
        raise BadRows(
            f"the log has {len(at)} texts in {at[-1] - at[0]:g} s; at least two at different "
            "moments are needed"
        )
    since: npt.NDArray[np.float64] = at - at[0]
    return since


def log_rate(rows: Sequence[Row]) -> float:
    """Return texts per second."""
    return (len(rows) - 1) / float(in_order(rows)[-1])


def as_recorded(load: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the log's own rate and length where none are given.

    Raises:
        BadLoadSpec, BadRows: the log cannot be read.
    """
    found = dict(load)
    if found.get("arrivals") != "log" or {"rate", "duration_s"} <= found.keys():
        return found
    rows = rows_of(load_spec(**{"rate": 1.0, **found, "url": NOWHERE}))
    rate = log_rate(rows)
    found.setdefault("rate", rate)
    found.setdefault("duration_s", len(rows) / float(found["rate"]))
    return found
