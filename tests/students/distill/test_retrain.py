"""What teaches never judges, what judges is a fresh random sample, and the weights are right."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations

import msgspec
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from router.cli import main
from students.distill.retrain import MOST_WEIGHT, gather, last_judged, part_of
from students.errors import BadInputs
from students.label.labelled import LabelledSet
from students.label.split import LEARNT
from students.labels import LabelSchema
from students.runtime.bundle import find_bundle
from students.sections import TextsSection
from students.task import load_task
from students.texts.cipher import open_cipher
from students.texts.learnt import bundles_of
from students.texts.store import TEXTS_FILE, KeptText, Said, TextWriter

WORDS = {
    "help": ["please", "send", "water", "food", "rescue", "trapped", "urgent", "medicine"],
    "other": ["thanks", "weather", "report", "news", "yesterday", "nice", "photo", "music"],
}
NAMES = tuple(WORDS)


@pytest.fixture
def at(tmp_path):
    """A task that keeps texts."""
    task = {
        "name": "demo", "labels": list(NAMES), "work_dir": "work", "audit_rate": 0.1,
        "teacher": {
            "mode": "classify", "base_url": "http://127.0.0.1:9", "model": "m", "revision": "1",
            "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
        },
        "inputs": {"path": "inputs.csv"},
        "promise": {"agreement": 0.95},
        "student": {"temperatures": [1], "hard_weights": [0], "l2": [0.01]},
        "store_texts": {"basis": "a test", "mask": False},
    }  # fmt: skip
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    return tmp_path


def traffic(n, rate=0.1, seed=0, start=0.0, teacher="m@1", prefix="r"):
    """What a router keeps: a third escalated; of all, `rate` drawn."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        label = int(rng.integers(2))
        text = " ".join(rng.choice(WORDS[NAMES[label]], 4)) + f" {rng.integers(10**6)}"
        escalated, drawn = rng.random() < 1 / 3, rng.random() < rate
        if not escalated and not drawn:
            continue
        shares = [0.05, 0.05]
        shares[label] = 0.95
        yield KeptText(
            task="demo",
            request_id=f"{prefix}-{i}",
            at=start + i,
            kind="escalation" if escalated else "audit",
            propensity=rate if drawn else 0.0,
            said=Said(
                text=text,
                student_label=NAMES[label],
                confidence=0.9,
                teacher_label=NAMES[label],
                probabilities=shares,
                teacher=teacher,
            ),
        )


def keep(at, texts):
    """Write texts into the task's store and read them back."""
    task = load_task(at / "task.yaml")
    cipher = open_cipher(task.store_texts, task.work_dir)
    writer = TextWriter(
        task.work_dir / TEXTS_FILE, cipher, TextsSection(basis="a test", mask=False), lambda: 0.0
    )
    for text in texts:
        writer.put(text)
    writer.close()
    assert writer.dropped == 0
    return task, cipher


def recognised(texts):
    """Kept texts as a store gives them back."""
    for one in texts:
        digest = hashlib.blake2b(one.said.text.encode(), digest_size=16).hexdigest()
        yield msgspec.structs.replace(one, recognised=digest)


def nobody(text):
    """Recognises old texts as ones that teach."""
    return "0" * 32


def test_no_row_is_on_both_sides_and_only_draws_judge(at):
    """What judges was drawn, what teaches is weighted; copies are learnt from in one part."""
    task = load_task(at / "task.yaml")
    kept = [
        *recognised(traffic(6_000)),
        *recognised(traffic(6_000, start=10_000.0, prefix="again")),
    ]
    found = gather(task, kept, None, nobody)
    for one, other in combinations(found.splits, 2):
        assert not np.isin(found.splits[one], found.splits[other]).any()
    texts = {name: {found.labelled.texts[i] for i in rows} for name, rows in found.splits.items()}
    for one, other in combinations(LEARNT, 2):
        assert not texts[one] & texts[other]
    drawn = {one.said.text for one in kept if one.propensity}
    assert all(texts[name] <= drawn for name in texts if name != "train")
    # Of drawn judges the share of escalations is that of the traffic, a third.
    kinds = {one.said.text: one.kind for one in kept}
    judged = [kinds[found.labelled.texts[i]] for i in found.splits["calibration"]]
    assert np.mean([kind == "escalation" for kind in judged]) == pytest.approx(1 / 3, abs=0.09)
    # An audit teaches as often as the kept answers it stands for: 1 / 0.1.
    train = [kinds[found.labelled.texts[i]] for i in found.splits["train"]]
    assert np.mean([kind == "escalation" for kind in train]) == pytest.approx(1 / 3, abs=0.06)
    assert found.effective < len(train)


