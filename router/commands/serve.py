"""`raisehand serve`: the router on a port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from costmodel.lifeline import end_when_orphaned
from router.commands.serve_options import ServeOptions, secrets_of
from router.database.url import check_url
from router.errors import BadSettings
from router.process.unix_socket import bind_unix

if TYPE_CHECKING:
    import socket

    from router.process.following.steward import Steward
    from router.process.load_model import LoadStudent
    from router.process.server import Admin
    from router.service.service import Service
    from router.settings import Settings
    from students.runtime.bundle import Bundle
    from students.runtime.protocol import Student
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
    "--bundle",
    "bundles",
    multiple=True,
    help="Bundle id, one for each --task; fetched from RAISEHAND_BUNDLE_STORE when it is not here; "
    "default: latest.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65_535), help="0: any free."
)
@click.option(
    "--uds",
    type=click.Path(path_type=Path),
    help="Listen on a Unix socket at this path, instead of --host and --port.",
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
    "--allow-anonymous",
    is_flag=True,
    help="Listen beyond this machine without --keys: anybody there spends at your teacher.",
)
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65_535),
    help="Also listen here for operators, who need the token in RAISEHAND_ADMIN_TOKEN.",
)
@click.option(
    "--admin-host",
    default="127.0.0.1",
    show_default=True,
    help="Where operators may come from; the port has one token and no TLS.",
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
@click.option(
    "--engine",
    metavar="own|shared|ray://HOST:PORT",
    default="own",
    show_default=True,
    help="Students in each worker, once in a process of their own that all workers share, or on "
    "Ray Serve.",
)
@click.option("--strict-teacher", is_flag=True, help="Refuse to start when the teacher is away.")
def serve(**given: Any) -> None:
    """Answer with the student, ask the teacher when it is not sure, book every decision.

    POST /v1/classify, POST /v1/chat/completions (a drop-in for the teacher's), GET /v1/models,
    /healthz, /readyz, /metrics, /docs. Limits are set by RAISEHAND_* variables; see the docs.
    """
    from router.process.server import is_loopback
    from router.settings import load_settings

    end_when_orphaned()
    options = ServeOptions(**given)
    if options.bundles and len(options.bundles) != len(options.task_paths):
        raise BadSettings(
            f"{len(options.bundles)} --bundle for {len(options.task_paths)} --task; give one for "
            "each, or none"
        )
    options.students_at()  # what is no engine shows before any process is started
    _check_uds(options)
    settings = load_settings()
    if options.admin_port is not None and settings.admin_token is None:
        raise BadSettings("--admin-port needs RAISEHAND_ADMIN_TOKEN, a secret of your choice")
    reached = options.uds is None and not is_loopback(options.host)
    if options.keys_path is None and reached and not options.allow_anonymous:
        raise BadSettings(
            f"--host {options.host} can be reached from outside and nobody is asked for a key: "
            "anybody could spend your teacher's money; give --keys (made by `raisehand keys add`), "
            "or --allow-anonymous where something in front asks"
        )
    if options.worker is None and (options.workers > 1 or options.engine == "shared"):
        _supervise(options, settings)
    else:
        _serve(options, settings)


def _check_uds(options: ServeOptions) -> None:
    """Refuse what a Unix socket cannot do.

    Raises:
        BadSettings: with what to leave out.
    """
    if options.uds is None:
        return
    source = click.get_current_context().get_parameter_source
    if ParameterSource.COMMANDLINE in (source("host"), source("port")):
        raise BadSettings("--uds is instead of --host and --port; leave those out")
    if options.workers > 1 or options.engine == "shared":
        raise BadSettings(
            "--uds is for one process; leave out --workers and --engine shared, or start several "
            "routers on sockets of their own behind a balancer"
        )


def _supervise(options: ServeOptions, settings: Settings) -> None:
    """Run the workers, the engine they share, and the admin port that reaches all of them."""
    from router.process.admin_fanout import Operators
    from router.process.server import bind
    from router.process.workers import Workers
    from router.telemetry.logs import configure_logs
    from router.worker_share import Share
    from students.runtime.store import obtain
    from students.task import load_task

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="raisehand-")))
        shares = [Share(index, options.workers, folder) for index in range(options.workers)]
        # What is wrong with a task shows before any process is started.
        tasks = [shares[0].of_task(load_task(path)) for path in options.task_paths]
        _check_environment(options, settings, tasks)
        configure_logs(secrets_of(settings, tasks))
        if options.admin_port is not None:
            listener = bind(options.admin_host, options.admin_port)
            sockets = [share.admin for share in shares]
            files = options.page_files(settings, tasks)
            stack.enter_context(Operators(sockets, listener, settings, files))
            _announce_admin(listener)
        # Resolved once: a worker that is replaced is of the same deployment.
        chosen = zip(tasks, options.bundles or [None] * len(tasks), strict=True)
        bundles = [obtain(task.work_dir, given, settings.bundle_store).id for task, given in chosen]
        Workers(
            options.of_worker(bundles),
            options.host,
            options.port,
            options.workers,
            folder,
            engine=["--device", options.device] if options.engine == "shared" else None,
        ).run()


def _serve(options: ServeOptions, settings: Settings) -> None:
    """Serve in this process: alone, or as one of several workers."""
    from router.http.access_log import AccessLog
    from router.http.tracing import Tracing, open_provider
    from router.keys.ring import load_keys
    from router.process.app import create_app
    from router.process.compose import build_service, check_teachers
    from router.process.following.steward import Steward
    from router.process.load_model import load_model
    from router.process.server import address_of, bind
    from router.process.server import serve as serve_app
    from router.telemetry.logs import configure_logs
    from students.task import load_task

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are keys to read again
    share = options.share
    tasks = [load_task(path) for path in options.task_paths]
    if share is None:
        _check_environment(options, settings, tasks)
    worker = None if share is None else share.index
    configure_logs(secrets_of(settings, tasks), worker=worker)
    chosen = list(zip(tasks, options.bundles or [None] * len(tasks), strict=True))
    if options.uds is None:
        listener = bind(options.host, options.port, shared=share is not None)
    else:
        listener = bind_unix(options.uds)
    read_keys = None if options.keys_path is None else partial(load_keys, options.keys_path)
    load = _loading(options, settings)
    service = build_service(
        chosen,
        settings,
        ledger_path=options.ledger_path,
        read_keys=read_keys,
        load=load,
        share=share,
    )
    asyncio.run(check_teachers(tasks, strict=options.strict_teacher))
    keepers = service.keepers
    steward = Steward(
        service,
        lambda task, bundle: load_model(task, bundle, settings, keepers[task.name], load),
    )
    admin = None
    if options.admin_port is not None:
        paths = {task.name: path for task, path in zip(tasks, options.task_paths, strict=True)}
        admin = _admin(service, steward, options, settings, paths)
    tracing = Tracing(open_provider()) if options.trace else None
    access = AccessLog(settings.access_log, service.clock) if settings.access_log else None
    try:
        serve_app(
            create_app(service, steward),
            service,
            listener,
            admin=admin,
            observers=[each for each in (tracing, access) if each is not None],
            on_started=lambda: _announce(service, address_of(listener)),
        )
    finally:
        if tracing is not None:
            tracing.close()
        if options.uds is not None:
            options.uds.unlink(missing_ok=True)


def _check_environment(options: ServeOptions, settings: Settings, tasks: Sequence[Task]) -> None:
    """Say what is set and has no effect.

    Raises:
        BadSettings: a variable that nobody reads.
        BadDatabase: an address that can never work; a database that is away is none.
    """
    from router.settings import check_names

    hooks = [hook for task in tasks for hook in task.webhooks]
    names = {task.teacher.api_key_env for task in tasks}
    names |= {name for hook in hooks for name in (hook.url_env, hook.secret_env)}
    names |= {task.store_texts.key_env for task in tasks if task.store_texts}
    check_names({name for name in names if name})
    if settings.database_url is not None:
        check_url(settings.database_url.get_secret_value())
    if settings.admin_token is not None and options.admin_port is None:
        click.echo("RAISEHAND_ADMIN_TOKEN has no effect without --admin-port.", err=True)


def _loading(options: ServeOptions, settings: Settings) -> LoadStudent:
    """Where students live: in this process, in the engine that all workers share, or on Ray."""
    from router.student.remote_student import RemoteStudent
    from students.runtime.load import load_student

    address = options.students_at()
    if address is None:
        return partial(load_student, device=options.device)

    def load(bundle: Bundle) -> Student:
        schema = bundle.manifest.schema_
        return RemoteStudent(schema, address, bundle.path, answer_s=settings.stall_s)

    return load


def _admin(
    service: Service,
    steward: Steward,
    options: ServeOptions,
    settings: Settings,
    paths: Mapping[str, Path],
) -> Admin:
    """Listen for operators: on the admin port, or where the supervisor passes them on."""
    from costmodel.inputs.taskfile import read_deployment
    from costmodel.web.server import WhatIf
    from router.process.admin import create_admin
    from router.process.server import Admin, bind

    share = options.share
    assert settings.admin_token is not None, "checked by serve"
    assert options.admin_port is not None, "checked by _serve"
    app = create_admin(
        service,
        steward,
        settings.admin_token.get_secret_value(),
        lambda name, bundle: WhatIf(read_deployment(paths[name], bundle)),
        options.page_files(settings, [served.task for served in service.tasks.values()]),
        inside=share is not None,
    )
    if share is not None:
        return Admin(app, share.listen_for_operators(), settings, on_stop=app.close)
    listener = bind(options.admin_host, options.admin_port)
    _announce_admin(listener)
    return Admin(app, listener, settings, on_stop=app.close)


def _announce_admin(listener: socket.socket) -> None:
    from router.process.server import address_of

    click.echo(f"Operators: {address_of(listener)}/", err=True)


def _announce(service: Service, url: str) -> None:
    for name, served in service.tasks.items():
        model = served.pipeline.slot.current
        click.echo(f"Serving {name} from bundle {model.bundle} at {url}", err=True)
