"""The bare model on the device: no HTTP, no router. Run as a program of its own, it frees the card.

    python bare.py BUNDLE --device cuda --lengths 32,128,512 --p99-ms 20 --seconds 1.5

Prints one JSON line for each length as soon as it is known, before them one about the device.

Arrivals are Poisson and fixed in advance; latency counts from the scheduled instant. The model
takes whatever waits, up to a batch, as the router's batcher does.
"""

from __future__ import annotations

import argparse
import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from card import matrix_flops, utilisation

from students.runtime.bundle import read_bundle
from students.runtime.encoders.shapes import SIZES
from students.runtime.load import load_student

if TYPE_CHECKING:
    from students.runtime.encoders.encoder import EncoderStudent

STEP, TOLERANCE = 1.3, 0.1
LATE_S = 1.0
"""A model that falls so far behind has failed, and the run ends there."""


@dataclass(frozen=True)
class Ceiling:
    """What the device carries at one length."""

    length: int
    texts_per_s: float | None
    """At the p99 that is asked for, open loop; None: no rate that was tried kept it."""
    p99_ms: float | None
    samples: int
    mean_batch: float | None
    utilisation: float | None
    best_batch: int
    most_texts_per_s: float
    """In full batches, one after the other, without any limit."""
    with_tokenizing_per_s: float
    """The same, tokenizing in the same thread."""


def main() -> None:
    """Measure one bundle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--lengths", required=True)
    parser.add_argument("--p99-ms", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each rate that is tried")
    parser.add_argument("--runs", type=int, default=6, help="rates tried, at most")
    args = parser.parse_args()
    began = time.perf_counter()
    student: EncoderStudent = load_student(read_bundle(args.bundle), args.device)
    loaded_s = time.perf_counter() - began
    say({"loaded_s": round(loaded_s, 1), "matrix_flops": matrix_flops(args.device)})
    for length in map(int, args.lengths.split(",")):
        say(asdict(ceiling(student, length, args.p99_ms / 1000, args.seconds, args.runs)))


def say(content: dict[str, object]) -> None:
    """Print one line for whoever started this."""
    print(json.dumps(content), flush=True)


def ceiling(
    student: EncoderStudent, length: int, limit_s: float, seconds: float, runs: int
) -> Ceiling:
    """Measure full batches, then search the highest rate that keeps the p99."""
    ids = np.random.default_rng(0).integers(4, 10_000, (SIZES[-1], length), dtype=np.int64)
    mask = np.ones_like(ids)

    def run(n: int) -> None:
        student.forward(ids[:n], mask[:n])

    speeds = {size: size / _seconds(partial(run, size), seconds / 5) for size in SIZES}
    best = max(speeds, key=lambda size: speeds[size])
    # Two batches are waited for at worst: the one that runs and one's own.
    fitting = [size for size in SIZES if 2 * size / speeds[size] <= limit_s]
    found = None
    if fitting:
        largest = max(fitting)
        found = _search(run, largest, 0.8 * speeds[largest], limit_s, seconds, runs)
    words = " ".join(["bada"] * (length - 2))
    spoken = best / _seconds(lambda: student.predict([words] * best), seconds / 2)
    return Ceiling(
        length=length,
        texts_per_s=found and found[0],
        p99_ms=found and float(np.quantile(found[1], 0.99, method="higher") * 1000),
        samples=0 if found is None else len(found[1]),
        mean_batch=found and float(np.mean(found[2])),
        utilisation=found and found[3],
        best_batch=best,
        most_texts_per_s=speeds[best],
        with_tokenizing_per_s=spoken,
    )


Tried = tuple[float, np.ndarray, list[int], float | None]


def _search(
    run: Callable[[int], None], most: int, rate: float, limit_s: float, seconds: float, runs: int
) -> Tried | None:
    """Bracket the highest rate by a third more or less, bisect to 10 %; return the last that held.

    As `KneeSearch` does over HTTP, within a fixed number of runs.
    """
    best: Tried | None = None
    low, high = 0.0, math.inf
    for _ in range(runs):
        latency, batches, share = open_loop(run, most, rate, seconds)
        if np.quantile(latency, 0.99, method="higher") <= limit_s:
            best, low = (rate, latency, batches, share), rate
        else:
            high = rate
        if high <= low * (1 + TOLERANCE):
            break
        if low == 0:
            rate /= STEP
        else:
            rate = low * STEP if high == math.inf else (low * high) ** 0.5
    return best


def open_loop(
    run: Callable[[int], None], most: int, rate: float, seconds: float
) -> tuple[np.ndarray, list[int], float | None]:
    """Serve Poisson arrivals; return latencies from the schedule, batches and the card's share."""
    gaps = np.random.default_rng(0).exponential(1 / rate, max(50, int(rate * seconds)))
    due = np.cumsum(gaps)
    finished = np.full_like(due, np.inf)
    batches: list[int] = []
    shares: list[float] = []

    def look() -> None:
        time.sleep(seconds / 2)  # nvidia-smi tells of the last moments
        shares.extend(utilisation())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    began, done = time.perf_counter(), 0
    while done < len(due):
        now = time.perf_counter() - began
        waiting = int(np.searchsorted(due, now, side="right")) - done
        if waiting == 0:
            continue
        batch = min(waiting, most)
        run(batch)
        ended = time.perf_counter() - began
        finished[done : done + batch] = ended
        done += batch
        batches.append(batch)
        if ended - due[done - 1] > LATE_S:
            break
    watcher.join(timeout=5)
    return finished - due, batches, shares[0] if shares else None


def _seconds(act: Callable[[], object], for_s: float) -> float:
    """Return the median seconds of an act that is repeated for so long, three times at least."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < for_s:
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    main()
