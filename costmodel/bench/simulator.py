"""`raisehand bench simulator`: requests per second, a month in seconds and megabytes, and peers.

Peers run in an environment of their own (default `.venv-peers`):

    python3 -m venv .venv-peers && .venv-peers/bin/pip install simpy ciw vllm-sr-sim
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from costmodel.inputs.asking import Asking
from costmodel.inputs.fleet import Noise, StudentFleet
from costmodel.inputs.scenario import ApiTeacher, HostedTeacher, Policy, Scenario
from costmodel.inputs.workload import BUSINESS_DAY, Lengths, Workload
from costmodel.queueing.closed_forms import MMc
from costmodel.units import DAY_S

MONTH_REQUESTS = 300_000_000
ARRIVAL = 1000.0
PEERS = ("simpy_cascade", "ciw_cascade", "fleet_sim_pool")
PEER_TIMEOUT_S = 120.0
LOADS = (0.9, 2.0, 50.0, 100.0)
PRICE = {"usd_per_mtok_input": 0.15, "usd_per_mtok_output": 0.6}


KINDS = ("api", "hosted")


def cascade(requests: int, kind: str = "api") -> Scenario:
    """Full cascade at 1,000 requests a second, with all that the router does.

    A batching student, 8 % escalation, audits, the guard with hedging, budgets in calls and in
    dollars, and an API or engines of one's own.
    """
    asked = {"max_concurrency": 64, "asking": Asking(hedge=True), "price": PRICE}
    api = ApiTeacher(latency_s=0.5, noise=Noise(kind="lognormal", cv=0.5), **asked)
    engines = HostedTeacher(replicas=2, step_s=0.012, output_tokens=Lengths(mean=4), **asked)
    return Scenario(
        name="bench",
        workload=Workload(per_second=ARRIVAL, tokens=Lengths(mean=40, cv=0.8)),
        days=requests / ARRIVAL / DAY_S,
        student=StudentFleet(fixed_s=0.0003, per_token_s=0.000002, replicas=2),
        policy=Policy(
            escalation_rate=0.08, audit_rate=0.01, budget_per_s=75.0, budget_usd_per_hour=60.0
        ),
        teacher=api if kind == "api" else engines,
    )


def month(kind: str = "api") -> Scenario:
    """300 million requests: 10 million a day for 30 days of office hours."""
    base = cascade(1, kind)
    return base.model_copy(
        update={
            "name": "month",
            "days": 30.0,
            "workload": Workload(
                per_day=MONTH_REQUESTS / 30, hourly=BUSINESS_DAY, tokens=base.workload.tokens
            ),
        }
    )


@dataclass(frozen=True)
class Speed:
    """Simulated requests per second of several runs on one core."""

    requests: int
    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    """Per second that the core really gave to the run; equal to `wall` on a quiet machine."""


def measure_speed(requests: int, runs: int, kind: str = "api") -> Speed:
    """Run the cascade several times in this thread, after one run that compiles."""
    from costmodel.engine.run import simulate

    scenario = cascade(requests, kind)
    simulate(cascade(10_000, kind))
    wall, cpu = [], []
    for seed in range(runs):
        result = simulate(scenario, seed)
        wall.append(result.counts["requests"] / result.wall_s)
        cpu.append(result.counts["requests"] / result.cpu_s)
    return Speed(requests, tuple(wall), tuple(cpu))


def measure_month(workers: int, kind: str = "api") -> dict[str, float]:
    """Simulate the month in a fresh process; seconds from call to result, and peak megabytes."""
    code = f"from costmodel.bench.simulator import run_month; run_month({workers}, {kind!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def run_month(workers: int, kind: str) -> None:
    """Body of the fresh process: prints JSON."""
    from costmodel.engine.run import simulate

    simulate(cascade(1000, kind))
    begun = time.perf_counter()
    result = simulate(month(kind), 1, workers=workers)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {"seconds": seconds, "peak_mb": peak, "requests": result.counts["requests"]}
    told["in_one_piece"] = len(result.warnings)
    sys.stdout.write(json.dumps(told | {"cpu_seconds": result.cpu_s}))


def run_peer(python: Path, script: str, told: dict[str, Any]) -> dict[str, Any] | None:
    """Run one peer's script in its environment; None when it is not there or takes too long."""
    path = Path(__file__).with_name("peers") / f"{script}.py"
    try:
        done = subprocess.run(
            [str(python), str(path), json.dumps(told)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PEER_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        return None
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure_peers(python: Path, requests: int, runs: int) -> dict[str, dict[str, Any]]:
    """Requests per second of a core's own time, of each peer found: median and spread."""
    fields = {
        "requests": requests, "arrival": ARRIVAL, "fixed_s": 0.0003, "per_token_s": 0.000002,
        "token_mean": 40, "token_cv": 0.8, "replicas": 2, "max_batch": 64, "escalation": 0.08,
        "teacher_s": 0.5, "teacher_cv": 0.5, "slots": 64, "load": 0.9,
    }  # fmt: skip
    found = {}
    for script in PEERS:
        if script == "fleet_sim_pool":
            fields["slots"] = 128
        answers = [run_peer(python, script, fields | {"seed": seed}) for seed in range(runs)]
        told = [answer for answer in answers if answer is not None]
        if told:
            speeds = [answer["requests"] / answer["cpu_seconds"] for answer in told]
            found[script.rpartition("_")[0]] = {
                "requests_per_cpu_s": statistics.median(speeds),
                "spread": [min(speeds), max(speeds)],
                "version": told[0]["version"],
                "scenario": told[0]["scenario"],
            }
    return found


def overload_table(python: Path, requests: int = 20_000) -> list[dict[str, Any]]:
    """Wait and throughput of a pool of 128 slots from 0.9 to 100 times its capacity.

    Erlang's formula, this simulator, and vllm-sr-sim where it is installed.
    """
    from costmodel.engine.run import simulate

    slots, service_s = 128, 1.01
    rows = []
    for load in LOADS:
        arrival = load * slots / service_s
        pool = Scenario(
            name="pool",
            workload=Workload(per_second=arrival, tokens=Lengths(mean=1)),
            days=requests / arrival / DAY_S,
            student=StudentFleet(
                fixed_s=service_s,
                per_token_s=0,
                noise=Noise(kind="exponential"),
                replicas=slots,
                max_batch=1,
                queue_limit=2**20,
            ),
            policy=Policy(escalation_rate=0, audit_rate=0, deadline_s=1e9),
        )
        run = simulate(pool, 1)
        told = {"requests": requests, "seed": 1, "slots": slots, "load": load}
        peer = run_peer(python, "fleet_sim_pool", told)
        exact = MMc(arrival, 1 / service_s, slots).wait_s if load < 1 else None
        rows.append(
            {
                "load": load,
                "capacity_per_s": slots / service_s,
                "exact_wait_s": exact,
                "wait_s": run.stages["student_wait"].mean_s,
                "throughput_per_s": run.student_busy_s / service_s / run.seconds,
                "vllm_sr_sim_wait_s": peer["wait_s"] if peer else None,
                "vllm_sr_sim_throughput_per_s": peer["throughput_per_s"] if peer else None,
            }
        )
    return rows


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


@click.command()
@click.option("--requests", default=5_000_000, show_default=True, help="Requests of one run.")
@click.option("--runs", default=5, show_default=True, help="Runs; the median is reported.")
@click.option("--month/--no-month", "with_month", default=True, help="Also simulate the month.")
@click.option("--workers", default=2, show_default=True, help="Cores for the month.")
@click.option("--theory", is_flag=True, help="Also simulate what is known exactly (a minute).")
@click.option(
    "--peers", default=".venv-peers", show_default=True, type=click.Path(path_type=Path),
    help="Environment with simpy, ciw and vllm-sr-sim; what is missing is left out.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def simulator(
    requests: int,
    runs: int,
    with_month: bool,
    workers: int,
    theory: bool,
    peers: Path,
    as_json: bool,
) -> None:
    """Measure the simulator on this machine, other simulators beside it.

    Example: raisehand bench simulator --json
    """
    from rich.console import Console

    notes = Console(stderr=True)
    with notes.status("Compiling and simulating the cascade"):
        speed = measure_speed(requests, runs)
        own = measure_speed(requests, runs, "hosted")
    python = peers / "bin" / "python"
    found, overload = {}, []
    if python.exists():
        with notes.status("Running other simulators"):
            found = measure_peers(python, 20_000, 3)
            overload = overload_table(python)
    told: dict[str, Any] = {
        "requests_per_s": statistics.median(speed.wall),
        "requests_per_s_spread": _spread(speed.wall),
        "requests_per_cpu_s": _spread(speed.cpu),
        "hosted_requests_per_s": _spread(own.wall),
        "hosted_requests_per_cpu_s": _spread(own.cpu),
        "runs": runs,
        "requests": requests,
        "peers": found,
        "ratios": {
            name: statistics.median(speed.cpu) / peer["requests_per_cpu_s"]
            for name, peer in found.items()
        },
        "overload": overload,
    }
    if theory:
        from costmodel.bench.theory import table

        with notes.status("Simulating what is known exactly"):
            told["theory"] = table()
    if with_month:
        with notes.status(f"Simulating {MONTH_REQUESTS:,} requests on {workers} cores"):
            measured = measure_month(workers)
            hosted = measure_month(workers, "hosted")
        told |= {
            "hosted_month_s": hosted["seconds"],
            "month_in_one_piece": bool(measured["in_one_piece"]),
            "month_s": measured["seconds"],
            "month_requests": measured["requests"],
            "month_cpu_s": measured["cpu_seconds"],
            "peak_mb": measured["peak_mb"],
            "workers": workers,
        }
    click.echo(json.dumps(told, indent=2) if as_json else _words(told))


def _words(told: dict[str, Any]) -> str:
    per_s, spread = told["requests_per_s"], told["requests_per_s_spread"]
    own, cores = (told[f"hosted_requests_per_{kind}"]["median"] for kind in ("s", "cpu_s"))
    lines = [
        f"{per_s / 1e6:.2f} M requests/s on one core "
        f"({spread['least'] / 1e6:.2f} to {spread['most'] / 1e6:.2f} M in {told['runs']} runs; "
        f"{told['requests_per_cpu_s']['median'] / 1e6:.2f} M per second of the core's own time)",
        f"with engines of one's own {own / 1e6:.2f} M requests/s ({cores / 1e6:.2f} M per second "
        "of the core's own time)",
    ]
    for name, peer in told["peers"].items():
        lines.append(
            f"{told['ratios'][name]:,.0f} x {name} {peer['version']} "
            f"({peer['requests_per_cpu_s']:,.0f} requests/s of a core; {peer['scenario']})"
        )
    if not told["peers"]:
        lines.append("no other simulator found: see --help for how to install them")
    for row in told.get("theory", ()):
        lines.append(
            f"{row['case']}: exact {row['exact']:.5f}, simulated {row['mean']:.5f} "
            f"({row['low']:.5f} to {row['high']:.5f})"
        )
    if "month_s" in told:
        lines.append(
            f"a month of {told['month_requests']:,} requests in {told['month_s']:.0f} s on "
            f"{told['workers']} cores, {told['peak_mb']:.0f} MB; with engines of one's own "
            f"{told['hosted_month_s']:.0f} s"
        )
    return "\n".join(lines)
