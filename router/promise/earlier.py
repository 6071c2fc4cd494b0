"""What releases before the shared store kept of audits: one file for each worker and bundle."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from router.errors import BadSettings
from router.promise.monitor import Evidence
from router.promise.watch import PromiseJudge
from router.shared.records import Judge

AUDITS = "audits"
"""Their folder in the work_dir."""
TAKEN = ".taken"
"""What is put behind the name of a file whose evidence is in the store."""


@contextmanager
def taking_over(work_dir: Path, bundle: str) -> Iterator[Callable[[Judge], None] | None]:
    """Give what joins earlier evidence of a bundle to its judge; the files are done with after it.

    None where there is none. One process at a time: nothing is joined twice.

    Raises:
        BadSettings: evidence cannot be read, so that an alarm may be forgotten.
    """
    folder = work_dir / AUDITS
    if not folder.is_dir():
        yield None
        return
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = sorted(folder.rglob(f"{bundle}.json"))
        found = [_read(path) for path in files]

        def join(judge: Judge) -> None:
            assert isinstance(judge, PromiseJudge)
            for evidence in found:
                judge.ladder.take_over(evidence)

        yield join if found else None
        for path in files:
            path.rename(path.with_name(path.name + TAKEN))


def _read(path: Path) -> Evidence:
    try:
        return Evidence.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BadSettings(
            f"{path} cannot be read ({type(error).__name__}), so an alarm may be forgotten; "
            "restore it, or distil a bundle on fresh labels"
        ) from None
