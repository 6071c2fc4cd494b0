"""The application that Ray Serve runs: `serve run router.process.on_ray.app:students bundles=ID`.

Ray Serve places replicas, starts them again and shares the questions out; what a replica does is
in `replica`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from costmodel.extras import require
from costmodel.frozen import Frozen
from router.errors import BadSettings

_AT_ONCE = 64
"""Questions that a replica takes at a time: each worker of each router has one on the way, and
what comes together is one batch. Ray's own 5 would keep batches small."""
_QUEUED = 256
"""Questions that wait at each proxy; then it says no at once, and the router asks its teacher."""


class StudentApp(Frozen):
    """What is served, and on what: the application's arguments.

    Attributes:
        bundles: ids of the bundles whose students are served; several before a swap or for a
            canary.
        work_dir: folder on each machine that holds bundles, or takes those that are fetched.
        store: URL where bundles are fetched that are not there; `raisehand bundle push` puts them.
        device: `cpu` or `cuda`.
        replicas: there are always so many; with `max_replicas`, at least.
        cpus, gpus: of a replica; part of a GPU places several there, and isolates none.
    """

    bundles: tuple[str, ...] = Field(min_length=1)
    work_dir: Path = Path(".raisehand")
    store: str | None = None
    device: str = "cpu"
    replicas: int = Field(1, ge=1)
    max_replicas: int | None = None
    cpus: float = Field(1.0, gt=0)
    gpus: float = Field(0.0, ge=0)

    @field_validator("bundles", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        """Take them as the command line gives them, too: a,b."""
        return tuple(value.split(",")) if isinstance(value, str) else value


def students(arguments: Mapping[str, Any]) -> Any:
    """Build the application; Ray Serve calls this with the arguments of its command or config.

    Raises:
        BadSettings: an argument that is not one.
    """
    require("ray")
    from ray import serve

    from router.process.on_ray.replica import StudentReplica

    try:
        app = StudentApp.model_validate(dict(arguments))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadSettings(f"students on Ray Serve: {name}: {first['msg']}") from None
    scale: dict[str, Any] = {"num_replicas": app.replicas}
    if app.max_replicas is not None:
        most = max(app.max_replicas, app.replicas)
        scale = {"autoscaling_config": {"min_replicas": app.replicas, "max_replicas": most}}
    return serve.deployment(
        StudentReplica,
        name="students",
        ray_actor_options={"num_cpus": app.cpus, "num_gpus": app.gpus},
        max_ongoing_requests=_AT_ONCE,
        max_queued_requests=_QUEUED,
        logging_config={"enable_access_log": False},  # the router has its own
        health_check_period_s=2.0,
        health_check_timeout_s=30.0,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=30.0,
        max_constructor_retry_count=3,
        **scale,
    ).bind(list(app.bundles), str(app.work_dir), app.store, app.device)
