"""`raisehand label` writes labels and their record, and asks before it spends."""

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from click.testing import CliRunner

from router.cli import main
from students.distill.run import bill_of
from students.errors import BadInputs, BudgetReached, TeacherDenied
from students.label.record import load_labels
from tests.waiting import PATIENCE_S, until


class Teacher(threading.Thread):
    """A /classify server on a loopback port, in a thread of its own."""

    def __init__(self):
        super().__init__(daemon=True)
        self.texts = []
        self.delay_s = 0.0
        self.texts_per_s = 0.0
        self.poison = ""
        self.lock = asyncio.Lock()
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
        if any(self.poison and self.poison in text for text in texts):
            return web.json_response({"error": {"message": "worker died"}}, status=500)
        # Aside, so that it is computed to its end even when nobody waits for it any more.
        return await asyncio.shield(asyncio.ensure_future(self._answer(texts)))

    async def _answer(self, texts):
        await asyncio.sleep(self.delay_s)
        if self.texts_per_s:
            async with self.lock:
                await asyncio.sleep(len(texts) / self.texts_per_s)
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
    assert thread._ready.wait(PATIENCE_S)
    yield thread
    thread.loop.call_soon_threadsafe(thread.loop.stop)
    thread.join(PATIENCE_S)


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
    assert record.usd == Decimal("1.65")
    assert (record.self_agreement.n, record.self_agreement.agreed) == (30, 30)
    assert (record.gold.n, record.gold.agreed) == (300, 300)
    assert record.label_mass == (0,) * 9 + (300,)
    assert (record.unsure, record.truncated, record.rejected) == (0, 0, 0)
    assert sorted(i for rows in record.splits.values() for i in rows) == list(range(300))
    assert len(teacher.texts) == 330 + 1
    again = _run(task_file)
    assert again.exit_code == 0, again.output
    assert "300 known" in again.stdout
    assert len(teacher.texts) == 330 + 1


def test_it_says_what_it_read_before_and_what_came_of_it_after(task_file, teacher):
    """Rows, copies and gold before the cost; answers by label after, and in the record."""
    inputs = task_file.parent / "inputs.csv"
    inputs.write_text(inputs.read_text() + "\nhelp aa,urgent\n,calm\n", encoding="utf-8")
    result = _run(task_file)
    assert teacher.texts == []
    read, gold, cost = result.stderr.splitlines()[:3]
    assert read == (
        f"Read 302 rows of {inputs}: 300 texts; 1 without text, left out; 1 copies of others, "
        "asked about once."
    )
    assert gold.startswith("Gold of 300 of them: calm 225, urgent 75")
    assert "questions to ask" in cost
    result = _run(task_file, "--yes")
    assert "calm 225, urgent 75" in " ".join(result.stdout.split())
    _, record = load_labels(task_file.parent / ".raisehand")
    assert record.answers == {"calm": 225, "urgent": 75}
    assert record.dropped["empty"] == 1


def test_it_asks_before_it_spends(task_file, teacher):
    """Without --yes or --max-usd and with nobody to confirm, nothing is sent; the cost is said."""
    result = _run(task_file)
    assert result.exit_code == 2
    assert "give --yes or --max-usd" in result.stderr
    assert "330 questions to ask" in result.stderr
    assert teacher.texts == []


def test_the_limit_on_money_stops_it_and_keeps_what_was_paid(task_file, teacher):
    """--max-usd ends the run with a sentence; a higher one goes on where it stopped."""
    result = _run(task_file, "--max-usd", "1")
    assert isinstance(result.exception, BudgetReached)
    assert "more than the $1.0 allowed" in result.stderr
    paid = len(teacher.texts) - 1
    assert 0 < paid * 5 / 1000 <= 1
    labelled, record = load_labels(task_file.parent / ".raisehand")
    assert (record.n, record.complete) == (len(labelled), False) == (paid, False)
    assert f"{paid} of 300 inputs, a random sample" in result.stderr
    assert len({text.split()[1][0] for text in labelled.texts}) > 2
    assert _run(task_file, "--max-usd", "100").exit_code == 0
    assert len(teacher.texts) == 330 + 1


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
    until(lambda: len(teacher.texts) >= 100, 0.01)
    process.kill()
    process.wait(PATIENCE_S)
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


