"""The engine: one process that holds the students of all workers, and batches over all of them.

    python -m router.process.engine --socket FOLDER/engine.sock --device cuda

A model on a GPU is there once, not once for each worker, and its batches are those of the whole
host. What happens in it stays in it: a worker of a dead or broken engine goes on (every text then
fails alone, as with any student), and the supervisor starts another one.

A connection is a lease on one bundle: it is loaded with the first and forgotten with the last. The
list of loaded bundles lies beside the socket; an engine that starts loads these before it listens,
so that whoever can connect is answered at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import click
import msgspec
import numpy as np

from costmodel.lifeline import when_orphaned
from router.settings import Settings, load_settings
from router.student import engine_messages as wire
from router.student.batcher import Batcher
from students.errors import BadBundle
from students.labels import LabelSchema, Prediction
from students.runtime.bundle import read_bundle
from students.runtime.load import WARM_UP, load_student
from students.runtime.protocol import Student

log = logging.getLogger(__name__)
LoadFrom = Callable[[Path], Student]
"""Reads, verifies and warms up the bundle in a folder; blocking, run in a thread."""

QUEUE = 1 << 20
"""Texts; the bound is elsewhere: each worker has one batch on the way."""
LONGEST = "x" * 10_000_000
"""More text than any student reads: what it counts is the most it ever counts."""
BEYOND_REPAIR = 70
WATCH_S = 0.5


class Engine:
    """Loads bundles for its connections and answers them.

    Args:
        load: makes a student of a bundle's folder.
        settings: budgets of a batch, and how long one may run.
        loaded: file with the folders of the loaded bundles.
    """

    def __init__(self, load: LoadFrom, settings: Settings, loaded: Path) -> None:
        self._load = load
        self._settings = settings
        self._file = loaded
        self._loaded: dict[str, asyncio.Task[_Loaded]] = {}
        self._leases: dict[str, int] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self, address: Path) -> asyncio.Server:
        """Load what an earlier engine had, then listen."""
        with suppress(FileNotFoundError):
            for bundle in self._file.read_text(encoding="utf-8").splitlines():
                try:
                    await self._get(bundle)
                except BadBundle as error:
                    log.error("a bundle that was served before cannot be loaded: %s", error)
        address.unlink(missing_ok=True)
        return await asyncio.start_unix_server(self._connected, address)

    def alive(self) -> bool:
        """Whether no batch has been running for longer than a batch may."""
        loaded = [task.result() for task in self._loaded.values() if _is_there(task)]
        return all(one.batcher.alive(self._settings.stall_s) for one in loaded)

    @property
    def leases(self) -> int:
        """Connections that hold a bundle."""
        return sum(self._leases.values())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bundle: str | None = None
        try:
            opening = await _read(reader)
            if not isinstance(opening, wire.Open):
                return
            bundle = opening.bundle
            self._lease(bundle, 1)
            try:
                loaded = await self._get(bundle)
            except BadBundle as error:
                writer.write(wire.frame(wire.Refused(str(error))))
                return
            writer.write(wire.frame(wire.Opened(loaded.tokens)))
            while isinstance(question := await _read(reader), wire.EngineRequest):
                writer.write(wire.frame(await answer_texts(loaded.batcher, question.texts)))
                await writer.drain()
        except (EOFError, ConnectionError, ValueError, msgspec.DecodeError):
            pass
        finally:
            writer.close()
            if bundle is not None:
                self._lease(bundle, -1)

    async def _get(self, bundle: str) -> _Loaded:
        """Return a bundle, loaded once however many ask for it at the same time.

        Raises:
            BadBundle: it cannot be.
        """
        task = self._loaded.get(bundle)
        if task is None:
            task = self._loaded[bundle] = asyncio.create_task(self._load_anew(bundle))
        try:
            return await asyncio.shield(task)
        except BadBundle:
            self._loaded.pop(bundle, None)
            raise

    async def _load_anew(self, bundle: str) -> _Loaded:
        try:
            student = await asyncio.to_thread(self._load, Path(bundle))
        except BadBundle:
            raise
        except Exception as error:
            log.exception("a bundle could not be loaded")
            raise BadBundle(f"{bundle} cannot be loaded: {type(error).__name__}") from error
        batcher = Batcher(
            Proven(student),
            max_queue=QUEUE,
            max_batch_texts=self._settings.max_batch_texts,
            max_batch_tokens=self._settings.max_batch_tokens,
        )
        batcher.start()
        self._note_down()
        return _Loaded(batcher, student.token_count(LONGEST))

    def _lease(self, bundle: str, change: int) -> None:
        self._leases[bundle] = leases = self._leases.get(bundle, 0) + change
        if not leases:
            del self._leases[bundle]
            self._unload(bundle)

    def _unload(self, bundle: str) -> None:
        """Forget a bundle; one that is still being loaded waits for its next connection."""
        task = self._loaded.get(bundle)
        if task is not None and _is_there(task):
            del self._loaded[bundle]
            self._note_down()
            closing = asyncio.create_task(task.result().batcher.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _note_down(self) -> None:
        self._file.write_text("".join(f"{one}\n" for one in self._loaded), encoding="utf-8")


class _Loaded(msgspec.Struct, frozen=True):
    batcher: Batcher
    tokens: int


class Proven:
    """A student that ends the process when it fails on what it could answer before.

    After some faults nothing works any more (a CUDA error stays with its process for good); one
    text that breaks the student alone is none of these. Implements `Student`.
    """

    def __init__(self, student: Student, leave: Callable[[int], object] = os._exit) -> None:
        self.schema: LabelSchema = student.schema
        self.in_place_tokens: int = student.in_place_tokens
        self.token_count = student.token_count
        self._student = student
        self._leave = leave

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answer each text, in order."""
        try:
            return self._student.predict(texts)
        except Exception:
            try:
                self._student.predict(WARM_UP)
            except Exception:
                log.critical("the student fails on texts it could answer: this engine ends")
                self._leave(BEYOND_REPAIR)
            raise


