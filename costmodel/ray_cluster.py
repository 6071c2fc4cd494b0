"""A Ray cluster to work on: that of RAY_ADDRESS, or one of this machine's cores.

What is done there, in which order and what of it is kept is decided here; Ray places it, moves
results and starts processes again that died.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version

from costmodel.errors import LostCluster
from costmodel.extras import require

ADDRESS = "RAY_ADDRESS"
_PRODUCT = "raisehand"
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Nothing is reported to Ray's makers, and its C++ does not write between our lines."""
_OWN_STORE_BYTES = 1 << 30
"""Of shared memory for what is on its way, at most; Ray would take a third of the machine's."""


@dataclass(frozen=True, slots=True)
class RayCluster:
    """What there is to work with: CPUs and GPUs as Ray counts them, on so many machines."""

    cpus: int
    gpus: float
    nodes: int

    @property
    def words(self) -> str:
        """For people."""
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        return f"{self.nodes} node{'s' * (self.nodes != 1)}, {self.cpus} CPUs{gpus}"


@contextmanager
def joined_cluster() -> Iterator[RayCluster]:
    """Be a driver of the cluster within the block.

    A cluster of our own has one CPU more than the machine, for those who read and wait. Standard
    output is standard error meanwhile: Ray prints there whatever befalls a machine of the cluster,
    and results must stay alone.

    Raises:
        NotInstalled: Ray is not.
        LostCluster: nobody answers at RAY_ADDRESS, or with another version of Ray or Python.
    """
    require("ray")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    with redirect_stdout(sys.stderr):
        _join()
        try:
            yield cluster_now()
        except ray.exceptions.RayError as error:
            raise LostCluster(f"the Ray cluster did not finish: {words_of(error)}") from error
        finally:
            ray.shutdown()


def join_again() -> None:
    """Leave the joined cluster, with all that was begun and held there, and be a new driver.

    It is the one sure way to have every process of unfinished work end: references to what one
    has answered keep it alive. Nothing that refers to the cluster may be used any more.

    Raises:
        LostCluster: as of `joined_cluster`.
    """
    import ray

    ray.shutdown()
    _join()


def _join() -> None:
    import ray

    address = os.environ.get(ADDRESS) or "local"
    if address.startswith("ray://"):
        raise LostCluster(
            f"{ADDRESS} is {address}, a client's address, and work is driven from inside a "
            "cluster: run this on one of its machines with the address HOST:6379 or auto, or "
            "hand it in with `ray job submit`"
        )
    own = {
        "num_cpus": len(os.sched_getaffinity(0)) + 1,
        "object_store_memory": _OWN_STORE_BYTES,
        "include_dashboard": False,
    }
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(own if address == "local" else {}),
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise LostCluster(f"no Ray cluster at {address}: {words_of(error)}") from None


def cluster_now() -> RayCluster:
    """Return what the joined cluster has at this moment: machines come and are lost."""
    import ray

    found = ray.cluster_resources()
    return RayCluster(int(found.get("CPU", 0)), found.get("GPU", 0.0), len(machines_now()))


def machines_now() -> frozenset[str]:
    """Return Ray's names of the machines that are alive in the joined cluster."""
    import ray

    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])


def version_here() -> str:
    """Return this program's version, to be asked for where work is done."""
    return version(_PRODUCT)


def require_version(wanted: str) -> None:
    """Check, where work is done, that it is done by the same program.

    Raises:
        LostCluster: another version is installed on this machine.
    """
    found = version_here()
    if found != wanted:
        raise LostCluster(
            f"{socket.gethostname()} has {_PRODUCT} {found}, and the work comes from {wanted}; "
            "install the same on every machine of the cluster"
        )


def words_of(error: BaseException) -> str:
    """Return the last line that an error says: before it stand traces of other processes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
