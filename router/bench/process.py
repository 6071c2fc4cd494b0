"""Processes under measurement: started on one core, their CPU read from /proc, always stopped."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from costmodel.processes import free_port as free_port
from costmodel.processes import stop
from router.errors import BadSettings

START_S = 60.0


@dataclass(frozen=True)
class Subject:
    """A running server. `threads` maps thread names to native ids, as far as it told us."""

    pid: int
    port: int
    threads: Mapping[str, int]

    def cpu_seconds(self) -> dict[str, float]:
        """Return CPU seconds so far of each named thread, each companion, and the rest, `other`."""
        names = {native: name for name, native in self.threads.items()}
        used = dict.fromkeys([*self.threads, "other"], 0.0)
        for thread, seconds in _by_thread(self.pid).items():
            used[names.get(thread, "other")] += seconds
        for name, pid in self.companions().items():
            used[name] = used.get(name, 0.0) + sum(_by_thread(pid).values())
        return used

    def companions(self) -> dict[str, int]:
        """Return the processes that it has started, by the name that they gave themselves."""
        found = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(OSError):  # the thread ended meanwhile, or the child
                for child in (task / "children").read_text().split():
                    found[Path(f"/proc/{child}/comm").read_text().strip()] = int(child)
        return found

    def resident_mb(self) -> float:
        """Resident memory in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _by_thread(pid: int) -> dict[int, float]:
    """CPU seconds so far of the threads of a process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError, IndexError):  # the thread ended meanwhile
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


def family_seconds(pid: int) -> float:
    """Return CPU seconds so far of a process and its children, those that ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended = sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    living = 0
    for each in [str(pid), *children]:
        with suppress(OSError):  # it ended meanwhile
            living += int(Path(f"/proc/{each}/schedstat").read_text().split()[0])
    return ended + living / 1e9


@contextmanager
def python_subject(
    module: str, core: int, *arguments: str, tree: Path | None = None
) -> Iterator[Subject]:
    """Run `python -m module` on one core; it prints one JSON line with its port when it accepts.

    With `tree` the module and all it imports of this project are of that checkout.
    """
    command = ["taskset", "-c", str(core), sys.executable, "-m", module, *arguments]
    with _running(command, stdout=subprocess.PIPE, tree=tree) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise BadSettings(f"{module} did not start; run it by hand to see why")
        told = json.loads(line)
        yield Subject(process.pid, told["port"], told["threads"])


@contextmanager
def command_subject(
    command: Sequence[str], core: int, port: int, path: str = "/health"
) -> Iterator[Subject]:
    """Run a command on one core; it is ready when its port answers HTTP 200 on a path."""
    with _running(["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + START_S
        while not _healthy(port, path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BadSettings(f"{command[0]} did not start; run it by hand to see why")
            time.sleep(0.1)
        yield Subject(process.pid, port, {})


def take_client_core(core: int, client_core: int) -> None:
    """Bind this process to the load generator's core.

    Raises:
        BadSettings: the two are one, or this process may not use both.
    """
    cores = os.sched_getaffinity(0)
    if not {core, client_core} <= cores or core == client_core:
        raise BadSettings(f"two different cores are needed; this process may use {cores}")
    os.sched_setaffinity(0, {client_core})


@contextmanager
def _running(
    command: Sequence[str], stdout: int, tree: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RUST_LOG": "error"}
    if tree is not None:
        environment["PYTHONPATH"] = str(tree)
    # One that takes orders from its input has it open as long as this process lives, not as long
    # as whatever this process happened to be started with.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.DEVNULL, env=environment,
        bufsize=0, cwd=tree,
    )  # fmt: skip
    try:
        yield process
    finally:
        stop(process)


def _healthy(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            head = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            connection.sendall(head.encode())
            return b" 200 " in connection.recv(64)
    except OSError:
        return False
