"""What a locustfile imports: an open-loop user, tasks of a router, shapes; import it to join in."""

from loadtests.users import wiring
from loadtests.users.closed_loop import ClosedLoopUser
from loadtests.users.open_loop import OpenLoopUser, RouterUser, on_schedule
from loadtests.users.shapes import ClosedLoopShape, ScheduleShape

wiring.connect()

__all__ = [
    "ClosedLoopShape",
    "ClosedLoopUser",
    "OpenLoopUser",
    "RouterUser",
    "ScheduleShape",
    "on_schedule",
]
