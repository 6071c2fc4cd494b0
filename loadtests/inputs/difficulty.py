"""Which inputs the student finds hard, asked of the router itself without asking the teacher."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from loadtests.errors import BadLoadSpec
from loadtests.inputs.rows import Row
from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.target import request_headers

HARD_SHARE = 0.1
"""Hard inputs are the tenth that the student is least sure of."""
ITEMS = 32
MOST_ROWS = 5000


def mix(spec: LoadSpec, rows: list[Row], order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return `order` (N,) with rows exchanged so that `spec.hard_share` of them are hard ones.

    Raises:
        BadLoadSpec: the target tells no confidence, so nobody knows what is hard.
    """
    if spec.hard_share is None:
        return order
    hard, easy = divide(confidences(spec, rows[:MOST_ROWS]))
    rng = np.random.default_rng([spec.seed, 1])
    is_hard = rng.random(len(order)) < spec.hard_share
    # Each kind is used up before any row of it is repeated, as in the plain order.
    mixed = np.empty_like(order)
    for kind, chosen in ((hard, is_hard), (easy, ~is_hard)):
        mixed[chosen] = rng.permutation(kind)[np.arange(int(chosen.sum())) % len(kind)]
    return mixed


def divide(
    confidence: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the positions of the least sure tenth and of all others."""
    order = np.argsort(confidence, kind="stable")
    n_hard = max(1, round(HARD_SHARE * len(order)))
    return order[:n_hard], order[n_hard:]


def confidences(spec: LoadSpec, rows: list[Row]) -> npt.NDArray[np.float64]:
    """Ask the student, with a threshold of 0 so that nothing escalates; shape (len(rows),)."""
    parts = urlsplit(spec.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=30)
    found: list[float] = []
    try:
        for start in range(0, len(rows), ITEMS):
            texts = [row.text for row in rows[start : start + ITEMS]]
            body = json.dumps({"text": texts, "threshold": 0}).encode()
            connection.request("POST", f"{parts.path}/v1/classify", body, request_headers(spec))
            reply = json.loads(connection.getresponse().read())
            found.extend(float(item["confidence"]) for item in reply["data"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise BadLoadSpec(
            f"hard_share needs a router that tells its confidence on /v1/classify, and {spec.url} "
            f"does not ({type(error).__name__}: {error})"
        ) from None
    finally:
        connection.close()
    return np.array(found)
