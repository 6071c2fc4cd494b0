"""`raisehand loadtest`."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from costmodel.extras import require
from loadtests.commands.compare import compare
from loadtests.commands.history import history
from loadtests.commands.push import push
from loadtests.errors import BadLoadSpec
from loadtests.servers.cores import own_cores

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.inputs.request import Wanted

PATH = click.Path(path_type=Path)
SHAPES = ("steady", "step", "spike", "square", "ramp", "diurnal")
"""`--stages` is a shape of its own."""


def _options(*groups: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(groups):
            function = option(function)
        return function

    return decorate


TARGET = _options(
    click.option("--url", help="A running server, e.g. http://127.0.0.1:8080."),
    click.option("--task", type=PATH, help="Task file: starts a router, and a fake teacher."),
    click.option("--bundle", help="With --task: the bundle to serve; default: latest."),
    click.option("--port", type=click.IntRange(0, 65535), help="With --task: the router's port."),
    click.option("--pin/--no-pin", default=True, help="With --task: the router has its own cores."),
    click.option("--serve", multiple=True, help="Hand on to serve, e.g. --serve=--device=cuda."),
    click.option("--own-teacher", is_flag=True, help="With --task: ask the task's own teacher."),
    click.option("--allow-remote", is_flag=True, default=None, help="The target is yours to load."),
    click.option("--ca", type=PATH, help="https: the authority of the target's certificate."),
    click.option("--client-cert", type=PATH, help="https: the certificate to show."),
    click.option("--client-key", type=PATH, help="https: its key, if in a file of its own."),
    click.option("--insecure", is_flag=True, default=None, help="https: take any certificate."),
    click.option("--api-key-env", help="Environment variable that holds the bearer key."),
)
TRAFFIC = _options(
    click.option("--scenario", help="A shipped scenario by name, or your own .yaml."),
    click.option("--inputs", type=PATH, help="A table; default: the task's inputs."),
    click.option("--text", help="Column that holds the text."),
    click.option("--encoding", help="Encoding of the inputs, e.g. cp1252; default utf-8."),
    click.option("--delimiter", help="Of a .csv, e.g. ; or tab; default: found in its header."),
    click.option("--order", help="sequential or shuffled."),
    click.option("--hard-share", type=float, help="Share from the tenth that is hardest."),
    click.option("--surface", help="classify, chat, chat-stream or systemone."),
    click.option("--student-only", is_flag=True, default=None, help="Ask no teacher, pay none."),
    click.option("--ask-within-ms", type=float, help="classify: the deadline that requests give."),
    click.option("--model", help="chat, systemone: the model asked for."),
    click.option("--system", help="chat: the system message."),
    click.option("--user", help="chat: the user message, with {text}."),
    click.option("--label", "labels", multiple=True, help="systemone: an option; repeat it."),
    click.option("--rate", type=float, help="Requests per second."),
    click.option("--arrivals", help="poisson, constant, gamma, replay or log."),
    click.option("--time", help="log: column of the inputs that holds when each came."),
    click.option("--cv", type=float, help="gamma: variation of the gaps."),
    click.option("--trace", type=PATH, help="replay: CSV with TIMESTAMP and ContextTokens."),
    click.option("--shape", type=click.Choice(SHAPES), help="How the rate moves."),
    click.option("--factor", type=float, help="shape: to this multiple of the rate."),
    click.option("--stages", help="A shape of your own: seconds:factor,…, e.g. 10:5,20:5,10:1."),
    click.option("--duration", "duration_s", type=float, help="Seconds that are measured."),
    click.option("--warmup", "warmup_s", type=float, help="Seconds before, not measured."),
    click.option("--repeats", type=click.IntRange(1), help="Runs, each with the next seed."),
    click.option("--seed", type=int, help="Fixes arrivals and order."),
    click.option("--timeout", "timeout_s", type=float, help="Seconds until a request failed."),
    click.option("--deadline-ms", type=float, help="Later than this is no goodput."),
    click.option("--processes", type=int, help="Locust processes."),
    click.option("--locust", multiple=True, help="Hand on to Locust, e.g. --locust=--csv=run."),
    click.option("--concurrency", type=int, help="In flight per process before a drop."),
    click.option(
        "--client", help="whole, apart (the body by itself) or fresh (a connection each)."
    ),
    click.option("--closed-loop", type=int, help="Clients that ask again when answered; no rate."),
)
LIMITS = _options(
    click.option("--slo", "slo_path", type=PATH, help="slo.yaml: the limits to keep."),
    click.option("--max-failure-rate", type=float, help="SLO: share that may fail."),
    click.option("--p99-ms", type=float, help="SLO: 99 % of the requests answered within this."),
    click.option("--max-send-lag-ms", type=float, help="Void when the p99 is above."),
    click.option("--max-generator-cpu", type=float, help="Void above this share of a core."),
    click.option("--abort", help="End early: never, dead (the default) or lost (a limit is)."),
    click.option("--null-check/--no-null-check", default=None, help="Try the generator first."),
)
WHAT = _options(
    click.option("--knee", is_flag=True, help="Search the highest rate that keeps the SLO."),
    click.option("--past", multiple=True, type=float, help="With --knee: also this multiple."),
    click.option("--confirm", type=click.IntRange(1), help="With --knee: runs that must hold; 3."),
    click.option("--most-runs", type=click.IntRange(1), help="With --knee: at most; 40."),
    click.option("--against", help="Test this URL, too, in turns, and compare the two."),
    click.option("--fit", is_flag=True, help="Measure the profile that predictions start from."),
    click.option("--fit-at", multiple=True, type=float, help="With --fit: rates to measure at."),
    click.option("--profile", type=PATH, help="Predict from this; default: in the work_dir."),
    click.option("--predict-only", is_flag=True, help="Predict the run, do not make it."),
)
OUTPUT = _options(
    click.option("--json", "json_path", type=PATH, help="Write the report."),
    click.option("--html", "html_path", type=PATH, help="Write a page with plots."),
    click.option("--junit", "junit_path", type=PATH, help="Write JUnit XML."),
    click.option("--samples", type=PATH, help="Write one JSON line per request."),
    click.option("--history", type=PATH, help="Append a line here; default: in the work_dir."),
)


@click.group(
    invoke_without_command=True,
    epilog="Example: raisehand loadtest --url http://127.0.0.1:8080 --inputs data.csv "
    "--text text --rate 100 --duration 20",
)
@TARGET
@TRAFFIC
@LIMITS
@WHAT
@OUTPUT
@click.pass_context
def loadtest(context: click.Context, /, **_: Any) -> None:
    """Drive a running server with real inputs, open loop.

    Requests leave at instants fixed in advance, however slow the server is; latency counts from
    those instants. With --task the router and a fake teacher are started and ended.

    Exit code 0: the run counts and meets its SLO. 1: it does not. 2: it could not be run.
    """
    if context.invoked_subcommand is not None:
        if given(context):
            raise BadLoadSpec(
                f"{context.invoked_subcommand} reads what was measured; leave out the options "
                f"before it"
            )
        return
    from loadtests.inputs.request import wanted_of

    # A terminated test ends its own servers and generators and writes what it has, as an
    # interrupted one does; so does one whose terminal is closed.
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, signal.default_int_handler)
    if not _carry_out(wanted_of(given(context))):
        raise click.exceptions.Exit(1)


loadtest.add_command(compare)
loadtest.add_command(history)
loadtest.add_command(push)


def given(context: click.Context) -> dict[str, Any]:
    """Return the options that the user gave, whatever their value: 0 and False are values."""
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def _carry_out(wanted: Wanted) -> bool:
    from loadtests.servers.stack import running_stack

    if not wanted.predict_only:
        require("loadtests")
    with contextlib.ExitStack() as running:
        stack = None
        if wanted.url is None and not wanted.predict_only:
            assert wanted.task is not None
            cores = None
            if wanted.pin:
                cores = running.enter_context(own_cores(wanted.load.get("processes", 1)))
            stack = running.enter_context(
                running_stack(
                    wanted.task,
                    None if wanted.own_teacher else wanted.scenario.teacher,
                    bundle=wanted.bundle,
                    port=wanted.port,
                    cores=cores,
                    serve=wanted.serve,
                )
            )
        return _on(
            wanted, stack.url if stack else wanted.url, stack.reset_teacher if stack else None
        )


def _on(wanted: Wanted, url: str | None, reset: Callable[[], None] | None) -> bool:
    from loadtests.run import against, find, fit_profile, predict_only, test

    if wanted.predict_only:
        return predict_only(wanted)
    assert url is not None
    spec = wanted.spec(url)
    if wanted.fit:
        return fit_profile(wanted, spec)
    if wanted.against is not None:
        return against(wanted, spec)
    if wanted.knee:
        return find(wanted, spec)
    return test(wanted, spec, reset or (lambda: None))
