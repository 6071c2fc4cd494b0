"""The board: one document for the page, made from all workers' pulses and what is in the files.

It is made while somebody looks, every other second, once for everybody who looks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Protocol

from router.errors import Unavailable
from router.process.board.pulse import Pulse

TICK_S = 2.0
log = logging.getLogger(__name__)


class BoardSource(Protocol):
    """Who knows what the workers do."""

    async def pulses(self) -> Sequence[Pulse | None]:
        """Return what each worker says now; None: it does not answer."""
        ...


class BoardMaker(Protocol):
    """Who puts the document together."""

    async def make(self, pulses: Sequence[Pulse | None]) -> bytes:
        """Return the document of what the workers say now.

        Raises:
            Unavailable: it cannot be made now.
        """
        ...

    def close(self) -> None:
        """Stop, whatever is being made."""
        ...


class Board:
    """Makes the document.

    Args:
        source: of the workers' figures.
        maker: of the document.
        tick_s: between two of them.
    """

    def __init__(self, source: BoardSource, maker: BoardMaker, tick_s: float = TICK_S) -> None:
        self._source = source
        self._maker = maker
        self._tick_s = tick_s
        self._document = b""
        self._version = 0
        self._made = asyncio.Condition()
        self._lookers = 0
        self._ticking: asyncio.Task[None] | None = None
        self._closed = False

    async def read(self) -> bytes:
        """Return the document as it is now.

        Raises:
            Unavailable: it cannot be made now.
        """
        return await self._maker.make(await self._source.pulses())

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield the document now and whenever there is a new one, until the board is closed."""
        self._lookers += 1
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        seen = 0
        try:
            while not self._closed:
                async with self._made:
                    while self._version == seen and not self._closed:
                        await self._made.wait()
                    seen, document = self._version, self._document
                if not self._closed:
                    yield document
        finally:
            self._lookers -= 1

    async def close(self) -> None:
        """End every stream: a server that stops waits for its connections."""
        self._closed = True
        self._maker.close()
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        async with self._made:
            self._made.notify_all()

    async def _tick(self) -> None:
        while self._lookers and not self._closed:
            try:
                document = await self.read()
            except Unavailable as fault:
                log.warning("the page stays as it is: %s", fault)
            else:
                async with self._made:
                    self._document, self._version = document, self._version + 1
                    self._made.notify_all()
            await asyncio.sleep(self._tick_s)
