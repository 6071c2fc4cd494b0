"""Several worker processes on one port: started, watched, replaced, drained together.

Each worker is an ordinary `raisehand serve` on its own SO_REUSEPORT socket, so the kernel spreads
the connections and no process stands in between.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from router.errors import BadSettings
from router.server import bind

POLL_S = 0.1
START_S = 5.0
"""A worker that gives up sooner cannot start: all are stopped instead of trying for ever. One that
was killed by a signal is always replaced."""
RESTART_PAUSE_S = 0.5
_COMMAND = (sys.executable, "-c", "from router.cli import run; run()", "serve")
log = logging.getLogger(__name__)


class Workers:
    """Keeps `count` workers running until a signal says stop.

    Args:
        arguments: of `raisehand serve`, without --port and --workers.
    """

    def __init__(self, arguments: Sequence[str], host: str, port: int, count: int) -> None:
        self._reserved = bind(host, port, shared=True)  # bound, never listening: it keeps the port
        self._port = self._reserved.getsockname()[1]
        self._arguments = arguments
        self._count = count
        self._running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self._stopping = False

    def run(self) -> None:
        """Start the workers, replace those that end, stop them all on SIGTERM or SIGINT.

        Raises:
            BadSettings: a worker could not start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with tempfile.TemporaryDirectory(prefix="raisehand-") as folder:
            try:
                for index in range(self._count):
                    self._start(index, Path(folder))
                while self._running:
                    time.sleep(POLL_S)
                    self._look_after(Path(folder))
            finally:
                self._signal(signal.SIGTERM)
                for process, _ in self._running.values():
                    process.wait()

    def _look_after(self, folder: Path) -> None:
        for index, (process, started) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[index]
            if self._stopping:
                continue
            if code > 0 and time.monotonic() - started < START_S:
                raise BadSettings(
                    f"worker {index} ended with exit code {code} as soon as it was started; its "
                    "last message above says why"
                )
            log.error("worker %d ended with exit code %s; starting another", index, code)
            time.sleep(RESTART_PAUSE_S)
            self._start(index, folder)

    def _start(self, index: int, folder: Path) -> None:
        worker = f"{index}/{self._count}"
        command = [*_COMMAND, *self._arguments, "--port", str(self._port), "--worker", worker]
        environment = os.environ | {"RAISEHAND_WORKER_FOLDER": str(folder)}
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        self._running[index] = (process, time.monotonic())

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for process, _ in self._running.values():
            if process.poll() is None:
                process.send_signal(number)
