"""Locust's LoadTestShape for both loops: how many users there are, and when the test ends."""

from __future__ import annotations

import time

import numpy as np
from locust import LoadTestShape

from loadtests.users.run import users_wanted


class ScheduleShape(LoadTestShape):  # type: ignore[misc]  # locust is untyped
    """As many users as requests may be in flight; the test ends with the schedule.

    The rate and how it moves (`--shape` steady, step, spike, square, ramp, diurnal, stages; a
    `--trace`) are the schedule's: a shape of users could not move an open loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._over_at: float | None = None

    def reset_time(self) -> None:
        """Begin anew: the web UI starts one test after the other."""
        super().reset_time()
        self._over_at = None

    def tick(self) -> tuple[int, float] | None:
        """Return the users; None when the test is over and Locust's files have its last second."""
        environment = self.runner.environment
        run = environment.open_loop_run
        if run is None:  # Locust asks for the users before it says that the test starts
            users = users_wanted(environment)
            return users, float(users)
        if run.is_over and self._over_at is None:
            self._over_at = time.monotonic()
        if self._over_at is not None and time.monotonic() - self._over_at >= run.settle_s:
            return None
        return run.users, float(run.users)


class ClosedLoopShape(LoadTestShape):  # type: ignore[misc]
    """`--users` times the factor of `--shape`: what a closed loop makes of the same curve."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Return the users of this second; None when `--duration-s` has passed."""
        environment = self.runner.environment
        (spec, _), at_s = environment.open_loop_schedule, self.get_run_time()
        if at_s > spec.duration_s:
            return None
        factor = float(np.interp(at_s, *spec.shape.points(spec.duration_s)))
        users = max(1, round((environment.parsed_options.num_users or 1) * factor))
        return users, float(users)