async def answer_texts(batcher: Batcher, texts: Sequence[str]) -> wire.Message:
    """Let a batcher answer, beside what others ask it."""
    scored = await asyncio.gather(*map(batcher.submit, texts))
    predictions = [one.prediction for one in scored]
    if None in predictions or not predictions:
        return wire.Failed("the student failed on a text" if predictions else "no texts were sent")
    return wire.EngineAnswer(
        [p.label for p in predictions],  # type: ignore[union-attr]
        [p.confidence for p in predictions],  # type: ignore[union-attr]
        np.concatenate([p.probabilities for p in predictions]).tobytes(),  # type: ignore[union-attr]
        [i for i, p in enumerate(predictions) if not p.in_scope],  # type: ignore[union-attr]
    )


async def _read(reader: asyncio.StreamReader) -> wire.Message:
    return wire.message_in(
        await reader.readexactly(wire.length_in(await reader.readexactly(wire.HEADER)))
    )


def _is_there(task: asyncio.Task[_Loaded]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def load_from(device: str, path: Path) -> Student:
    """Read, verify and load the bundle in a folder.

    Raises:
        BadBundle: it cannot be trusted or run.
    """
    return load_student(read_bundle(path), device)


async def _run(engine: Engine, address: Path) -> None:
    orphaned = threading.Event()
    when_orphaned(orphaned.set)
    server = await engine.start(address)
    async with server:
        while engine.alive():
            await asyncio.sleep(WATCH_S)
            if orphaned.is_set() and not engine.leases:
                return
    log.critical("the student hangs: this engine ends")
    os._exit(BEYOND_REPAIR)


@click.command()
@click.option("--socket", "address", required=True, type=click.Path(path_type=Path))
@click.option("--device", default="cpu")
def main(address: Path, device: str) -> None:
    """Serve workers on a Unix socket until told to stop."""
    import uvloop

    from router.telemetry.logs import configure_logs

    configure_logs()
    engine = Engine(partial(load_from, device), load_settings(), address.with_suffix(".loaded"))
    uvloop.run(_run(engine, address))


if __name__ == "__main__":
    main()
