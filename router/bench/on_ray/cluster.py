"""A Ray Serve of one's own on this machine, as `serve run` starts it: for bench and tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.processes import free_port, running

if TYPE_CHECKING:
    from router.student.connections import ServeAddress
    from students.runtime.bundle import Bundle

ROUTE = "/students"
START_S = 300.0
_PROXY_START_S = "60"
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A cluster of its own: without the address it would join another that runs here.
    "RAY_ADDRESS": "local",
    # Ray lets everybody else go first, so that replicas starve on a busy machine, and a comparison
    # with servers of usual priority is none.
    "RAY_worker_niceness": "0",
    # Serve kills a proxy that was not ready after 5 s, and its start fails with it: a busy machine
    # takes longer.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": _PROXY_START_S,
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": _PROXY_START_S,
}


@contextmanager
def ray_serve_of(
    bundle: Bundle, replicas: int, into: Path, ha_proxy: bool = False
) -> Iterator[tuple[ServeAddress, subprocess.Popen[bytes]]]:
    """Serve a bundle on a cluster that ends with the context: where it answers, and its process.

    Args:
        bundle: what is served, in the `bundles` of a work_dir.
        replicas: how many hold it, half a core each.
        into: an existing folder for the configuration and the log.
        ha_proxy: whether HAProxy stands before the replicas instead of Serve's own proxy.

    Raises:
        NotStarted: it ended at its start, or no replica answered in time.
    """
    from router.student.connections import ServeAddress

    address = ServeAddress("127.0.0.1", free_port(), ROUTE)
    app = {
        "name": "students", "route_prefix": ROUTE,
        "import_path": "router.process.on_ray.app:students",
        "args": {
            "work_dir": str(bundle.path.parents[1]), "bundles": [bundle.id],
            "replicas": replicas, "cpus": 0.5,
        },
    }  # fmt: skip
    http = {"host": address.host, "port": address.port}
    config = into / "students.yaml"
    # JSON is YAML.
    config.write_text(json.dumps({"http_options": http, "applications": [app]}), encoding="utf-8")
    environment = _ENVIRONMENT | ({"RAY_SERVE_ENABLE_HA_PROXY": "1"} if ha_proxy else {})
    command = [sys.executable, "-m", "ray.serve.scripts", "run", str(config)]
    ready = partial(_answers, address)
    log = into / "serve.log"
    with running(command, ready, log, timeout_s=START_S, variables=environment) as process:
        yield address, process


def _answers(address: ServeAddress) -> bool:
    try:
        asked = HTTPConnection(address.host, address.port, timeout=5)
        asked.request("POST", f"{address.route}/none", b"no message")
        return asked.getresponse().status == 400  # it refuses what is no message
    except (OSError, HTTPException):
        return False