@pytest.mark.parametrize("text", ["thanks", "ok", "hello", "yes", "please help"])
def test_a_text_judges_as_often_as_it_came(at, text):
    """A tenth of the traffic judged with all of its rows or with none: 65 of 100 promises broke."""
    kept = [
        msgspec.structs.replace(one, said=msgspec.structs.replace(one.said, text=text))
        if int(one.request_id[2:]) % 10 == 0
        else one
        for one in traffic(6_000, rate=0.3)
    ]
    found = gather(load_task(at / "task.yaml"), list(recognised(kept)), None, nobody)
    for name in ("calibration", "test"):
        rows = found.splits[name]
        share = np.mean([found.labelled.texts[i] == text for i in rows])
        assert abs(share - 0.1) < 4 * np.sqrt(0.1 * 0.9 / len(rows)), (name, share)


def test_the_weight_of_an_audit_has_its_bound(at):
    """One in a thousand does not stand for a thousand, or one text would be the student."""
    task = load_task(at / "task.yaml").model_copy(update={"audit_rate": 0.02})
    kept = list(recognised(traffic(60_000, rate=0.02)))
    found = gather(task, kept, None, nobody)
    audits = {one.said.text for one in kept if one.kind == "audit"}
    counts = np.unique(found.splits["train"], return_counts=True)[1]
    assert counts.max() == MOST_WEIGHT
    assert audits


def test_draws_at_two_rates_are_thinned_to_the_rarest(at):
    """The sample that judges is plain again."""
    task = load_task(at / "task.yaml")
    often = list(recognised(traffic(4_000, rate=0.8)))
    rare = list(recognised(traffic(8_000, rate=0.2, seed=1, start=9_000.0, prefix="later")))
    found = gather(task, often + rare, None, nobody)
    at_of = {one.said.text: one.at for one in often + rare}
    judged = [at_of[found.labelled.texts[i]] for i in found.splits["calibration"]]
    share = np.mean([moment < 9_000 for moment in judged])
    assert share == pytest.approx(1 / 3, abs=0.08)  # 4,000 of 12,000 requests, not 3,200 of 4,800


