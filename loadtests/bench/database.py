"""`raisehand bench database`: what a shared ledger costs the requests, and how fast it is read.

A PostgreSQL of its own is started. Two routers, one with it and one with SQLite alone, take turns
on one core; then it is killed, and how late that one answers is held beside the other.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from loadtests.bench.driving import metrics_of
from router.errors import BadSettings

if TYPE_CHECKING:
    from psycopg import Connection

    from loadtests.inputs.spec import LoadSpec
    from router.bench.process import Subject

DAYS = 2
"""Over which the rows of the reading lie."""
SHIPPED_S = 60.0
RATE = 0.25
"""Of the requests a second in the closed loop, for latencies."""
_ROWS = """
insert into raisehand.decisions
select 1 + i %% 4, i, %(start)s + i::bigint * %(step)s * interval '1 microsecond', 'r' || i,
       'intents', 'benchmark00', 'chat', case when i %% 10 = 0 then 'teacher' else 'student' end,
       case when i %% 10 = 0 then 'low_confidence' else 'confident' end,
       'intent_' || i %% 77, 0.9, 13889, case when i %% 10 = 0 then 123000000 else 0 end,
       case when i %% 10 = 0 then 30 + i %% 200 else 0 end, (i %% 10 = 0)::int * 2,
       (i %% 10 = 0)::int, 1.5, false, i %% 100 = 1, 0.01,
       md5(i::text) || md5((i + 1)::text), 'team-' || i %% 20, 0, false, '', null, null
from generate_series(%(first)s, %(last)s) as i
"""
_SUMS = """
insert into raisehand.ledger_sums
select date_trunc('hour', at, 'UTC'), instance, task, bundle, route, reason, client, min(at),
       max(at), sum(student_pusd), sum(teacher_pusd), count(*),
       count(*) filter (where attempts > 0),
       sum(attempts), sum(input_tokens), sum(output_tokens), sum(cached_input_tokens),
       coalesce(sum(attempts) filter (where input_tokens > 0), 0), sum(degraded::int),
       sum(audited::int), 0, 0
