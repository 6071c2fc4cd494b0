"""Where the load test hooks into Locust: options, checks before a start, messages, the verdict."""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

from locust import events
from locust.runners import MasterRunner, WorkerRunner

from loadtests.errors import LoadTestsError
from loadtests.inputs.rows import rows_of
from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.target import try_target
from loadtests.users import distributed
from loadtests.users.by_hand import LocalRun, laid_out
from loadtests.users.distributed import MasterRun, WorkerRun
from loadtests.users.open_loop import OpenLoopUser
from loadtests.users.options import add_options, slo_of, spec_of
from loadtests.users.planned import PlannedRun, is_planned
from loadtests.verdict.conclusion import Repeat

GC_THRESHOLD = (50_000, 20, 100)
"""A request leaves no cycles behind; the default of 700 cost 4 % of the generator's core."""


def connect() -> None:
    """Join in with Locust: every locustfile that imports `loadtests.users` does."""
    if not is_planned():
        events.init_command_line_parser.add_listener(add_options)
    events.init.add_listener(_on_init)


def _on_init(environment: Any, web_ui: Any = None, **_: Any) -> None:
    if is_planned():
        run = PlannedRun(environment)
        environment.open_loop_run = run
        quieten()
        return
    if isinstance(environment.runner, WorkerRunner):
        _hear_master(environment)
        return
    environment.open_loop_run = None
    if isinstance(environment.runner, MasterRunner):
        _hear_workers(environment)
    if web_ui is not None:
        _check_in_web_ui(environment, web_ui)
    if web_ui is None or environment.parsed_options.autostart:
        try:
            _prepare(environment, environment.host)
        except LoadTestsError as error:
            sys.stderr.write(f"Error: {error}\n")
            sys.exit(2)
    if not _has_open_loop(environment):
        return
    environment.events.test_start.add_listener(_on_test_start)
    environment.events.spawning_complete.add_listener(lambda **_: _begin(environment))
    environment.events.test_stop.add_listener(lambda **_: _judge(environment))


def _has_open_loop(environment: Any) -> bool:
    """Whether users send by the schedule; of a closed loop Locust's own figures say everything."""
    return any(issubclass(each, OpenLoopUser) for each in environment.user_classes)


def _prepare(environment: Any, host: str | None) -> None:
    """Check the options, and lay out the schedule before Locust's clocks count.

    Raises:
        LoadTestsError: one sentence.
    """
    spec = _checked(environment, host)
    schedule = laid_out(spec) if _has_open_loop(environment) else None
    environment.open_loop_schedule = (spec, schedule)


def _checked(environment: Any, host: str | None) -> LoadSpec:
    """Read the options and try the target.

    Raises:
        LoadTestsError: one sentence.
    """
    options = vars(environment.parsed_options)
    spec = spec_of(options, host)
    slo_of(options)
    if "decisions" in (options.get("tags") or ()):
        spec_of({**options, "surface": "systemone"}, host)
    try_target(spec, rows_of(spec)[0].text)
    return spec


def _check_in_web_ui(environment: Any, web_ui: Any) -> None:
    """Refuse to start with what cannot be run, in one sentence, before users are born."""
    from flask import Response, jsonify, request

    @web_ui.app.before_request  # type: ignore[untyped-decorator]
    def check() -> Response | None:
        if not request.path.endswith("/swarm") or request.method != "POST":
            return None
        known = vars(environment.parsed_options)
        form = {name: value for name, value in request.form.items() if name in known}
        before = dict(known)
        known.update(form)
        try:
            _prepare(environment, form.get("host") or environment.host)
        except LoadTestsError as error:
            known.update(before)
            return jsonify({"success": False, "message": str(error), "host": environment.host})
        return None


def _on_test_start(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    spec, schedule = environment.open_loop_schedule
    slo = slo_of(vars(environment.parsed_options))
    kind = MasterRun if isinstance(environment.runner, MasterRunner) else LocalRun
    environment.open_loop_run = kind(environment, spec, slo, schedule)
    quieten()


def _begin(environment: Any) -> None:
    run = environment.open_loop_run
    if isinstance(run, LocalRun | WorkerRun):
        run.begin()


def _judge(environment: Any) -> None:
    """Print the verdict and leave it in the exit code: Locust's own counts failures alone."""
    from loadtests.report.terminal import show, show_word

    run, environment.open_loop_run = environment.open_loop_run, None
    if run is None:
        return
    report = run.report()
    show(report)
    show_word(Repeat.of(report).verdict)
    environment.process_exit_code = 0 if report.passed else 1


def _hear_master(environment: Any) -> None:
    runner = environment.runner

    def on_share(msg: Any, **_: Any) -> None:
        environment.open_loop_run = WorkerRun(environment, msg.data)
        quieten()

    def on_report(data: dict[str, Any], **_: Any) -> None:
        run = getattr(environment, "open_loop_run", None)
        if run is not None:
            data[distributed.PART] = run.take_part()

    runner.register_message(distributed.SHARE, on_share)
    runner.register_message(
        distributed.PONG,
        lambda msg, **_: environment.open_loop_run.on_pong(msg.data["asked"], msg.data["at"]),
    )
    runner.register_message(
        distributed.GO, lambda msg, **_: environment.open_loop_run.on_go(msg.data["start"])
    )
    environment.events.report_to_master.add_listener(on_report)
    environment.events.test_stop.add_listener(lambda **_: environment.open_loop_run.stop())
    environment.events.spawning_complete.add_listener(lambda **_: _begin(environment))


def _hear_workers(environment: Any) -> None:
    runner = environment.runner

    def on_ping(msg: Any, **_: Any) -> None:
        answer = {"asked": msg.data["at"], "at": time.monotonic()}
        runner.send_message(distributed.PONG, answer, msg.node_id)

    def on_ready(msg: Any, **_: Any) -> None:
        if environment.open_loop_run is not None:
            environment.open_loop_run.on_ready(msg.node_id)

    def on_done(msg: Any, **_: Any) -> None:
        if environment.open_loop_run is not None:
            environment.open_loop_run.on_part(msg.data[distributed.PART])
            environment.open_loop_run.on_done(msg.node_id)

    def on_report(client_id: str, data: dict[str, Any], **_: Any) -> None:
        # What a worker says of a test that has been judged is in no figure.
        if environment.open_loop_run is None:
            return
        environment.open_loop_run.on_report(client_id)
        if distributed.PART in data:
            environment.open_loop_run.on_part(data[distributed.PART])

    runner.register_message(distributed.PING, on_ping)
    runner.register_message(distributed.READY, on_ready)
    runner.register_message(distributed.DONE, on_done)
    environment.events.worker_report.add_listener(on_report)


def quieten() -> None:
    """Keep the garbage collector out of the way of the sending."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