def test_rows_that_judged_the_last_student_judge_no_other(at):
    """Only what came since is fresh; it may still be too little, and that is said."""
    task = load_task(at / "task.yaml")
    kept = list(recognised(traffic(6_000)))
    at_of = {one.said.text: one.at for one in kept}

    def judges(found):
        rows = np.concatenate([found.splits["calibration"], found.splits["test"]])
        return sorted(at_of[found.labelled.texts[i]] for i in rows)

    before = judges(gather(task, kept, None, nobody))
    last = before[len(before) // 2]
    again = gather(task, kept, None, nobody, since=last)
    assert judges(again) == [moment for moment in before if moment > last]
    with pytest.raises(BadInputs, match="calibration 0 of 59"):
        gather(task, kept, None, nobody, since=6_000.0)


def test_old_labels_teach_and_never_judge(at):
    """They join what is learnt from, but for copies of what validates."""
    task = load_task(at / "task.yaml")
    shares = np.tile(np.array([[0.9, 0.1]], np.float32), (40, 1))
    zero = np.zeros(40, np.float32)
    old = LabelledSet(
        task.schema_, tuple(f"old {i}" for i in range(40)), shares, zero, zero > 1,
        np.full(40, -1, np.int32),
    )  # fmt: skip
    kept = list(recognised(traffic(6_000)))
    found = gather(task, kept, old, lambda t: ("0" if int(t[4:]) % 2 else "f") * 32)
    assert found.old == 20
    where = {name for name, rows in found.splits.items() for i in rows
             if found.labelled.texts[i].startswith("old")}  # fmt: skip
    assert where == {"train"}
    renamed = replace(old, schema=LabelSchema(("rescue", "rest")))
    assert gather(task, kept, renamed, nobody).old == 0


def test_what_was_lost_or_is_of_another_teacher_is_no_sample(at):
    """More than 5 % without an answer is refused; another teacher's answers are left out."""
    task = load_task(at / "task.yaml")
    kept = list(recognised(traffic(6_000)))
    foreign = list(recognised(traffic(500, teacher="m@0", prefix="old")))
    assert gather(task, kept + foreign, None, nobody).of_another_teacher == len(foreign)
    gone = [
        msgspec.structs.replace(
            one, said=msgspec.structs.replace(one.said, probabilities=None, teacher_label=None)
        )
        if one.kind == "audit" and i % 8 == 0
        else one
        for i, one in enumerate(kept)
    ]
    with pytest.raises(BadInputs, match="no random sample"):
        gather(task, gone, None, nobody)


def test_a_draw_without_an_answer_judges_as_one_that_differs(at):
    """A filter refuses a text for what it says: without it the promise is about other texts."""
    kept = [
        msgspec.structs.replace(
            one, said=msgspec.structs.replace(one.said, probabilities=None, teacher_label=None)
        )
        if one.kind == "audit" and i % 30 == 0
        else one
        for i, one in enumerate(recognised(traffic(6_000, rate=0.3)))
    ]
    found = gather(load_task(at / "task.yaml"), kept, None, nobody)
    silent = {name: (~found.labelled.usable[rows]).sum() for name, rows in found.splits.items()}
    assert [silent[name] for name in LEARNT] == [0, 0, 0]
    rows = len(found.splits["calibration"]) + len(found.splits["test"])
    assert (silent["calibration"] + silent["test"]) / rows == pytest.approx(found.lost, abs=0.015)
    assert silent["calibration"] > 0


def test_an_answer_that_names_no_label_judges_and_teaches_nothing(at):
    """Its probabilities may be bounds: what the teacher was taken to say counts."""
    kept = [
        msgspec.structs.replace(one, said=msgspec.structs.replace(one.said, teacher_label=""))
        if i % 10 == 0
        else one
        for i, one in enumerate(recognised(traffic(6_000)))
    ]
    found = gather(load_task(at / "task.yaml"), kept, None, nobody)
    silent = {one.said.text for one in kept if one.said.teacher_label == ""}
    rows = found.splits["calibration"]
    texts = [found.labelled.texts[i] for i in rows]
    assert [text in silent for text in texts] == (~found.labelled.usable[rows]).tolist()
    assert silent.intersection(texts)


def test_every_row_has_its_part():
    """Half teaches, half judges, whatever the text."""
    texts = [f"{i:02x}" + "0" * 30 for i in range(256)]
    parts = [part_of(row / 100, text) for row in range(100) for text in texts]
    share = {name: parts.count(name) / len(parts) for name in dict.fromkeys(parts)}
    assert share == {
        "train": pytest.approx(0.38, abs=0.01),
        "validation": pytest.approx(0.06, abs=0.01),
        "temperature": pytest.approx(0.06, abs=0.01),
        "calibration": pytest.approx(0.30, abs=0.01),
        "test": pytest.approx(0.20, abs=0.01),
    }


@pytest.mark.torch
def test_the_command_makes_a_certified_candidate_that_is_not_served(at):
    """Distilled, certified, noted; `latest` stays; a second one finds nothing fresh."""
    task, cipher = keep(at, traffic(8_000))
    run = ["retrain", "--task", str(at / "task.yaml"), "--json"]
    bundles = task.work_dir / "bundles"
    bundles.mkdir(parents=True)
    (bundles / "latest").write_text("0123456789ab\n")
    dry = CliRunner().invoke(main, [*run, "--dry-run"])
    assert "escalations" in dry.stderr
    done = CliRunner().invoke(main, run)
    assert done.exit_code in (0, 5), (done.output, done.exception)
    said = json.loads(done.stdout)
    assert said["refusal"] is None
    certificate = find_bundle(task.work_dir, said["bundle"]).manifest.certificate
    assert (certificate.use, certificate.promise) == (1, "system")
    assert certificate.agreement_lower_bound >= 0.95
    assert (bundles / "latest").read_text().strip() == "0123456789ab"
    assert last_judged(task.work_dir) > 0
    texts = [cipher.recognise(one.said.text) for one in traffic(8_000)]
    assert bundles_of(task.work_dir, texts) == [said["bundle"]]
    again = CliRunner().invoke(main, run)
    assert "too little was kept" in str(again.exception)


class _AdminPort:
    """A router's admin port over real HTTP, as far as retraining needs one."""

    def __enter__(self):
        self.told, self.shadow = [], None
        port = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer({"tasks": {"demo": {"shadow": port.shadow}}})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                port.told.append((self.path, body, self.headers["authorization"]))
                self._answer({})

            def _answer(self, document):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *arguments):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_):
        self.server.shutdown()


@pytest.mark.torch
def test_the_loop_goes_on_within_its_budget(at, monkeypatch):
    """Opt-in: it waits for one on its way, makes one, shadows it, and ends at its budget."""
    monkeypatch.setenv("RAISEHAND_ADMIN_TOKEN", "a-token")
    keep(at, traffic(8_000))
    run = ["retrain", "--task", str(at / "task.yaml")]
    with _AdminPort() as port:
        port.shadow = "0123456789ab"

        def later(seconds):
            assert seconds == 7200.0
            port.shadow = None

        monkeypatch.setattr("students.commands.retrain.time.sleep", later)
        done = CliRunner().invoke(main, [*run, "--every", "2", "--most", "1", "--shadow", port.url])
        assert done.exit_code == 0, (done.output, done.exception)
    assert "A candidate is on its way" in done.output
    [(path, body, token)] = port.told
    assert (path, token) == ("/tasks/demo/shadow", "Bearer a-token")
    assert f"Candidate {body['bundle']} is shadowed, 1 of 1" in done.output
    alone = CliRunner().invoke(main, [*run, "--every", "2"])
    assert "give --shadow and --most" in str(alone.exception)


def test_an_admin_port_that_is_away_is_one_sentence(at, free_port_of):
    """Its address, and what to look at."""
    url = f"http://127.0.0.1:{free_port_of()}"
    done = CliRunner().invoke(main, ["candidate", "show", "demo", "--admin", url])
    assert "cannot be reached" in str(done.exception)
