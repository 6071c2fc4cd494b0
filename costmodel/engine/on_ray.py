"""Scenarios on a Ray cluster: each is played whole by one of its processes, as here by a thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from costmodel.engine.result import Result
from costmodel.engine.run import Progress, simulate_all
from costmodel.errors import CostModelError
from costmodel.inputs.scenario import Scenario
from costmodel.ray_cluster import joined_cluster, require_version, version_here

_TRIES = 5
"""Of a scenario whose process dies with it."""


class RayScenarios:
    """Simulates on the cluster that was joined."""

    def __init__(self) -> None:
        import ray

        self._play = ray.remote(num_cpus=1, max_retries=_TRIES)(_play)

    def simulate_all(
        self, scenarios: Sequence[Scenario], seed: int, progress: Progress | None = None
    ) -> list[Result]:
        """Run several scenarios with one seed, as many at a time as the cluster has CPUs.

        Raises:
            BadScenario: one of them cannot be simulated.
            LostCluster: another version of this program is installed there.
        """
        import ray

        running = [self._play.remote(one, seed, version_here()) for one in scenarios]
        place = {reference: i for i, reference in enumerate(running)}
        found: dict[int, Result] = {}
        played = 0
        while running:
            [ended], running = ray.wait(running, num_returns=1)
            result = ray.get(ended)
            if not isinstance(result, Result):
                raise result
            found[place[ended]] = result
            played += result.counts["requests"]
            if progress is not None:
                progress(played)
        return [found[i] for i in range(len(scenarios))]


@contextmanager
def ray_scenarios() -> Iterator[RayScenarios]:
    """Join the cluster, and simulate there within the block.

    Raises:
        NotInstalled, LostCluster: there is no Ray, or no cluster.
    """
    with joined_cluster():
        yield RayScenarios()


def _play(scenario: Scenario, seed: int, version: str) -> Result | Exception:
    """Play one scenario; what is wrong with it is returned, without a trace of that process."""
    try:
        require_version(version)
        [result] = simulate_all([scenario], seed, workers=1)
    except CostModelError as error:
        return error
    return result
