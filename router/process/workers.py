"""Several worker processes on one port: started, watched, replaced, drained together.

Each worker is an ordinary `raisehand serve` on its own SO_REUSEPORT socket, so the kernel spreads
the connections and no process stands in between. Where they share an engine, it is started first
and stopped last, and replaced like a worker.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from costmodel.lifeline import Lifeline
from router.errors import BadSettings
from router.process.server import bind
from router.settings import WORKER_FOLDER
from router.worker_share import Share

POLL_S = 0.1
START_S = 5.0
"""A process that gives up sooner cannot start: all are stopped instead of trying for ever. One that
was killed by a signal is always replaced."""
RESTART_PAUSE_S = 0.5
_SERVE = (sys.executable, "-c", "from router.cli import run; run()", "serve")
_ENGINE = (sys.executable, "-m", "router.process.engine")
log = logging.getLogger(__name__)


class Workers:
    """Keeps `count` workers, and the engine where there is one, running until a signal says stop.

    Args:
        arguments: what `raisehand serve` is told, without --port and --worker.
        folder: private; holds the sockets of the workers.
        engine: arguments of `python -m router.process.engine` without its socket; None: each worker
            holds its students itself.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        host: str,
        port: int,
        count: int,
        folder: Path,
        *,
        engine: Sequence[str] | None = None,
    ) -> None:
        self._reserved = bind(host, port, shared=True)  # bound, never listening: it keeps the port
        self._port = self._reserved.getsockname()[1]
        self._arguments = arguments
        self._count = count
        self._folder = folder
        self._engine_arguments = engine
        self._lifeline = Lifeline()
        self._engine: _Child | None = None
        self._workers: dict[int, _Child] = {}
        self._stopping = False

    def run(self) -> None:
        """Start all, replace those that end, stop all on SIGTERM or SIGINT, the engine last.

        SIGHUP, which has keys read again, is passed on.

        Raises:
            BadSettings: one could not start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, lambda number, frame: self._signal(number))
        try:
            self._start_engine()
            for index in range(self._count):
                self._start(index)
            while self._workers:
                time.sleep(POLL_S)
                self._look_after()
        finally:
            self._signal(signal.SIGTERM)
            for worker in self._workers.values():
                worker.process.wait()
            if self._engine is not None:
                self._engine.process.terminate()
                self._engine.process.wait()

    def _look_after(self) -> None:
        if self._engine is not None and self._engine.ended("the engine"):
            self._start_engine()
        for index, worker in list(self._workers.items()):
            if self._stopping:
                if worker.process.poll() is not None:
                    del self._workers[index]
            elif worker.ended(f"worker {index}"):
                self._start(index)

    def _start_engine(self) -> None:
        if self._engine_arguments is not None:
            address = str(Share(0, self._count, self._folder).engine)
            command = [*_ENGINE, "--socket", address, *self._engine_arguments]
            self._engine = _Child(command, self._lifeline)

    def _start(self, index: int) -> None:
        worker = f"{index}/{self._count}"
        command = [*_SERVE, *self._arguments, "--port", str(self._port), "--worker", worker]
        self._workers[index] = _Child(command, self._lifeline, {WORKER_FOLDER: str(self._folder)})

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for worker in self._workers.values():
            if worker.process.poll() is None:
                worker.process.send_signal(number)


class _Child:
    """One process, and since when it has been running."""

    def __init__(
        self, command: Sequence[str], lifeline: Lifeline, variables: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            command,
            env=os.environ | lifeline.variables | dict(variables or {}),
            pass_fds=(lifeline.descriptor,),
            start_new_session=True,
        )
        self._started = time.monotonic()

    def ended(self, name: str) -> bool:
        """Whether it is over, so that another one has to be started, after a pause.

        Raises:
            BadSettings: it gave up as soon as it was started; another one would, too.
        """
        code = self.process.poll()
        if code is None:
            return False
        if code > 0 and time.monotonic() - self._started < START_S:
            raise BadSettings(
                f"{name} ended with exit code {code} as soon as it was started; its last message "
                "above says why"
            )
        log.error("%s ended with exit code %s; starting another", name, code)
        time.sleep(RESTART_PAUSE_S)
        return True
