"""A process of its own, behind everything else that runs, that answers one message after the other.

What takes milliseconds to seconds of a processor is felt where requests are answered, on a thread,
too: it takes the interpreter's lock from them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Generic, TypeVar

from costmodel.processes import end_with_parent

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class CompanionEnded(Exception):
    """The process ended before it had answered; the next message starts another."""


class Companion(Generic[Asked, Answered]):
    """The process: started by the first message, and again by the next if it ends.

    It lives until `close`, or as long as the process that asks; signals to stop are for that one.
    One message at a time: who asks on several threads takes turns.

    Args:
        name: of the process, as `top` shows it.
        make: called in the process; returns what answers there. It and the messages are pickled.
        nice: how far behind everything else, 0 to 19.
    """

    def __init__(
        self, name: str, make: Callable[[], Callable[[Asked], Answered]], nice: int
    ) -> None:
        self._name, self._make, self._nice = name, make, nice
        self._process: BaseProcess | None = None
        self._connection: Connection
        self._closed = False

    @property
    def process_id(self) -> int | None:
        """The process; None while there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, message: Asked) -> Answered:
        """Return the answer; blocking.

        Raises:
            CompanionEnded: there is none, for the process ended or `close` was called.
        """
        if self._process is None:
            self._start()
        try:
            self._connection.send(message)
            answer: Answered = self._connection.recv()
        except (EOFError, OSError):
            self._end()
            raise CompanionEnded(f"the process {self._name} ended before it answered") from None
        return answer

    def close(self) -> None:
        """End the process, whatever it does, for good."""
        self._closed = True
        self._end()

    def _start(self) -> None:
        if self._closed:
            raise CompanionEnded(f"the process {self._name} was closed")
        fresh = multiprocessing.get_context("spawn")
        self._connection, its = fresh.Pipe()
        self._process = fresh.Process(
            target=_answer_on, args=(self._name, self._make, self._nice, its), daemon=True
        )
        self._process.start()
        its.close()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()


def _answer_on(
    name: str, make: Callable[[], Callable[[Asked], Answered]], nice: int, connection: Connection
) -> None:
    """Answer until nobody is left to ask."""
    end_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):  # of a terminal, of a control group
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # a name, where the system has them
        Path("/proc/self/comm").write_text(name, encoding="utf-8")
    os.nice(nice)
    answer = make()
    with suppress(EOFError, BrokenPipeError):
        while True:
            connection.send(answer(connection.recv()))
