"""How often the same calibration rows were looked at: certificates.jsonl in the work_dir.

Every look at a row with another student or another promise is another chance to be lucky, a
refusal no less than a certificate, so it is written down before it happens. Looks are counted by
row: a pile that grew by one row is not fresh, nor is one whose descriptions or gold were edited.
The same student under the same promise on the same rows, copies as often, is the same look: it
gives the same answer and costs nothing.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from costmodel.frozen import Frozen
from costmodel.money.pricing import now
from students.errors import BadInputs
from students.sections import PromiseSection

USES_FILE = "certificates.jsonl"
Rows = npt.NDArray[np.uint64]


class Use(Frozen):
    """One look at calibration rows."""

    calibration_sha256: str
    artefact_sha256: str
    promise: PromiseSection
    use: int = Field(ge=1)
    date: str
    rows: str = ""
    """The distinct rows, 8 bytes each, in base64; empty where an older version did not keep them:
    such a look counts for every row."""

    def saw(self, rows: Rows) -> bool:
        """Whether it looked at any of these rows."""
        if not self.rows:
            return True
        mine = np.frombuffer(base64.b64decode(self.rows), np.uint64)
        return bool(np.isin(rows, mine).any())


def row_ids(texts: Sequence[str], answers: Sequence[str]) -> Rows:
    """Return the rows, sorted: what was asked and what the teacher said, nothing else."""
    rows = (f"{answer}\0{text}" for text, answer in zip(texts, answers, strict=True))
    digests = (
        hashlib.blake2b(row.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for row in rows
    )
    return np.sort(np.frombuffer(b"".join(digests), np.uint64))


def take_use(
    path: Path,
    rows: Rows,
    artefact_sha256: str,
    promise: PromiseSection,
    clock: Callable[[], datetime] = now,
) -> int:
    """Return which use of these rows this is, 1 for the first, and write it down.

    It is one more than the most looks that any of the rows has had. Two distillations at once get
    different uses: the file is locked.

    Raises:
        BadInputs: the file cannot be read or written; without it delta cannot be accounted for.
    """
    fingerprint = hashlib.sha256(rows.tobytes()).hexdigest()
    with _locked(path):
        uses = read_uses(path)
        for one in uses:
            same = one.calibration_sha256 == fingerprint and one.artefact_sha256 == artefact_sha256
            if same and one.promise == promise:
                return one.use
        use = Use(
            calibration_sha256=fingerprint,
            artefact_sha256=artefact_sha256,
            promise=promise,
            use=max((one.use for one in uses if one.saw(rows)), default=0) + 1,
            date=clock().isoformat(timespec="seconds"),
            rows=base64.b64encode(np.unique(rows).tobytes()).decode(),
        )
        try:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(use.model_dump_json() + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise BadInputs(f"{path} cannot be written: {error.strerror}") from None
    return use.use


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise BadInputs(f"{path} cannot be written: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        yield


def read_uses(path: Path) -> list[Use]:
    """Read all looks; none if there is no file yet.

    Raises:
        BadInputs: the file cannot be read or a line of it is not a use.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputs(f"{path} cannot be read: {error}") from None
    try:
        return [Use.model_validate_json(line) for line in lines if line.strip()]
    except ValidationError as error:
        raise BadInputs(
            f"{path} holds a line that is no certificate use ({error.errors()[0]['msg']}); restore "
            "the file, or label fresh calibration rows"
        ) from None
