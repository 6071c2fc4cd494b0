"""Which inputs the student finds hard, asked of the router itself without asking the teacher."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from loadtests.errors import BadLoadSpec
from loadtests.inputs.route import route_of
from loadtests.inputs.rows import Row
from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.surface import decimal_of
from loadtests.inputs.target import request_headers

HARD_SHARE = 0.1
"""Hard inputs are the tenth that the student is least sure of."""
ITEMS = 32
MOST_ROWS = 5000


@dataclass(frozen=True, slots=True)
class Confidences:
    """What the student said of some texts when it was asked alone."""

    of_rows: npt.NDArray[np.float64]
    """Shape (N,), in the order of the rows."""
    usd: Decimal
    """What it cost, as far as the answers say; it stands in the target's ledger."""


@dataclass(frozen=True, slots=True)
class Mix:
    """The rows to send and what it took to choose them."""

    rows: npt.NDArray[np.int64]
    asked: int = 0
    """Texts that the student was asked about beforehand."""
    usd: Decimal = Decimal(0)


def mix(spec: LoadSpec, rows: list[Row], order: npt.NDArray[np.int64]) -> Mix:
    """Return `order` (N,) with rows exchanged so that `spec.hard_share` of them are hard ones.

    Raises:
        BadLoadSpec: the target cannot ask its student alone, so nobody knows what is hard.
    """
    if spec.hard_share is None:
        return Mix(order)
    if len(rows) < 2:
        raise BadLoadSpec("hard_share divides the inputs and there is one; give at least 2")
    asked = confidences(spec, rows[:MOST_ROWS])
    hard, easy = divide(asked.of_rows)
    rng = np.random.default_rng([spec.seed, 1])
    is_hard = rng.random(len(order)) < spec.hard_share
    # Each kind is used up before any row of it is repeated, as in the plain order.
    mixed = np.empty_like(order)
    for kind, chosen in ((hard, is_hard), (easy, ~is_hard)):
        mixed[chosen] = rng.permutation(kind)[np.arange(int(chosen.sum())) % len(kind)]
    return Mix(mixed, len(asked.of_rows), asked.usd)


def divide(
    confidence: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the positions of the least sure tenth and of all others."""
    order = np.argsort(confidence, kind="stable")
    n_hard = max(1, round(HARD_SHARE * len(order)))
    return order[:n_hard], order[n_hard:]


def confidences(spec: LoadSpec, rows: list[Row]) -> Confidences:
    """Ask the student alone, so that no teacher is asked; one text first, then the rest in lists.

    Raises:
        BadLoadSpec: the target does not say of each answer that the student alone gave it.
    """
    route = route_of(spec)
    connection = route.connection(30)
    found: list[float] = []
    usd = Decimal(0)
    try:
        # The first list is one text: what overlooks the field has asked its teacher once, not 32
        # times, when that shows.
        for start, end in pairwise([0, *range(1, len(rows), ITEMS), len(rows)]):
            texts = [row.text for row in rows[start:end]]
            body = json.dumps({"text": texts, "student_only": True}).encode()
            connection.request("POST", f"{route.base}/v1/classify", body, request_headers(spec))
            reply = connection.getresponse()
            found += _alone(reply.status, reply.read())
            usd += decimal_of(reply.getheader("x-raisehand-cost-usd")) or 0
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise BadLoadSpec(
            f"hard_share needs a raisehand router that can ask its student alone (student_only on "
            f"/v1/classify), and {spec.url} is none ({type(error).__name__}: {error}); leave out "
            "--hard-share"
        ) from None
    finally:
        connection.close()
    return Confidences(np.array(found), usd)


def _alone(status: int, reply: bytes) -> list[float]:
    """Return the confidences of a reply.

    Raises:
        ValueError: the status, or who answered why, if it was not the student alone.
    """
    if status != 200:
        raise ValueError(f"it answered {status} {reply[:160].decode(errors='replace')!r}")
    items = json.loads(reply)["data"]
    reasons = {item["raisehand"]["reason"] for item in items}
    if reasons != {"student_only"}:
        raise ValueError(f"it answered for the reason {', '.join(sorted(map(str, reasons)))}")
    return [float(item["confidence"]) for item in items]
