"""How the parent and its Locust processes speak: files in one directory, each written at once.

plan.json           the spec, by the parent, before the workers start
ready-K             by worker K when it could send
start               the monotonic instant of the measured window, by the parent
progress-K.json     twice a second
result-K.json       the worker's tally, at the end
samples-K.jsonl     when samples are wanted
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.generator.schedule import Schedule, lay_out
from loadtests.generator.tallies import Tally
from loadtests.inputs.rows import rows_of
from loadtests.inputs.spec import LoadSpec

DIRECTORY_VARIABLE = "RAISEHAND_LOADTEST_DIRECTORY"
WORKER_VARIABLE = "RAISEHAND_LOADTEST_WORKER"


@dataclass(frozen=True, slots=True)
class Plan:
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

    def write_result(self, tally: Tally) -> None:
        """Hand over the worker's tally."""
        self._write(f"result-{self.worker}.json", json.dumps(tally.dump()))

    def read_result(self) -> Tally | None:
        """Return the worker's tally; None when it left none."""
        path = self.directory / f"result-{self.worker}.json"
        if not path.exists():
            return None
        content: dict[str, Any] = json.loads(path.read_text())
        return Tally.load(content)

    @property
    def samples(self) -> Path:
        """Where this worker writes its samples."""
        return self.directory / f"samples-{self.worker}.jsonl"

    def _write(self, name: str, content: str) -> None:
        temporary = self.directory / f".{name}.{self.worker}"
        temporary.write_text(content)
        temporary.rename(self.directory / name)


def main(directory: str) -> None:
    """Write the schedule of the spec in a directory: `python -m loadtests.generator.plan DIR`."""
    plan = Plan(Path(directory))
    spec = plan.read_spec()
    plan.write_schedule(lay_out(spec, rows_of(spec)))


if __name__ == "__main__":
    main(sys.argv[1])
