"""Start the demo's two processes, wait until they answer, and stop them by their own ids."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from costmodel.processes import NotStarted, free_port
from costmodel.processes import running as started

__all__ = ["ServerError", "free_port", "running"]


class ServerError(Exception):
    """A process of the demo did not come up; the message names its log."""

    exit_code = 2


@contextmanager
def running(
    arguments: Sequence[str],
    *,
    ready_url: str,
    log: Path,
    timeout_s: float = 120,
    cores: Collection[int] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `raisehand ARGUMENTS` until the block ends; enter the block when it answers 200.

    It keeps to `cores`, or to any, and has `variables` in its environment beside this one's.

    Raises:
        ServerError: it exited or did not answer in time.
    """
    try:
        with started(
            # As `raisehand` does, also where it is only on the path and not installed.
            [sys.executable, "-c", "from router.cli import run; run()", *arguments],
            ready_url,
            log,
            timeout_s=timeout_s,
            cores=cores,
            variables=variables,
        ) as process:
            yield process
    except NotStarted as error:
        raise ServerError(str(error)) from None
