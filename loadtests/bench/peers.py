"""`raisehand bench peers`: the same open-loop load on what others would run instead."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from costmodel.processes import NotStarted, free_port, running
from loadtests.errors import DeadTarget
from loadtests.servers.cores import own_cores

if TYPE_CHECKING:
    from loadtests.inputs.spec import LoadSpec
    from loadtests.servers.cores import Cores
    from loadtests.verdict.knee import Knee

SCRIPTS = Path(__file__).parents[2] / "examples" / "loadtests" / "peers"
"""In a checkout; they run in the peers' environment, which has no raisehand in it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One server: what it is, what it needs, how it starts on `{port}`."""

    name: str
    package: str
    """As pip knows it, pinned."""
    module: str | None
    """Must be importable in the peers' environment; None: the executable must be there."""
    command: Sequence[str]
    """`{python}`, `{bin}`, `{model}`, `{upstream}` and `{port}` are filled in."""
    surface: str
    does: str


PEERS = (
    Peer(
        "fastapi",
        "sentence-transformers==6.2.0 fastapi==0.165.0 uvicorn==0.54.0",
        "sentence_transformers",
        ("{python}", str(SCRIPTS / "fastapi_server.py"), "{model}", "{port}"),
        "classify",
        "FastAPI + sentence-transformers, one text at a time",
    ),
    Peer(
        "litserve",
        "litserve==0.2.19 sentence-transformers==6.2.0",
        "litserve",
        ("{python}", str(SCRIPTS / "litserve_server.py"), "{model}", "{port}"),
        "classify",
        "LitServe + sentence-transformers, batches of up to 32",
    ),
    Peer(
        "vllm-router",
        "vllm-router==0.1.17",
        None,
        (
            *("{bin}/vllm-router", "--host", "127.0.0.1", "--port", "{port}"),
            *("--worker-urls", "{upstream}", "--policy", "round_robin"),
            *("--prometheus-port", "{other_port}", "--log-level", "error"),
        ),
        "chat",
        "Rust router to an instant teacher, deciding nothing",
    ),
    Peer(
        "nemo-switchyard",
        "nemo-switchyard==0.3.0",
        "switchyard_rust",
        ("{python}", str(SCRIPTS / "switchyard_server.py"), "{upstream}", "{port}"),
        "chat",
        "NVIDIA's Rust router to an instant teacher, passing everything on",
    ),
)


