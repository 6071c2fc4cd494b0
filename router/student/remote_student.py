"""A student in another process: the engine that all workers share, or one of a Ray cluster's.

Implements `Student`.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from router.student import engine_messages as wire
from router.student.connections import EngineConnection, ServeAddress, connect
from students.errors import BadBundle
from students.labels import LabelSchema, Prediction

START_S = 60.0
"""How long a new engine may take until it listens."""
LOAD_S = 600.0
"""How long it may take to read, compile and warm up a bundle."""


class EngineGone(Exception):
    """The engine is not there, does not answer, or failed on a text: no prediction."""


class RemoteStudent:
    """A bundle in the engine, over one connection that is made anew when the engine was.

    A prediction has no side effects, so what was lost on an old connection is asked once more on a
    new one; when there is no engine to connect to, that fails at once.

    Args:
        schema: of the bundle.
        engine: Unix socket of the engine, or where Ray Serve answers for many.
        bundle: folder of the bundle; the engine loads it while this is constructed.
        answer_s: the engine hangs when a batch takes longer.

    Raises:
        BadBundle: the engine cannot load it, or there is no engine.
    """

    in_place_tokens = 0

    def __init__(
        self,
        schema: LabelSchema,
        engine: Path | ServeAddress,
        bundle: Path,
        *,
        answer_s: float = 10.0,
    ) -> None:
        self.schema = schema
        self._engine = engine
        self._bundle = str(bundle.resolve())
        self._answer_s = answer_s
        self._lock = threading.Lock()
        self._connection: EngineConnection | None = None
        try:
            self._tokens = self._await_engine()
        except (OSError, EOFError, ValueError, msgspec.DecodeError) as error:
            raise BadBundle(f"the engine did not load {bundle}: {_words(error)}") from None

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answer each text, in order; blocking and thread-safe.

        Raises:
            EngineGone: nothing was predicted.
        """
        question = wire.EngineRequest(list(texts))
        with self._lock:
            reply = self._ask(question)
        if not isinstance(reply, wire.EngineAnswer):
            raise EngineGone(
                reply.fault if isinstance(reply, wire.Failed) else type(reply).__name__
            )
        rows = np.frombuffer(reply.probabilities, np.float32).reshape(len(reply.labels), -1)
        told = list(map(Prediction, reply.labels, reply.confidences, rows))
        for i in reply.outside:
            told[i] = msgspec.structs.replace(told[i], in_scope=False)
        return told

    def token_count(self, text: str) -> int:
        """Estimate one token for every four characters, and no more than the bundle reads."""
        return min(len(text) // 4 + 1, self._tokens)

    def _ask(self, question: wire.EngineRequest) -> wire.Message:
        try:
            if self._connection is not None:
                try:
                    return self._connection.ask(question)
                except (ConnectionError, EOFError):
                    self._hang_up()
            self._open(self._answer_s)
            assert self._connection is not None
            return self._connection.ask(question)
        except (OSError, EOFError, ValueError, BadBundle, msgspec.DecodeError) as error:
            self._hang_up()
            raise EngineGone(_words(error)) from error

    def _open(self, timeout_s: float) -> int:
        """Connect and let the engine load the bundle; return what `Opened` says."""
        self._connection = connection = connect(self._engine, timeout_s)
        self._goodbye = weakref.finalize(self, connection.close)
        reply = connection.ask(wire.Open(self._bundle))
        if isinstance(reply, wire.Refused):
            raise BadBundle(reply.words)
        if not isinstance(reply, wire.Opened):
            raise ValueError(f"it answered {type(reply).__name__}")
        connection.timeout(self._answer_s)
        return reply.tokens

    def _await_engine(self) -> int:
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self._open(LOAD_S)
            except (FileNotFoundError, ConnectionError, EOFError):  # not yet, or killed meanwhile
                self._hang_up()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection = None
            self._goodbye()


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
