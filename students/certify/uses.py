"""How often the same calibration rows were looked at: certificates.jsonl in the work_dir.

Every look at the rows with another student or another promise is another chance to be lucky, a
refusal no less than a certificate, so it is written down before it happens. The same student under
the same promise is the same look: it gives the same answer and costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from costmodel.money.pricing import now
from students.errors import BadInputs
from students.task import PromiseSection

USES_FILE = "certificates.jsonl"


class Use(BaseModel):
    """One look at the calibration rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration_sha256: str
    artefact_sha256: str
    promise: PromiseSection
    use: int = Field(ge=1)
    date: str


def take_use(
    path: Path,
    calibration_sha256: str,
    artefact_sha256: str,
    promise: PromiseSection,
    clock: Callable[[], datetime] = now,
) -> int:
    """Return which use of these rows this is, 1 for the first, and write it down.

    Raises:
        BadInputs: the file cannot be read or written; without it delta cannot be accounted for.
    """
    earlier = [one for one in read_uses(path) if one.calibration_sha256 == calibration_sha256]
    for one in earlier:
        if one.artefact_sha256 == artefact_sha256 and one.promise == promise:
            return one.use
    use = Use(
        calibration_sha256=calibration_sha256,
        artefact_sha256=artefact_sha256,
        promise=promise,
        use=max((one.use for one in earlier), default=0) + 1,
        date=clock().isoformat(timespec="seconds"),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(use.model_dump_json() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise BadInputs(f"{path} cannot be written: {error.strerror}") from None
    return use.use


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