@click.command(name="peers", epilog="Example: raisehand bench peers --task task.yaml --json")
@click.option(
    "--task", required=True, type=click.Path(path_type=Path), help="Our side: its bundle."
)
@click.option("--model", type=click.Path(path_type=Path), help="Encoder folder of the peers.")
@click.option(
    "--environment",
    default=Path(".venv-peers"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where peers are installed, or in PATH-NAME; what is nowhere is skipped with the reason.",
)
@click.option("--start", default=50.0, show_default=True, help="First rate of each search.")
@click.option("--seconds", default=5.0, show_default=True, help="Of each rate.")
@click.option("--p99-ms", default=100.0, show_default=True, help="The limit that a rate keeps.")
@click.option("--json", "as_json", is_flag=True)
def peers(
    task: Path,
    model: Path | None,
    environment: Path,
    start: float,
    seconds: float,
    p99_ms: float,
    as_json: bool,
) -> None:
    """Search each server's knee under the same Poisson load and print ratios to ours.

    Each has the same cores; the generator and the teacher have others. Ours serves the task's
    bundle with a fake teacher that answers at once. A knee that the generator reached before the
    server is marked.
    """
    from loadtests.inputs.spec import LoadSpec
    from loadtests.inputs.taskfile import read_task
    from loadtests.servers.stack import running_stack
    from loadtests.verdict.conclusion import versions

    read = read_task(task)
    inputs = read.inside(read.inputs.path)
    base = LoadSpec(
        url="http://127.0.0.1:9",
        inputs=inputs,
        text=read.inputs.text,
        encoding=read.inputs.encoding,
        delimiter=read.inputs.delimiter,
        rate=start,
        duration_s=seconds,
        warmup_s=1.0,
    )
    results: dict[str, dict[str, Any]] = {}
    with own_cores(1) as cores, running_stack(read, {}, cores=cores) as stack:
        ours = _search(base.model_copy(update={"url": stack.url}), p99_ms)
        results["raisehand"] = _row(ours, ours, "student on every request, teacher when unsure")
        for peer in PEERS:
            home = _environment(peer, environment)
            missing = _missing(peer, home, model)
            if missing:
                results[peer.name] = {"skipped": missing}
                continue
            assert stack.teacher_url is not None
            with _running(peer, home, model, stack.teacher_url, cores) as url:
                found = _search(
                    base.model_copy(update={"url": url, "surface": peer.surface}), p99_ms
                )
            results[peer.name] = _row(found, ours, peer.does)
    report = {"p99_ms": p99_ms, "peers": results, "versions": versions()}
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    for name, row in results.items():
        if "skipped" in row:
            click.echo(f"{name:12} skipped: {row['skipped']}")
        else:
            limit = " (the generator's limit)" if row["limited_by_generator"] else ""
            click.echo(f"{name:12} {row['knee_rps']} rps{limit}, ours is {row['ratio']} times that")


def _environment(peer: Peer, shared: Path) -> Path:
    """Return the peer's own environment: the shared one where it is installed there."""
    own = shared.with_name(f"{shared.name}-{peer.name}")
    return shared if not own.exists() and _missing(peer, shared, shared) is None else own


def _missing(peer: Peer, environment: Path, model: Path | None) -> str | None:
    """Say what keeps a peer from running here, or None."""
    script = Path(peer.command[1]) if peer.command[0] == "{python}" else None
    if script is not None and not script.exists():
        return f"there is no {script.name} beside this installation; run it from a checkout"
    python = environment / "bin" / "python"
    how = f"python -m venv {environment} && {environment}/bin/pip install {peer.package}"
    if not python.exists():
        return f"there is no {python}; {how}"
    if peer.module is None:
        executable = environment / "bin" / peer.name
        return None if executable.exists() else f"there is no {executable}; {how}"
    tried = subprocess.run(
        [python, "-c", f"import {peer.module}"], capture_output=True, check=False
    )
    if tried.returncode:
        return f"{peer.module} cannot be imported in {environment}; {how}"
    needs_model = "{model}" in peer.command
    return None if model or not needs_model else "it needs --model, the folder of an encoder"


@contextlib.contextmanager
def _running(
    peer: Peer, environment: Path, model: Path | None, upstream: str, cores: Cores | None
) -> Iterator[str]:
    port = free_port()
    filled = {
        "python": environment / "bin" / "python",
        "bin": environment / "bin",
        "model": model,
        "upstream": upstream,
        "port": port,
        "other_port": free_port(),
    }
    command = [part.format(**filled) for part in peer.command]
    ready = partial(_answers, port)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        try:
            # Its workers may outlive a server that is ended: all of its session goes.
            with running(command, ready, log, cores=cores, start_new_session=True):
                yield f"http://127.0.0.1:{port}"
        except NotStarted as error:
            raise DeadTarget(f"{peer.name}: {error}") from None


def _answers(port: int) -> bool:
    """Whether anything speaks HTTP there; a 404 or 405 is an answer."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
    except urllib.error.HTTPError as error:
        return error.code in (404, 405)
    except (urllib.error.URLError, OSError):
        return False
    return True


def _search(spec: LoadSpec, p99_ms: float) -> Knee:
    from loadtests.inputs.slo import Slo
    from loadtests.report.terminal import show_probe
    from loadtests.verdict.knee import KneeSearch
    from loadtests.verdict.null_check import believable_run

    slo = Slo(latency_ms={"all": {"p99": p99_ms}})
    return KneeSearch(spec, believable_run(slo), slo=slo, told=show_probe).find()


def _row(found: Knee, ours: Knee, does: str) -> dict[str, Any]:
    return {
        "does": does,
        "knee_rps": found.rate and round(found.rate, 1),
        "limited_by_generator": found.limited_by_generator,
        "ended_by": found.ended_by,
        "confirmed": found.confirmed,
        "ratio": round(ours.rate / found.rate, 2) if ours.rate and found.rate else None,
    }
