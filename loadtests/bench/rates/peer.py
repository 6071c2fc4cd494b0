"""The peer: vLLM's router (Rust) in an environment of its own, in front of an instant mock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router.bench.process import Subject, command_subject, free_port, python_subject


@contextmanager
def peer_router(executable: Path, core: int, client_core: int) -> Iterator[Subject]:
    """Run the peer on `core`; its mock upstream shares the generator's core."""
    with python_subject("router.bench.servers.upstream", client_core) as upstream:
        port = free_port()
        command = [
            str(executable),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--worker-urls", f"http://127.0.0.1:{upstream.port}"),
            *("--policy", "round_robin", "--prometheus-port", str(free_port())),
            *("--log-level", "error"),
        ]
        with command_subject(command, core, port) as subject:
            yield subject
