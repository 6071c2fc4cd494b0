"""Locust's LoadTestShape for both loops: how many users there are, and when the test ends."""

from __future__ import annotations

from locust import LoadTestShape

from loadtests.users.run import users_wanted


class ScheduleShape(LoadTestShape):  # type: ignore[misc]  # locust is untyped
    """As many users as requests may be in flight; the test ends with the schedule.

    The rate and how it moves (`--shape` steady, step, spike, square, ramp, diurnal, stages; a
    `--trace`) are the schedule's: a shape of users could not move an open loop.
    """

    def tick(self) -> tuple[int, float] | None:
        """Return the users; None when the test is over."""
        environment = self.runner.environment
        run = environment.open_loop_run
        if run is None:  # Locust asks for the users before it says that the test starts
            users = users_wanted(environment)
            return users, float(users)
        return None if run.is_over else (run.users, float(run.users))


class ClosedLoopShape(LoadTestShape):  # type: ignore[misc]
    """`--users` times the factor of `--shape`: what a closed loop makes of the same curve."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Return the users of this second; None when `--duration-s` has passed."""
        import numpy as np

        environment = self.runner.environment
        (spec, _), at_s = environment.open_loop_schedule, self.get_run_time()
        if at_s > spec.duration_s:
            return None
        factor = float(np.interp(at_s, *spec.shape.points(spec.duration_s)))
        users = max(1, round((environment.parsed_options.num_users or 1) * factor))
        return users, float(users)
