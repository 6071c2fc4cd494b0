"""A locustfile of one's own: weights, tags and a task that does more than one request.

    locust -f examples/loadtests/locustfile.py --host http://127.0.0.1:8080 --inputs data.csv \
        --rate 100 --duration-s 60 --headless --csv run --html run.html

All that Locust knows works: its web UI, --processes, --master and --worker, --csv, --html, events.
`response_time` counts from the instant at which the schedule wanted the request sent.
"""

from locust import events, tag, task

from loadtests.users import OpenLoopUser, ScheduleShape

unsure = 0


class Triage(OpenLoopUser):
    """Nine of ten requests are single messages, one is an application's chat completion."""

    @tag("classify")
    @task(9)
    def message(self) -> None:
        """One message; low confidence is counted beside Locust's own figures."""
        global unsure
        outcome = self.ask("classify", name="a message")
        if outcome.confidence is not None and outcome.confidence < 0.5:
            unsure += 1

    @tag("chat")
    @task(1)
    def ticket(self) -> None:
        """What the help desk's application sends."""
        self.ask("chat", name="a ticket")


class Schedule(ScheduleShape):
    """Ends with the schedule; --shape step --factor 5 moves the rate."""


@events.quitting.add_listener
def tell(**_: object) -> None:
    """Say what was counted here."""
    print(f"{unsure} answers were unsure")
