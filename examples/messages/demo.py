"""The main job, end to end, on real messages. `make demo` runs this.

    messages → stand-in teacher → soft labels → student → certificate → router → load test → bill

Every step that a user would run on their own task is run as that very command, and printed. Work
is kept in a cache under the fingerprint of what it was made from: a second run repeats only what
has changed, and the load test.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.progress import Progress

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fetch import messages_csv, minilm_folder  # noqa: E402
from results import collect, write_results  # noqa: E402
from rows import LABELS, TEACHER_ROWS, Row, read_rows, write_inputs  # noqa: E402
from servers import free_port, running  # noqa: E402
from steps import console, digest, fine_tune_once, raisehand, say, sha256  # noqa: E402


@dataclass(frozen=True)
class Options:
    """How large a demo to run, and where."""

    cache: Path
    reports: Path
    limit: int | None
    rate: float
    seconds: float
    agreement: float | None


def main() -> None:
    """Run the demo; errors raised on purpose are one sentence and an exit code."""
    options = _options()
    try:
        run(options)
    except subprocess.CalledProcessError as error:
        console.print(f"[bold red]The command above ended with exit code {error.returncode}.")
        sys.exit(error.returncode)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        console.print(f"[bold red]Error:[/] {error}")
        sys.exit(code)


def run(options: Options) -> None:
    """Tell the story from top to bottom."""
    downloads = options.cache / "downloads"
    with Progress(console=console) as progress:
        messages = messages_csv(downloads, progress)
        minilm = minilm_folder(downloads, progress)
    rows = read_rows(messages, limit=options.limit)
    teacher = fine_tuned_teacher(rows, minilm, options.cache)

    port, router_port = free_port(), free_port()
    task = write_task(rows, teacher, minilm, port, options)
    work = task.parent
    logs = work / "logs"
    serve_teacher = ["teacher", "--model", str(teacher), "--name", "minilm-urgent"]
    serve_teacher += ["--port", str(port), "--task", str(task)]
    say(serve_teacher)
    with running(
        serve_teacher,
        ready_url=f"http://127.0.0.1:{port}/health",
        log=logs / "teacher.log",
    ):
        raisehand("label", "--task", str(task), "--yes")
        distill_if_changed(task)
        serve = ["serve", "--task", str(task), "--port", str(router_port)]
        say(serve)
        ready = f"http://127.0.0.1:{router_port}/readyz"
        with running(serve, ready_url=ready, log=logs / "router.log"):
            test = work / "test.csv"
            duration = min(
                options.seconds, sum(1 for _ in test.open(encoding="utf-8")) / options.rate
            )
            raisehand(
                "loadtest",
                "--url", f"http://127.0.0.1:{router_port}",
                "--inputs", str(test),
                "--order", "sequential",
                "--rate", str(options.rate),
                "--duration", f"{duration:.1f}",
                "--samples", str(work / "samples.jsonl"),
                "--json", str(work / "load.json"),
                allowed=(0, 1),  # 1: the run does not count; the results say so and why
            )  # fmt: skip
    results = collect(task, work / "load.json", work / "samples.jsonl")
    write_results(results, options.reports, console)


def fine_tuned_teacher(rows: list[Row], minilm: Path, cache: Path) -> Path:
    """Return the stand-in teacher: MiniLM fine-tuned on its own gold rows, once per content."""
    mine = [row for row in rows if row.split == "teacher"]
    few = len(mine) < TEACHER_ROWS // 2  # a slice: the same progress in fewer, longer steps
    return fine_tune_once(
        minilm,
        [row.text for row in mine],
        [row.gold for row in mine],
        LABELS,
        cache,
        epochs=4 if few else 2,
        lr=2e-4 if few else 5e-5,
    )


def write_task(rows: list[Row], teacher: Path, minilm: Path, port: int, options: Options) -> Path:
    """Write the run's task file and inputs: the example's own, with this run's address."""
    weights = sha256(teacher / "model.safetensors")
    work = options.cache / f"run-{digest([[r.text, r.gold, r.split] for r in rows], weights)}"
    work.mkdir(parents=True, exist_ok=True)
    write_inputs(rows, work / "inputs.csv")
    write_inputs([row for row in rows if row.split == "test"], work / "test.csv")
    task = yaml.safe_load((HERE / "task.yaml").read_text(encoding="utf-8"))
    task["teacher"]["base_url"] = f"http://127.0.0.1:{port}"
    task["teacher"]["revision"] = weights[:12]
    task["student"]["encoder_path"] = str(minilm)  # for who climbs on: `bench rungs`, `auto`
    if options.agreement is not None:
        task["promise"]["agreement"] = options.agreement
    path = work / "task.yaml"
    path.write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    return path


def distill_if_changed(task: Path) -> None:
    """Distil unless the newest bundle was made from these labels, this task and this code."""
    asked = yaml.safe_load(task.read_text(encoding="utf-8"))
    key = digest(
        sha256(task.parent / ".raisehand/labels.npz"),
        {name: asked.get(name) for name in ("promise", "student", "labels")},
        *(sha256(path) for path in sorted((ROOT / "students").rglob("*.py"))),
    )
    done = task.parent / "distilled"
    if not done.exists() or done.read_text(encoding="utf-8") != key:
        raisehand("distill", "--task", str(task))
        done.write_text(key, encoding="utf-8")
    else:
        say(["distill", "--task", str(task)])
        console.print("Kept from an earlier run: labels, task and code are the same.")


def _options() -> Options:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0],
        epilog="example: python examples/messages/demo.py --limit 5000 --seconds 10",
    )
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/demo", help="kept work")
    parser.add_argument("--reports", type=Path, default=ROOT / "reports", help="results go here")
    parser.add_argument("--limit", type=int, help="use about so many of the 26,246 messages")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second offered")
    parser.add_argument("--seconds", type=float, default=26.0, help="load test, at most")
    parser.add_argument("--agreement", type=float, help="promise another agreement")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return Options(
        given.cache.resolve(),
        given.reports.resolve(),
        given.limit,
        given.rate,
        given.seconds,
        given.agreement,
    )


if __name__ == "__main__":
    main()
