"""/metrics of several workers in one answer: every series of every worker, with a `worker` label.

Series are not added up: after a worker was restarted its counters begin again at 0, and only a
series of its own lets Prometheus see that as a restart; `sum by (route) (rate(…))` then is right.
No files are shared (the client library's multiprocess mode keeps one for each process ever
started): each worker answers the others over a Unix socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from router.worker_share import Share

READ_S = 1.0
"""A worker that does not answer within this is shown as down."""


class Exposition:
    """What /metrics answers: this process alone, or with the other workers of its share."""

    def __init__(self, registry: CollectorRegistry, share: Share | None = None) -> None:
        self._registry = registry
        self._share = share
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer the other workers."""
        if self._share is not None:
            path = self._share.socket()
            path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._tell, path)

    async def stop(self) -> None:
        """Stop answering them."""
        if self._server is not None and self._share is not None:
            self._server.close()
            self._share.socket().unlink(missing_ok=True)

    async def read(self) -> bytes:
        """Return the exposition in Prometheus's text format."""
        own = generate_latest(self._registry)
        share = self._share
        if share is None:
            return own
        others = [index for index in range(share.count) if index != share.index]
        texts: dict[int, str | None] = {share.index: own.decode()}
        texts |= zip(others, await asyncio.gather(*map(self._ask, others)), strict=True)
        merged = CollectorRegistry(auto_describe=False)
        merged.register(_Merged(texts))
        return generate_latest(merged)

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(generate_latest(self._registry))
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def _ask(self, index: int) -> str | None:
        assert self._share is not None
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(READ_S):
                path = self._share.socket(index)
                reader, writer = await asyncio.open_unix_connection(path, limit=2**26)
                try:
                    return (await reader.read()).decode()
                finally:
                    writer.close()
        return None


class _Merged(Collector):
    """The families of several expositions, each sample with its worker's label."""

    def __init__(self, texts: Mapping[int, str | None]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("raisehand_worker_up", "Whether it answers.", labels=("worker",))
        families: dict[str, Metric] = {}
        for index, text in sorted(self._texts.items()):
            up.add_metric((str(index),), text is not None)
            for family in text_string_to_metric_families(text or ""):
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = sample.labels | {"worker": str(index)}
                    merged.add_sample(sample.name, labels, sample.value)
        yield up
        yield from families.values()
