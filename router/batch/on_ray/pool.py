"""How many students work on a cluster, and with what."""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.errors import LostCluster
from costmodel.ray_cluster import RayCluster
from router.errors import BadSettings


@dataclass(frozen=True, slots=True)
class RayPool:
    """Students that are asked for: how many (None: one a CPU), with what part of a GPU each."""

    students: int | None = None
    gpus: float = 0.0

    def fitting(self, cluster: RayCluster) -> int:
        """How many there will be: beside them, somebody must be able to read, or nothing moves.

        Raises:
            BadSettings: there is no room for so many.
        """
        most = self._most(cluster)
        wanted = self.students or max(most, 1)
        if wanted > most:
            each = f" and {self.gpus:g} GPU" if self.gpus else ""
            raise BadSettings(
                f"the Ray cluster has {cluster.words}; a student takes 1 CPU{each}, and reading "
                f"1 CPU: there is room for {max(most, 0)} students, and {wanted} were asked for"
            )
        return wanted

    def left(self, cluster: RayCluster) -> int:
        """How many there are when machines were lost: those asked for, or as many as fit.

        Raises:
            LostCluster: there is room for none.
        """
        most = self._most(cluster)
        if most < 1:
            raise LostCluster(
                f"the Ray cluster lost its machines and has {cluster.words} left: no room for a "
                "student and a reader; what was answered is kept, and the same command goes on"
            )
        return min(self.students or most, most)

    def _most(self, cluster: RayCluster) -> int:
        most = cluster.cpus - 1
        return min(most, int(cluster.gpus / self.gpus)) if self.gpus else most


def pool_of(
    engine: str, *, threads: int | None, students: int | None, gpus: float | None
) -> RayPool | None:
    """Return the pool that options ask for; None for the engine of this process.

    Raises:
        BadSettings: an option of the other engine.
    """
    if engine == "ray":
        if threads is not None:
            raise BadSettings("--threads is of --engine local; on Ray give --students")
        return RayPool(students, gpus or 0.0)
    if students is not None or gpus is not None:
        raise BadSettings("--students and --gpus-per-student are of --engine ray")
    return None
