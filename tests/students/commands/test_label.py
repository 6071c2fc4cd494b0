"""`raisehand label` writes labels and their record, and asks before it spends."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from click.testing import CliRunner

from router.cli import main
from students.errors import BadInputs, BudgetReached
from students.label.record import load_labels


class Teacher(threading.Thread):
    """A /classify server on a loopback port, in a thread of its own."""

    def __init__(self):
        super().__init__(daemon=True)
        self.texts = []
        self.delay_s = 0.0
        self._ready = threading.Event()

    def run(self):
        """Serve until stopped."""
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._start())
        self._ready.set()
        self.loop.run_forever()
        self.loop.run_until_complete(self._runner.cleanup())

    async def _start(self):
        app = web.Application()
        app.router.add_post("/classify", self._classify)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    async def _classify(self, request):
        texts = (await request.json())["input"]
        await asyncio.sleep(self.delay_s)
        self.texts.extend(texts)
        data = []
        for i, text in enumerate(texts):
            p = [0.1, 0.9] if "help" in text else [0.8, 0.2]
            label = "urgent" if p[1] > p[0] else "calm"
            data.append({"index": i, "label": label, "probs": p, "num_classes": 2})
        return web.json_response({"data": data, "usage": {"prompt_tokens": 5 * len(texts)}})


@pytest.fixture
def teacher():
    """A running teacher."""
    thread = Teacher()
    thread.start()
    assert thread._ready.wait(10)
    yield thread
    thread.loop.call_soon_threadsafe(thread.loop.stop)
    thread.join(5)


@pytest.fixture
def task_file(tmp_path, teacher):
    """A task with 300 inputs, every third with gold."""
    words = [f"{a}{b}" for a in "abcdefghijklmnopqrstu" for b in "abcdefghijklmno"][:300]
    rows = [f"{'help' if i % 4 == 0 else 'fine'} {w},{'urgent' if i % 4 == 0 else 'calm'}"
            for i, w in enumerate(words)]  # fmt: skip
    (tmp_path / "inputs.csv").write_text("text,gold\n" + "\n".join(rows), encoding="utf-8")
    task = {
        "name": "mail",
        "labels": ["calm", "urgent"],
        "teacher": {
            "mode": "classify",
            "base_url": teacher.base_url,
            "model": "m",
            "terms": "own model",
            "price": {"usd_per_mtok_input": 1000, "usd_per_mtok_output": 0},
        },
        "inputs": {"path": "inputs.csv", "gold": "gold"},
    }
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(task))
    return path


def _run(task_file, *options, **settings):
    return CliRunner().invoke(main, ["label", "--task", str(task_file), *options], **settings)


def test_labels_and_record_are_written(task_file, teacher):
    """The record says n, bill, self-agreement, gold, label mass and splits; the labels fit it."""
    result = _run(task_file, "--yes", "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    labelled, record = load_labels(task_file.parent / ".raisehand")
    assert printed["n"] == record.n == len(labelled) == 300
    assert record.usd == 500 * 5 / 1000
    assert (record.self_agreement.n, record.self_agreement.agreed) == (200, 200)
    assert (record.gold.n, record.gold.agreed) == (300, 300)
    assert record.label_mass == (0,) * 9 + (300,)
    assert (record.unsure, record.truncated, record.rejected) == (0, 0, 0)
    assert sorted(i for rows in record.splits.values() for i in rows) == list(range(300))
    assert len(teacher.texts) == 500 + 1
    again = _run(task_file)
    assert again.exit_code == 0, again.output
    assert "300 known" in again.stdout
    assert len(teacher.texts) == 500 + 1


def test_it_asks_before_it_spends(task_file, teacher):
    """Without --yes or --max-usd and with nobody to confirm, nothing is sent; the cost is said."""
    result = _run(task_file)
    assert result.exit_code == 2
    assert "give --yes or --max-usd" in result.stderr
    assert "500 questions to ask" in result.stderr
    assert teacher.texts == []


def test_the_limit_on_money_stops_it_and_keeps_what_was_paid(task_file, teacher):
    """--max-usd ends the run with a sentence; a higher one goes on where it stopped."""
    result = _run(task_file, "--max-usd", "1")
    assert isinstance(result.exception, BudgetReached)
    assert "more than the $1.0 allowed" in result.stderr
    paid = len(teacher.texts) - 1
    assert 0 < paid * 5 / 1000 <= 1
    assert _run(task_file, "--max-usd", "100").exit_code == 0
    assert len(teacher.texts) == 500 + 1


@pytest.mark.e2e
def test_a_killed_run_resumes_without_a_second_charge(task_file, teacher):
    """After kill -9 only questions that were in flight are asked again; every answer is kept."""
    in_flight = 2 * 4
    task = yaml.safe_load(task_file.read_text())
    task["teacher"].update(max_concurrency=2, texts_per_call=4)
    task_file.write_text(yaml.safe_dump(task))
    teacher.delay_s = 0.05
    command = [Path(sys.executable).parent / "raisehand", "label", "--task", task_file, "--yes"]
    process = subprocess.Popen([*command, "--repeats", "0"], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(teacher.texts) < 100 and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait(10)
    time.sleep(0.2)
    assert 100 <= len(teacher.texts) < 280
    teacher.delay_s = 0.0
    result = _run(task_file, "--yes", "--repeats", "0", "--json")
    assert result.exit_code == 0, result.output
    probe = 1
    assert len(teacher.texts) <= 300 + in_flight + probe
    record = json.loads(result.stdout)
    assert record["n"] == record["asked"] + record["cached"] == 300
    assert record["cached"] >= 100 - in_flight - 1
    assert float(record["usd"]) == 300 * 5 / 1000


def test_a_sample_is_drawn_at_random(task_file, teacher):
    """--limit labels that many inputs, not the first ones of the file."""
    assert _run(task_file, "--limit", "50", "--yes", "--repeats", "0").exit_code == 0
    labelled, record = load_labels(task_file.parent / ".raisehand")
    assert record.n == 50
    assert len({text.split()[1][0] for text in labelled.texts}) > 10


def test_a_copy_is_asked_once_and_counts_each_time(task_file, teacher):
    """300 texts in 600 rows are 300 questions, and the rows that judge are drawn from 600."""
    path = task_file.parent / "inputs.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows, *rows]))
    assert _run(task_file, "--yes", "--repeats", "0").exit_code == 0
    _, record = load_labels(task_file.parent / ".raisehand")
    assert (record.n, record.rows) == (300, 600)
    assert len(teacher.texts) == 300 + 1
    assert len(record.splits["calibration"]) > len(set(record.splits["calibration"]))


def test_missing_terms_are_pointed_out(task_file, teacher):
    """A task that says nothing of the provider's terms gets a note, not a refusal."""
    task = yaml.safe_load(task_file.read_text())
    del task["teacher"]["terms"]
    task_file.write_text(yaml.safe_dump(task))
    result = _run(task_file, "--limit", "10", "--yes")
    assert result.exit_code == 0
    assert "teacher.terms is empty" in result.stderr


def test_labels_and_record_must_belong_together(task_file):
    """A record beside other labels, or a damaged one, is refused with the way out."""
    work = task_file.parent / ".raisehand"
    with pytest.raises(BadInputs, match="run `raisehand label` first"):
        load_labels(work)
    assert _run(task_file, "--limit", "10", "--yes").exit_code == 0
    record = (work / "labels.json").read_text()
    assert _run(task_file, "--limit", "20", "--yes").exit_code == 0
    (work / "labels.json").write_text(record)
    with pytest.raises(BadInputs, match="describes other labels"):
        load_labels(work)
    (work / "labels.json").write_text("{}")
    with pytest.raises(BadInputs, match="is not a labelling record"):
        load_labels(work)
