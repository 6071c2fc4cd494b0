"""`raisehand loadtest`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="Example: raisehand loadtest --url http://127.0.0.1:8080 --inputs data.csv "
    "--text text --rate 100 --duration 20"
)
@click.option("--url", required=True, help="The running server, e.g. http://127.0.0.1:8080.")
@click.option("--inputs", required=True, type=click.Path(path_type=Path), help=".csv or .jsonl.")
@click.option("--text", default="text", show_default=True, help="Column that holds the text.")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the inputs.")
@click.option("--order", default="shuffled", show_default=True, help="sequential or shuffled.")
@click.option("--surface", default="classify", show_default=True, help="classify or chat.")
@click.option("--model", default="raisehand", show_default=True, help="chat: the model asked for.")
@click.option("--system", default="", help="chat: the system message.")
@click.option("--user", default="{text}", show_default=True, help="chat: the user message.")
@click.option("--api-key-env", help="Environment variable that holds the bearer key.")
@click.option("--rate", type=float, required=True, help="Requests per second.")
@click.option("--arrivals", default="poisson", show_default=True, help="poisson or constant.")
@click.option("--duration", default=20.0, show_default=True, help="Seconds that are measured.")
@click.option("--warmup", default=2.0, show_default=True, help="Seconds before, not measured.")
@click.option("--seed", default=0, show_default=True, help="Fixes arrivals and order.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds until a request failed.")
@click.option("--processes", default=1, show_default=True, help="Locust processes.")
@click.option("--concurrency", default=2000, show_default=True, help="In flight per process.")
@click.option("--max-failure-rate", default=0.01, show_default=True, help="SLO: share failed.")
@click.option("--p99-ms", type=float, help="SLO: 99 % of the requests answered within this.")
@click.option("--max-send-lag-ms", default=5.0, show_default=True, help="Void above this p99.")
@click.option("--max-generator-cpu", default=0.7, show_default=True, help="Void above this share.")
@click.option("--allow-remote", is_flag=True, help="The target is not this machine, but yours.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the report.")
@click.option("--samples", type=click.Path(path_type=Path), help="Write one JSON line per request.")
def loadtest(
    json_path: Path | None, max_failure_rate: float, p99_ms: float | None, **settings: object
) -> None:
    """Drive a running server with real inputs, open loop.

    Requests leave at instants fixed in advance, however slow the server is; latency counts from
    those instants. Exit code 0: the run counts and meets its SLO. 1: it does not. 2: it could not
    be run.
    """
    from loadtests.run import run_load
    from loadtests.slo import load_slo
    from loadtests.spec import load_spec
    from loadtests.terminal import progress_bar, show

    for option in ("duration", "warmup", "timeout"):
        settings[f"{option}_s"] = settings.pop(option)
    spec = load_spec(**settings)
    latency = {} if p99_ms is None else {"all": {"p99": p99_ms}}
    slo = load_slo(max_failure_rate=max_failure_rate, latency_ms=latency)
    with progress_bar(spec) as progress:
        report = run_load(spec, slo, progress=progress)
    show(report)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if not report.passed:
        raise click.exceptions.Exit(1)
