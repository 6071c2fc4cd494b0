"""`raisehand serve`: the router on a port."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import socket

    from router.edge import App
    from router.server import Admin
    from router.service import Service
    from router.settings import Settings
    from router.share import Share
    from students.task import Task


@click.command(epilog="Example: raisehand serve --task task.yaml --port 8080")
@click.option(
    "--task",
    "task_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    default=("task.yaml",),
    show_default=True,
    help="Task file; give it again for each further task.",
)
@click.option(
    "--bundle", "bundles", multiple=True, help="Bundle id, one for each --task; default: latest."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65_535), help="0: any free."
)
@click.option(
    "--ledger",
    "ledger_path",
    type=click.Path(path_type=Path),
    help="SQLite file of every decision; default: ledger.sqlite in the first task's work_dir.",
)
@click.option(
    "--keys",
    "keys_path",
    type=click.Path(path_type=Path),
    help="Ask for the API keys of this file, made by `raisehand keys add`; default: ask for none.",
)
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65_535),
    help="Also listen here for operators, who need the token in RAISEHAND_ADMIN_TOKEN.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Processes that share the port, each with its part of the teacher's limits.",
)
@click.option("--worker", hidden=True, help="Which worker of how many this process is: 0/2.")
@click.option("--trace", is_flag=True, help="Send OpenTelemetry spans where OTEL_* says.")
@click.option("--device", default="cpu", show_default=True, help="Where the student runs.")
@click.option("--strict-teacher", is_flag=True, help="Refuse to start when the teacher is away.")
def serve(
    task_paths: tuple[Path, ...],
    bundles: tuple[str, ...],
    host: str,
    port: int,
    ledger_path: Path | None,
    keys_path: Path | None,
    admin_port: int | None,
    workers: int,
    worker: str | None,
    trace: bool,
    device: str,
    strict_teacher: bool,
) -> None:
    """Answer with the student, ask the teacher when it is not sure, book every decision.

    POST /v1/classify, POST /v1/chat/completions (a drop-in for the teacher's), GET /v1/models,
    /healthz, /readyz, /metrics, /docs. Limits are set by RAISEHAND_* variables; see the docs.
    """
    import asyncio

    from router.app import create_app
    from router.compose import build_service, check_teachers
    from router.errors import BadSettings
    from router.keys import load_keys
    from router.logs import configure_logs
    from router.server import address_of, bind
    from router.server import serve as serve_app
    from router.settings import load_settings
    from router.share import Share
    from router.tracing import Traced, open_provider
    from router.workers import Workers
    from students.task import load_task

    if bundles and len(bundles) != len(task_paths):
        raise BadSettings(
            f"{len(bundles)} --bundle for {len(task_paths)} --task; give one for each, or none"
        )
    if workers > 1:
        if admin_port is not None:
            raise BadSettings("--admin-port reaches one process only; leave out --workers")
        for path in task_paths:
            Share(0, workers, Path()).of_task(load_task(path))  # faults show before any is started
        arguments = _arguments(
            task=task_paths,
            bundle=bundles,
            host=host,
            ledger=ledger_path,
            keys=keys_path,
            trace=trace,
            device=device,
            strict_teacher=strict_teacher,
        )
        Workers(arguments, host, port, workers).run()
        return
    settings = load_settings()
    share = None if worker is None else _share(worker)
    tasks = [load_task(path) for path in task_paths]
    configure_logs(_secrets(settings, tasks))
    chosen = list(zip(tasks, bundles or [None] * len(tasks), strict=True))
    listener = bind(host, port, shared=share is not None)
    keys = None if keys_path is None else load_keys(keys_path)
    service = build_service(
        chosen, settings, ledger_path=ledger_path, keys=keys, device=device, share=share
    )
    asyncio.run(check_teachers(tasks, strict=strict_teacher))
    admin = None
    if admin_port is not None:
        paths = {task.name: path for task, path in zip(tasks, task_paths, strict=True)}
        admin = _admin(service, settings, bind(host, admin_port), device, paths)
    app: App = create_app(service)
    if trace:
        app = Traced(app, open_provider())
    serve_app(
        app,
        service,
        listener,
        admin=admin,
        on_started=lambda: _announce(service, address_of(listener)),
    )


def _arguments(**options: object) -> list[str]:
    """Return a command line with these options; one without a value is left out."""
    line: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            line.append(flag)
        elif isinstance(value, tuple):
            line += [part for one in value for part in (flag, str(one))]
        elif value not in (None, False):
            line += [flag, str(value)]
    return line


def _share(worker: str) -> Share:
    from router.share import Share

    index, count = worker.split("/")
    return Share(int(index), int(count), Path(os.environ["RAISEHAND_WORKER_FOLDER"]))


def _secrets(settings: Settings, tasks: Sequence[Task]) -> list[str]:
    names = [task.teacher.api_key_env for task in tasks]
    found = [os.environ.get(name, "") for name in names if name]
    if settings.admin_token is not None:
        found.append(settings.admin_token.get_secret_value())
    return found


def _admin(
    service: Service,
    settings: Settings,
    listener: socket.socket,
    device: str,
    paths: Mapping[str, Path],
) -> Admin:
    from costmodel.serve import WhatIf
    from costmodel.taskfile import read_deployment
    from router.admin import create_admin
    from router.compose import load_model
    from router.errors import BadSettings
    from router.server import Admin, address_of

    if settings.admin_token is None:
        raise BadSettings("--admin-port needs RAISEHAND_ADMIN_TOKEN, a secret of your choice")
    app = create_admin(
        service,
        lambda task, bundle: load_model(task, bundle, settings, device),
        settings.admin_token.get_secret_value(),
        lambda name, bundle: WhatIf(read_deployment(paths[name], bundle)),
    )
    click.echo(f"Operators: {address_of(listener)}/state", err=True)
    return Admin(app, listener, settings)


def _announce(service: Service, url: str) -> None:
    for name, served in service.tasks.items():
        model = served.pipeline.slot.current
        click.echo(f"Serving {name} from bundle {model.bundle} at {url}", err=True)
