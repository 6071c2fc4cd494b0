"""Locust users that send on a schedule, whatever the target does.

Locust's own pacing is a closed loop: a user that waits for a slow answer does not send, and the
requests it did not send are in no statistic. Here users wait for their turn on a schedule that is
fixed in advance, so `wait_time` is the schedule; there are as many users as requests may be in
flight. Every request fires Locust's `request` event with its latency from the scheduled instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gevent.queue import SimpleQueue
from locust import User, tag, task

from loadtests.generator.session import ScheduledArrival
from loadtests.generator.tallies import RequestOutcome
from loadtests.inputs.spec import Surface
from loadtests.inputs.surface import PATHS
from loadtests.users.run import LoadRun


def on_schedule(user: OpenLoopUser) -> float:
    """Wait for the user's next turn: a wait strategy like Locust's `constant_pacing`."""
    user.take_turn()
    return 0.0


class OpenLoopUser(User):  # type: ignore[misc]  # locust is untyped
    """Base of users that send when the schedule says.

    Write tasks as for any Locust user, and send with `ask`.
    """

    abstract = True
    wait_time = on_schedule

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._turns: SimpleQueue[ScheduledArrival] = SimpleQueue()

    def on_start(self) -> None:
        """Wait for the first turn: Locust runs a task before it waits."""
        self.take_turn()

    def take_turn(self) -> None:
        """Wait until the schedule has a request for this user."""
        self.run_of_test = LoadRun.of(self.environment)
        self.arrival: ScheduledArrival = self.run_of_test.session.next_turn(self._turns)

    def ask(self, surface: Surface, name: str | None = None) -> RequestOutcome:
        """Send the request that is due; it fires the `request` event.

        `name` is what Locust's statistics call it; by default the path and the route that answered.
        """
        outcome = self.run_of_test.session.ask(surface, self.arrival)
        fire(self.environment, surface, outcome, name, self.context())
        return outcome


class RequestFailed(Exception):
    """What Locust's failure statistics show: timeout, connection, http_429, garbled, dropped."""


NO_CONTEXT: Mapping[str, object] = {}


def fire(
    environment: Any,
    surface: Surface,
    outcome: RequestOutcome,
    name: str | None = None,
    context: Mapping[str, object] = NO_CONTEXT,
) -> None:
    """Fire Locust's `request` event, but for the warm-up's."""
    if outcome.offset_s >= 0:
        environment.events.request.fire(
            request_type="POST",
            name=name or f"{PATHS[surface]} {outcome.route}",
            response_time=1000.0 * outcome.latency_s,
            response_length=outcome.body_bytes,
            exception=RequestFailed(outcome.failure) if outcome.failure else None,
            context=context,
        )


class RouterUser(OpenLoopUser):
    """A router's surfaces: all to `--surface`, or with `--tags` a mix by the tasks' weights."""

    abstract = True

    def ask_in_mix(self, surface: Surface) -> None:
        """Send to the task's surface where `--tags` chose a mix, else to `--surface`."""
        options = self.environment.parsed_options
        mixed = bool(getattr(options, "tags", None) or getattr(options, "exclude_tags", None))
        self.ask(surface if mixed else self.run_of_test.spec.surface)

    @tag("classify")  # type: ignore[untyped-decorator]
    @task(10)  # type: ignore[untyped-decorator]
    def classify(self) -> None:
        """One text on the native surface."""
        self.ask_in_mix("classify")

    @tag("chat")  # type: ignore[untyped-decorator]
    @task(4)  # type: ignore[untyped-decorator]
    def chat(self) -> None:
        """A chat completion as an application sends it."""
        self.ask_in_mix("chat")

    @tag("chat-stream")  # type: ignore[untyped-decorator]
    @task(2)  # type: ignore[untyped-decorator]
    def chat_stream(self) -> None:
        """The same, streamed."""
        self.ask_in_mix("chat-stream")

    @tag("decisions", "systemone")  # type: ignore[untyped-decorator]
    @task(2)  # type: ignore[untyped-decorator]
    def decisions(self) -> None:
        """A choice among the task's labels."""
        self.ask_in_mix("systemone")

    @tag("batch")  # type: ignore[untyped-decorator]
    @task(1)  # type: ignore[untyped-decorator]
    def batch(self) -> None:
        """Sixteen texts in one request."""
        self.ask_in_mix("batch")
