"""What `locust -f` loads.

`raisehand loadtest` starts it; it also works by hand, with Locust's web UI:

    locust -f loadtests/locustfile.py --users 1 --host http://127.0.0.1:8080 --inputs data.csv
"""

from typing import Any

from locust import events

from loadtests.generator.users import OPTIONS, OpenLoopUser

__all__ = ["OpenLoopUser"]


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _ask(parser: Any) -> None:
    for name, words in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=words, default="")
