"""What Locust's `request` event and its statistics cost a request: `python -m … URL` prints it.

The same closed loop with and without the event, in turns, in a process of its own because Locust
patches whatever imports it. Of each the least processor time a request counts: what a busy machine
adds is not the event's.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loadtests.inputs.rows import rows_of

if TYPE_CHECKING:
    from loadtests.generator.session import Session

TURNS = 8
CLIENTS = 32
TURN_S, LOOK_S = 1.0, 0.2
FEW = 100
"""A look that saw fewer requests says nothing."""


class EventPrice(msgspec.Struct, frozen=True):
    """Microseconds of the generator's processor a request, at the limit."""

    with_event: float
    without: float


def event_price(url: str, inputs: Path) -> EventPrice:
    """Measure it against a server that does nothing."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, url, str(inputs)], capture_output=True, check=True
    )
    return msgspec.json.decode(done.stdout, type=EventPrice)


def _measure(url: str, inputs: Path) -> EventPrice:
    from gevent import monkey

    monkey.patch_all()
    from locust.env import Environment
    from locust.runners import LocalRunner

    from loadtests.generator.schedule import lay_out
    from loadtests.generator.session import Session
    from loadtests.inputs.spec import LoadSpec
    from loadtests.users.open_loop import fire
    from loadtests.users.wiring import quieten

    environment = Environment()
    LocalRunner(environment)  # its listener keeps the statistics
    spec = LoadSpec(
        url=url, inputs=inputs, rate=1, closed_loop=CLIENTS, duration_s=TURN_S, warmup_s=0
    )
    rows = rows_of(spec)
    schedule = lay_out(spec, rows)
    quieten()
    least = [float("inf"), float("inf")]
    for turn in range(2 * TURNS):
        session = Session(spec, rows, schedule)
        session.send_alone(partial(fire, environment) if turn % 2 else lambda *_: None)
        least[turn % 2] = min(least[turn % 2], _least_us(session))
    return EventPrice(with_event=round(least[1], 1), without=round(least[0], 1))


def _least_us(session: Session) -> float:
    import gevent

    walking = gevent.spawn(session.walk, time.monotonic())
    least = float("inf")
    while not walking.ready():
        answered, used = session.answered, time.process_time()
        gevent.sleep(LOOK_S)
        asked = session.answered - answered
        if asked >= FEW:
            least = min(least, (time.process_time() - used) / asked * 1e6)
    return least


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_measure(sys.argv[1], Path(sys.argv[2]))))
