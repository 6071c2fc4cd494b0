"""NVIDIA's Switchyard passing every request on to one upstream: its own server, in this process.

Runs from the peers' environment, which has no raisehand in it; a file of its own therefore.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

ROUTES = """
schema_version = 1

[llm_clients.upstream]
format = "openai_chat"
base_url = "{upstream}/v1"
api_key_env = "SWITCHYARD_UPSTREAM_KEY"

[targets.teacher]
id = "teacher"
llm_client = "upstream"

[routes.all]
id = "raisehand"
type = "passthrough"
target = "teacher"
"""


def main(upstream: str, port: int) -> None:
    """Serve until told to stop."""
    os.environ.setdefault("SWITCHYARD_UPSTREAM_KEY", "none")
    os.environ.setdefault("RUST_LOG", "error")  # it logs two lines a request by default
    from switchyard_rust.server import Server

    with tempfile.TemporaryDirectory() as folder:
        routes = Path(folder) / "routes.toml"
        routes.write_text(ROUTES.format(upstream=upstream))
        with Server(str(routes), port):
            signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(sys.argv[1], int(sys.argv[2]))