from raisehand.decisions group by 1, 2, 3, 4, 5, 6, 7
"""


@click.command(name="database", epilog="Example: raisehand bench database --json")
@click.option("--rows", default=10_000_000, show_default=True, help="To read; 0: do not.")
@click.option("--runs", default=5, show_default=True, help="Of each kind of router; 0: none.")
@click.option("--seconds", default=4.0, show_default=True, help="Of each measurement.")
@click.option("--connections", default=64, show_default=True, type=click.IntRange(1))
@click.option("--core", default=0, show_default=True, help="Core of the routers.")
@click.option("--client-core", default=1, show_default=True, help="Of PostgreSQL and the load.")
@click.option(
    "--shipper-core", type=int, help="Of the thread that ships; default: the routers' own."
)
@click.option("--json", "as_json", is_flag=True)
def database(
    rows: int,
    runs: int,
    seconds: float,
    connections: int,
    core: int,
    client_core: int,
    shipper_core: int | None,
    as_json: bool,
) -> None:
    """Measure a ledger in PostgreSQL: requests a second, latency while it is dead, reading."""
    import json

    from router.bench.process import take_client_core
    from router.bench.servers.postgres import PostgresServer
    from router.database.migrate import migrate

    take_client_core(core, client_core)
    server = PostgresServer(shared_buffers="256MB", max_wal_size="4GB")
    report: dict[str, Any] = {}
    try:
        server.start()
        for measure in (1, 2):
            url = server.create()
            migrate(url)
            if measure == 1 and runs:
                report |= _serving(url, server.kill, runs, seconds, connections, core, shipper_core)
                server.start()
            elif measure == 2 and rows:
                report["reading"] = _reading(url, rows)
    finally:
        server.stop()
    report["load_average"] = os.getloadavg()[0]
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))


def _serving(
    url: str,
    kill: Callable[[], None],
    runs: int,
    seconds: float,
    connections: int,
    core: int,
    shipper_core: int | None,
) -> dict[str, Any]:
    from loadtests.bench.driving import chat_spec
    from router.bench.process import python_subject

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        spec = chat_spec(folder).model_copy(update={"duration_s": seconds})
        subjects = {
            name: stack.enter_context(
                python_subject(
                    "router.bench.servers.target", core, "--ledger", str(folder / name), *options
                )
            )
            for name, options in (("sqlite", ()), ("postgres", ("--database", url)))
        }
        if shipper_core is not None:
            os.sched_setaffinity(subjects["postgres"].threads["shipper"], {shipper_core})
        rps, cpu, shipper = _turns(subjects, spec, runs, connections)
        kill()
        rate = RATE * median(rps["sqlite"])
        p99 = _latencies(subjects, spec, rate, runs)
    ratios = [b / a for a, b in zip(rps["sqlite"], rps["postgres"], strict=True)]
    dead = [b / a for a, b in zip(p99["sqlite"], p99["postgres"], strict=True)]
    return {
        "rps": {name: [round(value) for value in values] for name, values in rps.items()},
        "rps_ratio": round(median(ratios), 3),
        "cpu_us": {name: round(median(values), 1) for name, values in cpu.items()},
        "shipper_us": {"median": round(median(shipper), 2), "least": round(min(shipper), 2)},
        "dead": {
            "rate": round(rate),
            "p99_ms": {name: [round(v, 2) for v in values] for name, values in p99.items()},
            "p99_ratio": round(median(dead), 3),
        },
    }


def _turns(
    subjects: dict[str, Subject], spec: LoadSpec, runs: int, connections: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], list[float]]:
    """Load one after the other, the first to go changing; the first round warms up.

    Returns requests a second, microseconds of a request, and the shipper's of a row.
    """
    from loadtests.bench.driving import drive

    rps: dict[str, list[float]] = {name: [] for name in subjects}
    cpu: dict[str, list[float]] = {name: [] for name in subjects}
    shipper: list[float] = []
    for run in range(runs + 1):
        for name in _in_turn(subjects, run):
            subject = subjects[name]
            before = subject.cpu_seconds()
            driven = drive([subject], spec, closed_loop=connections)
            _shipped(subjects["postgres"].port)  # what it cost later is its cost, too
            used = {key: value - before[key] for key, value in subject.cpu_seconds().items()}
            if run:
                asked = driven.report.sent + driven.report.unmeasured_sent
                rps[name].append(driven.rps)
                cpu[name].append(sum(used.values()) / asked * 1e6)
                if "shipper" in used:
                    shipper.append(used["shipper"] / asked * 1e6)
    return rps, cpu, shipper


def _latencies(
    subjects: dict[str, Subject], spec: LoadSpec, rate: float, runs: int
) -> dict[str, list[float]]:
    from loadtests.bench.driving import drive

    p99: dict[str, list[float]] = {name: [] for name in subjects}
    for run in range(runs):
        for name in _in_turn(subjects, run):
            driven = drive([subjects[name]], spec, rate=rate, seed=run)
            late = driven.answers_ms.p99
            if driven.unanswered or late is None:
                raise BadSettings(
                    f"{driven.unanswered} of {driven.report.scheduled} requests failed at "
                    f"{rate:.0f}/s; the machine is too busy to judge, or --seconds is too short"
                )
            p99[name].append(late)
    return p99


def _in_turn(subjects: dict[str, Subject], run: int) -> Sequence[str]:
    return list(subjects)[:: 1 if run % 2 else -1]


def _shipped(port: int) -> None:
    """Wait until the database has every row."""
    give_up_at = time.monotonic() + SHIPPED_S
    while time.monotonic() < give_up_at:
        time.sleep(1.2)  # a round of the shipper, so that it has looked
        if re.search(r"(?m)^raisehand_ledger_unshipped 0\.0$", metrics_of(port)):
            return
    raise BadSettings(f"the database did not get its rows within {SHIPPED_S:g} s")


def _reading(url: str, rows: int) -> dict[str, Any]:
    from costmodel.inputs.ledger.traffic import read_traffic
    from router.database.connection import connect
    from router.ledger.merged import totals_of

    with closing(connect(url, "bench")) as connection:
        _fill(connection, rows)
        sizes = connection.execute(
            "select sum(pg_total_relation_size(inhrelid)) / %s, "
            "pg_total_relation_size('raisehand.ledger_sums') from pg_inherits "
            "where inhparent = 'raisehand.decisions'::regclass",
            (rows,),
        ).fetchone()
    ledger = [sys.executable, "-c", "from router.cli import run; run()", "ledger"]
    environment = os.environ | {"RAISEHAND_DATABASE_URL": url}
    return {
        "rows": rows,
        "bytes_a_row": round(float((sizes or (0, 0))[0])),
        "bytes_of_sums": int((sizes or (0, 0))[1]),
        "command_s": _seconds(
            lambda: subprocess.run(ledger, env=environment, check=True, capture_output=True)
        ),
        "ledger_s": _seconds(lambda: totals_of(url)),
        "whatif_from_ledger_s": _seconds(lambda: read_traffic(url, "intents")),
    }


def _fill(connection: Connection, rows: int) -> None:
    """Make rows of the last days, and their sums."""
    from router.ledger.shipping.days import make_days, today

    first = today() - timedelta(days=DAYS)
    make_days(connection, [first + timedelta(days=day) for day in range(DAYS + 1)])
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    step = DAYS * 86_400_000_000 // rows
    for begin in range(0, rows, 1_000_000):
        connection.execute(
            _ROWS,
            {
                "start": start,
                "step": step,
                "first": begin,
                "last": min(begin + 1_000_000, rows) - 1,
            },
        )
    connection.execute(_SUMS)
    for after in ("vacuum analyze raisehand.decisions", "checkpoint"):  # it is what time does
        connection.execute(after)


def _seconds(act: Callable[[], object]) -> list[float]:
    """Time it three times."""
    found = []
    for _ in range(3):
        started = time.perf_counter()
        act()
        found.append(round(time.perf_counter() - started, 2))
    return found


def _words(report: dict[str, Any]) -> str:
    lines = []
    if "rps" in report:
        dead = report["dead"]
        lines += [
            f"requests/s on one core: {report['rps']['sqlite']} with SQLite alone, "
            f"{report['rps']['postgres']} with PostgreSQL: {report['rps_ratio']:g} ×",
            f"CPU of a request, shipping included: {report['cpu_us']['sqlite']:g} and "
            f"{report['cpu_us']['postgres']:g} µs; of a row, the shipper's: "
            f"{report['shipper_us']['median']:g} µs (least {report['shipper_us']['least']:g})",
            f"PostgreSQL dead, {dead['rate']} requests/s: p99 {dead['p99_ms']['postgres']} ms "
            f"beside {dead['p99_ms']['sqlite']} of SQLite alone: {dead['p99_ratio']:g} ×",
        ]
    if "reading" in report:
        reading = report["reading"]
        lines.append(
            f"{reading['rows']:,} rows of {reading['bytes_a_row']} bytes: `raisehand ledger` "
            f"{reading['command_s']} s, of which it reads {reading['ledger_s']}; what "
            f"`whatif --from-ledger` reads {reading['whatif_from_ledger_s']} s"
        )
    return "\n".join(lines)
