"""What `locust -f` loads; `raisehand loadtest` starts it, and it works by hand.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8080 --inputs data.csv --rate 100
    locust -f … --headless --processes 4      one schedule, shared
    locust -f … --tags classify --tags chat   a mix by the tasks' weights

The rate is the rate in total, however many processes or machines there are. Extend it as any
locustfile: subclass OpenLoopUser, write tasks, send with `self.ask`.
"""

from loadtests.users import RouterUser, ScheduleShape

__all__ = ["Router", "RouterSchedule"]


class Router(RouterUser):
    """A user of a router."""


class RouterSchedule(ScheduleShape):
    """The test ends with its schedule."""
