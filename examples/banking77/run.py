"""Banking77: 77 intents of a bank's customers, a MiniLM teacher, a certified student.

Half of the published train split fine-tunes the teacher on gold; the other half is labelled by it
and trains the student. The published test split, whose mix of intents is another, is the traffic: a
random half of it calibrates and certifies, the other half checks the promise.

    python examples/banking77/run.py --data FOLDER_WITH_train.csv_AND_test.csv

The data (CC BY 4.0, Casanueva et al. 2020) is the reader's to fetch: PolyAI-LDN's
task-specific-datasets, columns `text,category`.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

import numpy as np
import yaml
from rich.progress import Progress

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from fetch import minilm_folder  # noqa: E402
from servers import free_port, running  # noqa: E402
from steps import digest, fine_tune_once, raisehand, say, sha256  # noqa: E402

EPOCHS, LR = 6, 2e-4
HELD_OUT = {"validation": 500, "temperature": 300}


def main() -> None:
    """Label, distil and evaluate."""
    options = _options()
    train, test = _read(options.data / "train.csv"), _read(options.data / "test.csv")
    order = np.random.default_rng(0).permutation(len(train))
    half = len(train) // 2
    mine, rest = [train[i] for i in order[:half]], [train[i] for i in order[half:]]
    labels = sorted({gold for _, gold in train})
    with Progress() as progress:
        minilm = minilm_folder(options.cache / "downloads", progress)
    texts, gold = zip(*mine, strict=True)
    teacher = fine_tune_once(minilm, texts, gold, labels, options.cache, epochs=EPOCHS, lr=LR)

    work = options.cache / f"banking77-{digest(train, test, sha256(teacher / 'model.safetensors'))}"
    work.mkdir(parents=True, exist_ok=True)
    _write_inputs(work / "inputs.csv", rest + mine if options.own_rows else rest, test)
    port = free_port()
    _write_task(work / "task.yaml", labels, teacher, port, _student(options.student, minilm))
    task = str(work / "task.yaml")
    serve = ["teacher", "--model", str(teacher), "--name", "minilm-banking77", "--port", str(port)]
    say(serve)
    ready = f"http://127.0.0.1:{port}/health"
    with running(serve, ready_url=ready, log=work / "teacher.log"):
        raisehand("label", "--task", task, "--yes")
    raisehand("distill", "--task", task)
    raisehand("evaluate", "--task", task, "--html", str(work / "evaluation.html"))
    raisehand("whatif", "--task", task)


def _read(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [(line["text"].strip(), line["category"]) for line in csv.DictReader(stream)]


def _write_inputs(path: Path, rest: list[tuple[str, str]], test: list[tuple[str, str]]) -> None:
    rows, start = [], 0
    for split, size in HELD_OUT.items():
        rows += [(text, gold, split) for text, gold in rest[start : start + size]]
        start += size
    rows += [(text, gold, "train") for text, gold in rest[start:]]
    traffic = [test[i] for i in np.random.default_rng(0).permutation(len(test))]
    half = len(traffic) // 2
    rows += [(text, gold, "calibration") for text, gold in traffic[:half]]
    rows += [(text, gold, "test") for text, gold in traffic[half:]]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "gold", "split"])
        writer.writerows(rows)


def _student(family: str, minilm: Path) -> dict[str, object]:
    """The linear student tries every T and lambda; an encoder, which takes long, only these.

    T was chosen among 1, 2 and 4 by the first three epochs on the validation rows.
    """
    if family in ("linear", "frozen", "blend"):  # `bench rungs` climbs from the linear one, too
        return {"family": family, "encoder_path": str(minilm)}
    chosen = {"temperatures": [2], "hard_weights": [0], "epochs": 12}
    return {"family": family, "encoder_path": str(minilm), **chosen}


def _write_task(
    path: Path, labels: list[str], teacher: Path, port: int, student: dict[str, object]
) -> None:
    task = {
        "name": "banking77",
        "labels": labels,
        "teacher": {
            "mode": "classify",
            "base_url": f"http://127.0.0.1:{port}",
            "model": "minilm-banking77",
            "revision": sha256(teacher / "model.safetensors")[:12],
            "price": {"model": "anthropic:claude-sonnet-5-5"},
            "timeout_s": 15,
        },
        "inputs": {"path": "inputs.csv", "gold": "gold", "split": "split"},
        "promise": {"agreement": 0.97, "confidence": 0.95, "promise": "system"},
        "student": student,
    }
    path.write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="holds train.csv and test.csv")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/demo", help="kept work")
    parser.add_argument(
        "--own-rows", action="store_true", help="the student also learns from the teacher's rows"
    )
    families = "linear, frozen, blend, encoder or auto"
    parser.add_argument("--student", default="linear", help=families)
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    given.cache = given.cache.resolve()
    return given


if __name__ == "__main__":
    main()
