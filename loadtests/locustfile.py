"""What `locust -f` loads; `loadtests.run` starts it."""

from loadtests.users import OpenLoopUser

__all__ = ["OpenLoopUser"]
