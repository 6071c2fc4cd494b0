"""How the parent and its Locust processes speak: files in one directory, each written at once.

plan.json           the spec, by the parent, before the workers start
ready-K             by worker K when it could send
start               the monotonic instant of the measured window, by the parent
progress-K.json     twice a second
tally-K.jsonl       what worker K counted, a line for each interval, so that a death costs one
samples-K.jsonl     when samples are wanted
stop                by the parent, when the test ends before its time
done-K              by worker K when all it knows is written
"""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from costmodel.errors import CostModelError
from loadtests.errors import LoadTestsError
from loadtests.generator.schedule import Schedule, lay_out
from loadtests.generator.tallies import Tally
from loadtests.inputs.difficulty import mix
from loadtests.inputs.rows import rows_of
from loadtests.inputs.spec import LoadSpec

DIRECTORY_VARIABLE = "RAISEHAND_LOADTEST_DIRECTORY"
WORKER_VARIABLE = "RAISEHAND_LOADTEST_WORKER"
PARENT_VARIABLE = "RAISEHAND_LOADTEST_PARENT"


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """One worker's view of the directory."""

    directory: Path
    worker: int = 0

    def write_spec(self, spec: LoadSpec) -> None:
        """Say what is to be done."""
        self._write("plan.json", spec.model_dump_json())

    def read_spec(self) -> LoadSpec:
        """Return what is to be done."""
        return LoadSpec.model_validate_json((self.directory / "plan.json").read_bytes())

    def write_schedule(self, schedule: Schedule) -> None:
        """Say what is to be sent when."""
        with (self.directory / "schedule.npz").open("wb") as file:
            np.savez(file, offsets_s=schedule.offsets_s, rows=schedule.rows)

    def read_schedule(self, processes: int) -> Schedule:
        """Return what this worker is to send when."""
        with np.load(self.directory / "schedule.npz", allow_pickle=False) as arrays:
            return Schedule(arrays["offsets_s"], arrays["rows"]).share(self.worker, processes)

    def write_ready(self) -> None:
        """Say that this worker could send."""
        self._write(f"ready-{self.worker}", "")

    @property
    def is_ready(self) -> bool:
        """Whether this worker could send."""
        return (self.directory / f"ready-{self.worker}").exists()

    def write_start(self, instant: float) -> None:
        """Fix the instant (CLOCK_MONOTONIC, seconds) at which the measured window begins."""
        self._write("start", repr(instant))

    def read_start(self) -> float | None:
        """Return the instant of the measured window; None while it is not fixed."""
        path = self.directory / "start"
        return float(path.read_text()) if path.exists() else None

    def write_progress(self, **counts: int) -> None:
        """Say how far this worker is."""
        self._write(f"progress-{self.worker}.json", json.dumps(counts))

    def read_progress(self) -> dict[str, int]:
        """Return how far this worker is; empty before it has begun."""
        path = self.directory / f"progress-{self.worker}.json"
        content: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return content

    def write_part(self, tally: Tally) -> None:
        """Hand over what was counted since the last part.

        Raises:
            OSError: nothing of it was written.
        """
        line = msgspec.json.encode(tally.dump()) + b"\n"
        with self._tallies.open("ab", buffering=0) as file:
            before = file.tell()
            if file.write(line) < len(line):
                file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read_tally(self, interval_s: float) -> Tally:
        """Return all that this worker handed over; a line that it was killed in is left out."""
        tally = Tally(interval_s)
        if self._tallies.exists():
            for line in self._tallies.read_bytes().split(b"\n")[:-1]:
                tally.add(Tally.load(msgspec.json.decode(line)))
        return tally

    def write_stop(self) -> None:
        """Ask every worker to stop sending and to hand over what it has."""
        self._write("stop", "")

    @property
    def is_stopped(self) -> bool:
        """Whether the test is to end before its time."""
        return (self.directory / "stop").exists()

    def write_done(self) -> None:
        """Say that this worker handed over everything."""
        self._write(f"done-{self.worker}", "")

    @property
    def is_done(self) -> bool:
        """Whether this worker handed over everything."""
        return (self.directory / f"done-{self.worker}").exists()

    @property
    def samples(self) -> Path:
        """Where this worker writes its samples."""
        return self.directory / f"samples-{self.worker}.jsonl"

    def read_samples(self) -> str:
        """Return what this worker wrote of them."""
        return self.samples.read_text(encoding="utf-8") if self.samples.exists() else ""

    @property
    def _tallies(self) -> Path:
        return self.directory / f"tally-{self.worker}.jsonl"

    def _write(self, name: str, content: str) -> None:
        temporary = self.directory / f".{name}.{self.worker}"
        temporary.write_text(content)
        temporary.rename(self.directory / name)


def main(directory: str) -> None:
    """Write the schedule of the spec in a directory: `python -m loadtests.generator.plan DIR`.

    Its inputs are those that `hard_share` asks for. Exit code 2, and why on stdout: there is none.
    """
    plan = WorkerPlan(Path(directory))
    spec = plan.read_spec()
    rows = rows_of(spec)
    try:
        schedule = lay_out(spec, rows)
        plan.write_schedule(replace(schedule, rows=mix(spec, rows, schedule.rows).rows))
    except (LoadTestsError, CostModelError) as error:
        sys.stdout.write(str(error))
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1])
