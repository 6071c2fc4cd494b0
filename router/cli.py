"""The one command line. It knows names and where each command lives; it imports none of them.

`raisehand --help` therefore loads click alone: torch, locust and fastapi stay behind their doors.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping

import click

from costmodel.extras import not_installed

COMMANDS: Mapping[str, tuple[str, str]] = {
    "assess": (
        "students.commands.assess:assess",
        "Start from the log of your calls: what could be saved?",
    ),
    "init": ("students.commands.init:init", "Make a folder to start from."),
    "label": ("students.commands.label:label", "Ask the teacher for soft labels of your inputs."),
    "distill": ("students.commands.distill:distill", "Train, calibrate and certify a student."),
    "retrain": (
        "students.commands.retrain:retrain",
        "Distil the next student from what the router kept.",
    ),
    "suspects": (
        "students.commands.suspects:suspects",
        "List sure answers the teacher disagrees with.",
    ),
    "export": ("students.commands.export:export", "Encoder to int8 or ONNX, certified anew."),
    "bundle": (
        "students.commands.bundle:bundle",
        "Share bundles by content: push, pull, list at any URL.",
    ),
    "evaluate": (
        "students.commands.evaluate:evaluate",
        "Measure a bundle on rows never used before.",
    ),
    "ablate": ("students.commands.ablate:ablate", "Soft or hard labels, and how many of them?"),
    "teacher": ("students.commands.teacher:teacher", "Serve a local classifier as a teacher."),
    "fake-teacher": (
        "loadtests.commands.fake_teacher:main",
        "Serve a teacher that costs nothing, to try things on.",
    ),
    "serve": (
        "router.commands.serve:serve",
        "Route: the student by default, the teacher when unsure.",
    ),
    "batch": (
        "router.commands.batch:batch",
        "Answer a whole table: the student first, the teacher within a budget.",
    ),
    "ledger": ("router.commands.ledger:ledger", "Add up who answered, why, and what it cost."),
    "database": (
        "router.commands.database:database",
        "Make and check the tables that several hosts share.",
    ),
    "audit": ("router.commands.audit:audit", "Show whether the promise is still kept."),
    "canary": ("router.commands.canary:canary", "Ask whether the teacher is still the same."),
    "replay": (
        "router.commands.replay:replay_",
        "Show what another threshold would have done.",
    ),
    "savings": (
        "router.commands.savings:savings",
        "Show what was saved, with its interval; check an invoice.",
    ),
    "accuracy": (
        "router.commands.accuracy:accuracy",
        "Show how often student, teacher and cascade were right.",
    ),
    "webhook": ("router.commands.webhook:webhook", "Send each receiver of events a test."),
    "forget": ("students.commands.forget:forget", "Delete kept texts, by request or by text."),
    "candidate": (
        "router.commands.candidate:candidate",
        "Shadow and promote the next student of a running router.",
    ),
    "keys": ("router.commands.keys:keys", "Make, list and remove API keys."),
    "whatif": (
        "costmodel.commands.whatif:whatif",
        "Project the bill: per request, per month, break-even.",
    ),
    "capacity": (
        "costmodel.commands.capacity:capacity",
        "Find the smallest fleet that keeps a p99 and a promise.",
    ),
    "profile": (
        "costmodel.commands.profile:profile",
        "Measure a running router, so that its loads can be predicted.",
    ),
    "prices": ("costmodel.commands.prices:prices", "Show unit prices with source and date."),
    "loadtest": ("loadtests.commands:loadtest", "Drive a running router, open loop."),
    "bench": ("router.cli:bench", "Measure the figures of this project on your machine."),
}

BENCHES: Mapping[str, tuple[str, str]] = {
    "simulator": (
        "costmodel.bench.simulator:simulator",
        "Simulated requests per second, a month's seconds and memory, peers beside it.",
    ),
    "router": (
        "loadtests.bench.rates.router:router",
        "Requests a second on one core, beside a peer, and overload.",
    ),
    "published": (
        "loadtests.bench.published.command:published",
        "The router's published figures in one go: generator, rates, knee, overload, soak.",
    ),
    "workers": (
        "loadtests.bench.workers:workers",
        "What a second worker on a second core adds, and what a shared engine costs.",
    ),
    "faults": (
        "loadtests.bench.faults:faults",
        "The student's path while the teacher is dead, slow, refusing or garbling.",
    ),
    "encoder": (
        "loadtests.bench.encoder:encoder",
        "Share of an encoder's own texts a second that the router keeps.",
    ),
    "batch": (
        "router.bench.batch:batch",
        "A big table answered: texts a second and memory, beside the student alone and pandas.",
    ),
    "ray": (
        "router.bench.on_ray.hand_over:ray_serve",
        "What a student on Ray Serve costs, beside the shared engine and the process itself.",
    ),
    "database": (
        "loadtests.bench.database.command:database",
        "Ten million rows read, requests with PostgreSQL beside SQLite, and while it is dead.",
    ),
    "watching": (
        "loadtests.bench.watching.watching:watching",
        "What audits, a shadow and a looked-at page cost the answers of everybody else.",
    ),
    "soak": (
        "loadtests.bench.soak:soak",
        "Load a router for long: memory, descriptors and latency must stay.",
    ),
    "harness": (
        "loadtests.bench.harness:harness",
        "Requests a second that one core of the load generator sends on time.",
    ),
    "prediction": (
        "loadtests.bench.prediction:prediction",
        "The simulator against the served router: p50, p99, throughput, escalation, dollars.",
    ),
    "peers": (
        "loadtests.bench.peers:peers",
        "The same open-loop load on what others would run instead.",
    ),
    "certificate": (
        "students.bench.certificate:certificate",
        "Count broken promises over simulated deployments.",
    ),
    "against": (
        "loadtests.bench.rates.against:against",
        "This checkout and another in turns on one core: what a change costs.",
    ),
    "auto": (
        "students.bench.auto:auto",
        "Count promises that `student: auto` breaks, though it looks several times.",
    ),
    "ladder": (
        "router.bench.ladder:ladder",
        "False alarms and delays of the audits, and lives with drift and drift back.",
    ),
    "students": (
        "students.bench.students:students",
        "Texts a second of each student, beside sentence-transformers; seconds to distil.",
    ),
    "rungs": (
        "students.bench.rungs:rungs",
        "Every student of a task in one table: escalation as certified, speed, training time.",
    ),
    "gate": (
        "students.bench.gate:gate",
        "What the out-of-scope gate keeps of a task, and of texts of another one; AUROC.",
    ),
    "labelling": (
        "students.bench.labelling:labelling",
        "Share of the concurrency limit that labelling keeps busy.",
    ),
    "splits": (
        "students.bench.splits:splits",
        "A task's student as its splits are given, and with random rows as judges.",
    ),
    "memory": (
        "students.bench.memory:memory",
        "The most memory that labelling and distilling a big pile take.",
    ),
}


class LazyGroup(click.Group):
    """A click group over a table of name → ("module:attribute", one line of help)."""

    def __init__(self, table: Mapping[str, tuple[str, str]], **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of a working day."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command that was asked for, and no other."""
        if cmd_name not in self._table:
            return None
        module, attribute = self._table[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in self._table.items()])


