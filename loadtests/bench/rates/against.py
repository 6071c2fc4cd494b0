"""`raisehand bench against`: this checkout and another in turns on one core: what a change costs.

Two figures of two days say little where others use the machine, too. In a pair both are loaded for
some seconds, one right after the other, and the first of a pair alternates: the median of the
pairs' ratios is what noise leaves over, and its spread is said beside it. The least processor time
of a request is steadier still.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from costmodel.commands.options import JSON
from loadtests.bench.driving import chat_spec, drive
from loadtests.bench.options import CLIENT_CORE, CONNECTIONS, CORE
from router.bench.process import python_subject, take_client_core
from router.errors import BadSettings

if TYPE_CHECKING:
    from loadtests.bench.rates.clients import ClientFigures
    from router.bench.process import Subject

HERE = Path(__file__).parents[3]
SERVERS = ("router/bench/servers/target.py", "router/bench/target.py")
"""Where a checkout has the server of its benches, now and in early ones."""


@click.command(name="against", epilog="Example: raisehand bench against ../raisehand-main")
@click.argument("tree", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--pairs", default=16, show_default=True, type=click.IntRange(2))
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement.")
@CONNECTIONS
@CORE
@CLIENT_CORE
@JSON
def against(
    tree: Path,
    pairs: int,
    seconds: float,
    connections: int,
    core: int,
    client_core: int,
    as_json: bool,
) -> None:
    """Measure this checkout's router beside that of the checkout in TREE.

    Both run with this environment's libraries on one core, a linear student of 77 labels decides
    every request, ledger and metrics are on. TREE may be any commit: git worktree add --detach TREE
    COMMIT.
    """
    take_client_core(core, client_core)
    trees = {"this": HERE, "other": tree.resolve()}
    report = _measure(trees, pairs, seconds, connections, core)
    report["other_tree"] = str(tree)
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))


def _measure(
    trees: Mapping[str, Path], pairs: int, seconds: float, connections: int, core: int
) -> dict[str, Any]:
    from loadtests.bench.rates.clients import ClientFigures

    measured = {name: ClientFigures() for name in trees}
    with ExitStack() as stack:
        spec = chat_spec(Path(stack.enter_context(TemporaryDirectory())))
        subjects = {name: stack.enter_context(_served(tree, core)) for name, tree in trees.items()}
        for pair in range(pairs + 1):  # the first warms both up
            for name in list(trees)[:: 1 if pair % 2 else -1]:
                measured[name].add(
                    drive([subjects[name]], spec, closed_loop=connections, duration_s=seconds)
                )
    for one in measured.values():
        one.forget_warm_up()
    return _report(measured["this"], measured["other"], seconds, connections)


@contextmanager
def _served(tree: Path, core: int) -> Iterator[Subject]:
    """Run the benches' server of a checkout.

    Raises:
        BadSettings: it has none, or it did not start.
    """
    found = next((path for path in SERVERS if (tree / path).is_file()), None)
    if found is None:
        raise BadSettings(f"{tree} is no checkout of this project: it has no {SERVERS[0]}")
    module = found.removesuffix(".py").replace("/", ".")
    with python_subject(module, core, tree=tree) as subject:
        yield subject


def _report(
    ours: ClientFigures, theirs: ClientFigures, seconds: float, connections: int
) -> dict[str, Any]:
    return {
        "rps": _ratios(ours.rps, theirs.rps),
        "cpu_us": _ratios(ours.cpu_us, theirs.cpu_us),
        "least_cpu_us": {"this": min(ours.cpu_us), "other": min(theirs.cpu_us)},
        "split_us": {"this": ours.split_us, "other": theirs.split_us},
        "failed": ours.failed + theirs.failed,
        "pairs": len(ours.rps),
        "seconds": seconds,
        "connections": connections,
    }


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return medians, and of the pairs' ratios the median, the middle half and the ends."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    low, _, high = quantiles(ratios, n=4, method="inclusive")
    return {
        "this": median(ours),
        "other": median(theirs),
        "ratio": round(median(ratios), 3),
        "middle_half": [round(low, 3), round(high, 3)],
        "range": [round(ratios[0], 3), round(ratios[-1], 3)],
    }


def _words(report: Mapping[str, Any]) -> str:
    lines = [f"This checkout beside {report['other_tree']}, {report['pairs']} pairs:"]
    for name, said in (("rps", "requests/s"), ("cpu_us", "µs of processor a request")):
        one = report[name]
        lines.append(
            f"{one['this']:,g} against {one['other']:,g} {said} (medians); ratio of a pair "
            f"{one['ratio']:g}, half of them {one['middle_half'][0]:g} to {one['middle_half'][1]:g}"
            f", all {one['range'][0]:g} to {one['range'][1]:g}"
        )
    least = report["least_cpu_us"]
    lines.append(f"{least['this']:g} against {least['other']:g} µs at least")
    if report["failed"]:
        lines.append(f"{report['failed']} requests failed: the figures are not to be compared.")
    return "\n".join(lines)
