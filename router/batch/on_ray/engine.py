"""The student's part on Ray Data: files are read and answered on the cluster, and come in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from costmodel.errors import BadTable, LostCluster
from costmodel.ray_cluster import (
    cluster_now,
    join_again,
    joined_cluster,
    machines_now,
    version_here,
    words_of,
)
from router.batch.on_ray.machines import MachineGone, MachineWatch
from router.batch.on_ray.pool import RayPool
from router.batch.on_ray.work import (
    StudentWorker,
    TextsWanted,
    digest,
    read_texts,
    said_in,
)
from router.batch.scoring import RawChunk, ScoredChunk
from router.batch.tables.sources import Source
from students.runtime.bundle import MANIFEST, Bundle
from students.runtime.columns import TextColumn

log = logging.getLogger(__name__)
_READER_CPUS = 0.25
"""Of a task that reads. It differs from a student's, or Ray would join both in one process."""
_BLOCK_BYTES = 1 << 20
"""Ray hands on what has come so far when it is this large: a chunk or a few."""
_TRIES = 5
"""Of a chunk whose student dies with it, before the work is given up."""


class RayEngine:
    """Students of one bundle on a cluster that was joined.

    Args:
        pool: how many students, as long as there is room for them.
        words: where they work, for people.
    """

    def __init__(
        self,
        pool: RayPool,
        words: str,
        bundle: Bundle,
        source: Source,
        column: str,
        at_once: int,
    ) -> None:
        self.words = words
        self._pool = pool
        self._wanted = TextsWanted(source, column, at_once, version_here())
        self._bundle = bundle
        self._coming: Iterator[dict[str, Any]] | None = None

    async def scored(self, unread: Iterator[RawChunk]) -> AsyncGenerator[ScoredChunk]:
        """Yield the chunks that are not done, in order, with what a student says of each.

        Raises:
            BadTable: a row that cannot be read here, or there.
            LostCluster: the cluster did not finish; the same command goes on where it ended.
        """
        loop = asyncio.get_running_loop()
        chunks = self._in_order(unread)
        with ThreadPoolExecutor(1, "ray") as taking:
            coming = loop.run_in_executor(taking, next, chunks, None)
            try:
                while (chunk := await coming) is not None:
                    coming = loop.run_in_executor(taking, next, chunks, None)
                    yield chunk
            finally:
                coming.cancel()

    def _in_order(self, unread: Iterator[RawChunk]) -> Iterator[ScoredChunk]:
        """Read the rows here, too, and lay beside them what was answered there."""
        for raw in unread:
            yield _joined(raw, self._taken(raw))

    def _taken(self, raw: RawChunk) -> dict[str, Any] | None:
        """Take a chunk's answers; where a student or a machine died, begin anew from this chunk.

        Ray's own way, to start a student again, waits for room that is lost with a machine.
        """
        from ray.exceptions import RayError

        tried = 0
        while True:
            try:
                self._coming = self._coming or self._answers(raw)
                return next(self._coming, None)
            except (RayError, MachineGone) as error:
                self._coming = None
                tried += 1
                if tried == _TRIES:
                    raise LostCluster(
                        f"the Ray cluster did not finish: {words_of(error)}; what was answered is "
                        "kept, and the same command goes on"
                    ) from error
                log.warning("the Ray cluster lost work and begins it anew: %s", words_of(error))
            gc.collect()  # what refers to the cluster
            join_again()

    def _answers(self, first: RawChunk) -> Iterator[dict[str, Any]]:
        """Begin, with this chunk, to read and answer on the machines that are there."""
        import ray
        from ray.data import ActorPoolStrategy, DataContext
        from ray.util.annotations import RayDeprecationWarning

        # Ray 2.64 will have other words for whether an actor is restarted, and 2.60 has no others.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        context = DataContext.get_current()
        context.execution_options.preserve_order = True
        context.target_max_block_size = _BLOCK_BYTES
        context.enable_progress_bars = False
        context.custom_execution_callback_classes = [partial(MachineWatch, machines_now())]
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are said here
        names = (MANIFEST, *self._bundle.manifest.files)
        bundle = {name: (self._bundle.path / name).read_bytes() for name in names}
        files = range(first.file, len(self._wanted.source.files))
        todo = [{"file": i, "skip": first.place if i == first.file else 0} for i in files]
        texts = ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
            read_texts,
            fn_kwargs={"wanted": self._wanted},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=_READER_CPUS,
        )
        answers = texts.map_batches(
            _Worker,
            fn_constructor_args=(_Shared(ray.put(bundle)), "cuda" if self._pool.gpus else "cpu"),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=self._pool.left(cluster_now())),
            num_cpus=1,
            num_gpus=self._pool.gpus or None,
            max_restarts=0,
        )
        batches = answers.iter_batches(batch_size=None, batch_format="pyarrow")
        return (row for batch in batches for row in batch.to_pylist())


@contextmanager
def ray_engine(
    pool: RayPool, bundle: Bundle, source: Source, column: str, at_once: int
) -> Iterator[RayEngine]:
    """Join the cluster, and have an engine on it within the block.

    Raises:
        NotInstalled, LostCluster: there is no Ray, or no cluster.
        BadSettings: it has no room for so many students.
    """
    with joined_cluster() as cluster:
        size = pool.fitting(cluster)
        words = f"{size} student{'s' * (size != 1)} on Ray ({cluster.words})"
        yield RayEngine(pool, words, bundle, source, column, at_once)


@dataclass(frozen=True, slots=True)
class _Shared:
    """A reference that is followed where it is needed, also by a process that was started again."""

    reference: Any = field(repr=False)


class _Worker(StudentWorker):
    def __init__(self, files: _Shared, device: str) -> None:
        import ray

        super().__init__(ray.get(files.reference), device)


def _joined(raw: RawChunk, row: dict[str, Any] | None) -> ScoredChunk:
    """Lay a student's answers beside the rows they are about."""
    if row is not None and row["fault"]:
        raise BadTable(f"a worker of the Ray cluster cannot do its part, {row['fault']}")
    column = TextColumn(raw.rows.texts)
    found = row and (row["file"], row["chunk"], row["digest"])
    if row is None or found != (raw.file, raw.place, digest(column)):
        raise BadTable(
            f"workers of the Ray cluster read other rows than this machine (chunk {raw.number}): "
            "IN must be a URL or a folder that all machines share, and must not change meanwhile"
        )
    return ScoredChunk(raw.number, raw.first, raw.rows, column, said_in(row))
