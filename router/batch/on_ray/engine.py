"""The student's part on Ray Data: files are read and answered on the cluster, and come in order."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from costmodel.errors import BadTable, LostCluster
from costmodel.ray_cluster import joined_cluster, version_here, words_of
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

_READER_CPUS = 0.25
"""Of a task that reads. It differs from a student's, or Ray would join both in one process."""
_BLOCK_BYTES = 1 << 20
"""Ray hands on what has come so far when it is this large: a chunk or a few."""
_TRIES = 5
"""Of a chunk whose student dies with it, before it is given up: Ray would try for ever."""


class RayEngine:
    """Students of one bundle on a cluster that was joined.

    Args:
        size: how many students; `gpus` as of `RayPool`.
        words: where they work, for people.
    """

    def __init__(
        self,
        size: int,
        gpus: float,
        words: str,
        bundle: Bundle,
        source: Source,
        column: str,
        at_once: int,
    ) -> None:
        import ray

        self.words = words
        self._size = size
        self._gpus = gpus
        self._wanted = TextsWanted(source, column, at_once, version_here())
        names = (MANIFEST, *bundle.manifest.files)
        self._files = _Shared(ray.put({name: (bundle.path / name).read_bytes() for name in names}))

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
        answers = None
        for raw in unread:
            answers = answers or self._answers(raw)
            yield _joined(raw, _taken(answers))

    def _answers(self, first: RawChunk) -> Iterator[dict[str, Any]]:
        """Begin, with this chunk, to read and answer on the cluster."""
        import ray
        from ray.data import ActorPoolStrategy, DataContext
        from ray.util.annotations import RayDeprecationWarning

        # Ray 2.64 will have other words for how often a task is tried, and 2.60 has no others.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        context = DataContext.get_current()
        context.execution_options.preserve_order = True
        context.target_max_block_size = _BLOCK_BYTES
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
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
            fn_constructor_args=(self._files, "cuda" if self._gpus else "cpu"),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=self._size),
            num_cpus=1,
            num_gpus=self._gpus or None,
            max_restarts=-1,
            max_task_retries=_TRIES,
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
        yield RayEngine(size, pool.gpus, words, bundle, source, column, at_once)


@dataclass(frozen=True, slots=True)
class _Shared:
    """A reference that is followed where it is needed, also by a process that was started again."""

    reference: Any = field(repr=False)


class _Worker(StudentWorker):
    def __init__(self, files: _Shared, device: str) -> None:
        import ray

        super().__init__(ray.get(files.reference), device)


def _taken(answers: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    from ray.exceptions import RayError

    try:
        return next(answers, None)
    except RayError as error:
        raise LostCluster(
            f"the Ray cluster did not finish: {words_of(error)}; what was answered is kept, and "
            "the same command goes on"
        ) from error


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
