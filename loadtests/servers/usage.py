"""What the server under test uses while it is tested: CPU, memory, descriptors, GPU.

Read from the operating system, so that watching costs the server nothing. It works for a server
on this machine; of another one nothing is known.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

SAMPLE_S = 1.0


class ServerUsage(BaseModel):
    """The server's processes together, at one moment."""

    model_config = ConfigDict(frozen=True)

    at_s: float
    """From the start of the measured window; the warm-up is negative."""
    cpu: float
    """Cores in use since the sample before."""
    rss_mb: float
    descriptors: int
    gpu: float | None = None
    """Share of the time that a kernel ran on the first GPU, as nvidia-smi says."""


@dataclass(frozen=True, slots=True)
class _Reading:
    instant: float
    cpu_s: float
    rss_mb: float
    descriptors: int
    gpu: float | None


class ServerWatch:
    """Samples a server once a second, from `with` to its end."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        # Behind a Unix socket nothing says which processes serve it.
        self._port = 0 if parts.scheme == "unix" else parts.port or 80
        if parts.scheme == "https" and parts.port is None:
            self._port = 443
        self._readings: list[_Reading] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._gpu = shutil.which("nvidia-smi")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def usage(self, start: float) -> tuple[ServerUsage, ...]:
        """Return the samples; `start` is the monotonic instant of the measured window."""
        return tuple(
            ServerUsage(
                at_s=round(b.instant - start, 3),
                cpu=max(0.0, (b.cpu_s - a.cpu_s) / (b.instant - a.instant)),
                rss_mb=b.rss_mb,
                descriptors=b.descriptors,
                gpu=b.gpu,
            )
            for a, b in zip(self._readings[:-1], self._readings[1:], strict=True)
        )

    def _run(self) -> None:
        processes = listeners(self._port)
        while processes and not self._stop.is_set():
            reading = _read(processes, self._gpu_share())
            if reading is None:
                return
            self._readings.append(reading)
            self._stop.wait(SAMPLE_S)

    def _gpu_share(self) -> float | None:
        if self._gpu is None:
            return None
        asked = [
            self._gpu,
            "--query-gpu=utilization.gpu",
            "--format=csv,noheader,nounits",
            "-i",
            "0",
        ]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
        try:
            return float(done.stdout.strip()) / 100
        except ValueError:
            return None


def listeners(port: int) -> list[Any]:
    """Return the psutil processes of this user that listen on a port, with their children."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            found += [process, *process.children(recursive=True)]
    return list({process.pid: process for process in found}.values())


def _read(processes: Sequence[Any], gpu: float | None) -> _Reading | None:
    """Add up what is left of the processes; None when the first of them is gone."""
    import psutil

    cpu_s, rss, descriptors = 0.0, 0, 0
    for position, process in enumerate(processes):
        try:
            with process.oneshot():
                times = process.cpu_times()
                cpu_s += times.user + times.system
                rss += process.memory_info().rss
                descriptors += process.num_fds()
        except psutil.Error:
            if position == 0:
                return None
    return _Reading(time.monotonic(), cpu_s, rss / 1e6, descriptors, gpu)