main = LazyGroup(
    COMMANDS,
    name="raisehand",
    help=(
        "The student answers by default. When it is not sure, it raises its hand and the teacher "
        "answers."
    ),
    epilog="Start with: raisehand init tickets",
    context_settings={"help_option_names": ["-h", "--help"]},
)
click.version_option(package_name="raisehand", prog_name="raisehand")(main)


bench = LazyGroup(
    BENCHES,
    name="bench",
    help="Measure one figure of this project on your machine, e.g. raisehand bench certificate.",
)


def run() -> None:
    """Run the command line; an error raised on purpose is one sentence and an exit code."""
    spare_this_machine()
    try:
        # click hands the code of a command that exits on purpose back instead of raising it
        code = main(standalone_mode=False)
        if isinstance(code, int):
            sys.exit(code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        click.echo(_farewell(error), err=True)
        sys.exit(130)
    except Exception as error:
        error = not_installed(error) or error
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(code)


def spare_this_machine() -> None:
    """Keep a company's proxy out of requests to this machine: most libraries would ask it."""
    if not {"http_proxy", "https_proxy", "all_proxy"} & {name.lower() for name in os.environ}:
        return
    spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if spared.strip() != "*":
        both = ",".join(filter(None, [spared, "localhost", "127.0.0.1", "[::1]", "::1"]))
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = both


def _farewell(error: BaseException) -> str:
    """Say what becomes of the work of an interrupted command, as far as the command says it.

    click puts its Abort in the place of a KeyboardInterrupt.
    """
    said = [str(each) for each in (error, error.__cause__) if each is not None and str(each)]
    return said[0] if said else "Interrupted."
