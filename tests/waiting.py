"""Waiting for what comes by itself, on however busy a machine."""

import asyncio
import time

import aiohttp

PATIENCE_S = 300.0
"""Ends a test that waits for what never comes. It says nothing of speed: who does names a time."""


def until(look, every_s=0.05):
    """What `look()` returns once that is true; whom it asks may not be there yet."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            seen = look()
        except OSError as error:
            seen, said = None, repr(error)
        else:
            said = repr(seen)
        if seen:
            return seen
        assert time.monotonic() < give_up_at, said
        time.sleep(every_s)


async def until_seen(look, every_s=0.05):
    """What `await look()` returns once that is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not (seen := await look()):
            await asyncio.sleep(every_s)
    return seen


async def until_equal(read, wanted, within_s=PATIENCE_S):
    """Wait until `await read()` is what is wanted; seconds that took. A server may be away."""
    began = time.monotonic()
    seen = None
    while time.monotonic() < began + within_s:
        try:
            seen = await read()
        except aiohttp.ClientError as error:
            seen = error
        if seen == wanted:
            return time.monotonic() - began
        await asyncio.sleep(0.02)
    raise AssertionError(f"{seen!r} instead of {wanted!r} after {within_s:.0f} s")