@pytest.mark.e2e
def test_ctrl_c_leaves_labels_of_what_was_paid_for(task_file, teacher):
    """An end by hand is an early end like any other."""
    teacher.delay_s = 0.1
    task = yaml.safe_load(task_file.read_text())
    task["teacher"].update(max_concurrency=2, texts_per_call=4)
    task_file.write_text(yaml.safe_dump(task))
    command = [Path(sys.executable).parent / "raisehand", "label", "--task", task_file, "--yes"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until(lambda: len(teacher.texts) >= 60, 0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "run the same command to go on" in said
    labelled, record = load_labels(task_file.parent / ".raisehand")
    assert 50 <= record.n == len(labelled) < 300


def test_a_slow_serial_teacher_is_labelled_with(task_file, teacher):
    """Eight calls of 32 texts at a server of 32 texts a second died at 64 with timeout_s: 3."""
    teacher.texts_per_s = 320
    task = yaml.safe_load(task_file.read_text())
    task["teacher"]["timeout_s"] = 0.3
    task_file.write_text(yaml.safe_dump(task))
    result = _run(task_file, "--yes", "--repeats", "0", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n"] == len(teacher.texts) - 1 == 300


def test_an_answer_may_take_longer_than_in_service(task_file, teacher):
    """A teacher that thinks is slow, and timeout_s is what a request in service may wait."""
    teacher.delay_s = 0.3
    task = yaml.safe_load(task_file.read_text())
    task["teacher"]["timeout_s"] = 0.05
    task_file.write_text(yaml.safe_dump(task))
    result = _run(task_file, "--yes", "--repeats", "0", "--limit", "40")
    assert result.exit_code == 0, result.output
    assert len(teacher.texts) == 40 + 1


def test_a_poisonous_text_is_named_and_left_out(task_file, teacher, monkeypatch):
    """401 rows, one of which always fails: exit 2 and no labels, on every rerun."""
    monkeypatch.setattr("students.label.asking._BACKOFF_S", 0.001)
    teacher.poison = "fine dk"
    result = _run(task_file, "--yes", "--repeats", "0")
    assert result.exit_code == 0, result.output
    labelled, record = load_labels(task_file.parent / ".raisehand")
    assert (record.n, record.rejected, record.unusable) == (300, 1, 1)
    assert labelled.texts[list(labelled.usable).index(False)] == "fine dk"
    assert "fine dk" in result.stdout
    assert "worker died" in result.stdout


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_dead_account_ends_it_with_everything_paid_for_kept(task_file, teacher, status):
    """Exit 0 and "refused by the teacher 21" were said of a key that no longer was one."""
    plain, seen = teacher._answer, itertools.count()

    async def dying(texts):
        if next(seen) < 5:
            return await plain(texts)
        return web.json_response({"error": {"message": "no longer"}}, status=status)

    teacher._answer = dying
    result = _run(task_file, "--yes", "--repeats", "0")
    assert isinstance(result.exception, TeacherDenied)
    assert result.exception.exit_code == 2
    labelled, _ = load_labels(task_file.parent / ".raisehand")
    assert len(labelled) == len(teacher.texts) - 1 == 4 * 32


def test_a_sample_is_drawn_at_random(task_file, teacher):
    """--limit labels that many inputs, not the first ones of the file."""
    assert _run(task_file, "--limit", "50", "--yes", "--repeats", "0").exit_code == 0
    labelled, record = load_labels(task_file.parent / ".raisehand")
    assert record.n == 50
    assert len({text.split()[1][0] for text in labelled.texts}) > 10


@pytest.mark.parametrize(
    ("column", "sampling"), [("time", "latest"), ("group", "groups"), (None, "rows")]
)
def test_how_rows_that_judge_are_drawn_goes_into_bill_and_bundle(task_file, column, sampling):
    """The certificate states it, so what `distill` is told must be what `label` did."""
    path = task_file.parent / "inputs.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},more", *(f"{row},{i}" for i, row in enumerate(rows))]))
    task = yaml.safe_load(task_file.read_text())
    task["inputs"] |= {column: "more"} if column else {}
    task_file.write_text(yaml.safe_dump(task))
    assert _run(task_file, "--yes", "--repeats", "0").exit_code == 0
    _, record = load_labels(task_file.parent / ".raisehand")
    assert bill_of(record).sampling == record.sampling == sampling


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
