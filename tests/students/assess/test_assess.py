"""`raisehand assess`: each job of a log gets the verdict it deserves, in distill's own figures."""

import json
import random
import re
from collections import Counter

import pytest
from click.testing import CliRunner

from students.assess.call import LoggedCall
from students.assess.jobs import find_jobs
from students.commands.assess import assess
from students.commands.distill import distill
from students.commands.init import made_up
from students.runtime.bundle import find_bundle
from students.task import load_task
from students.texts.pii import mask

TICKETS = "Sort support messages: billing, technical or other."
CHURN = "Will this customer leave? yes or no."
ADDRESS = "Is this address in Europe? YES or NO."
POEM = "Write a poem."


def _row(i, system, user, answer, model="gpt-4o-2024-08-06"):
    return {
        "request_id": str(i), "call_type": "acompletion", "status": "success",
        "cache_hit": "False", "spend": 0.0005, "prompt_tokens": 200, "completion_tokens": 2,
        "startTime": 1760000000.0 + i, "model": "gpt-4o",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        "response": {"model": model, "choices": [{"message": {"content": answer}}]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log of four prompts: one certifiable, one hopeless, one too small, one of free text."""
    rng = random.Random(3)
    calls = [(TICKETS, f"Message: {t}\nWhich team?", a) for t, a in made_up(3000, 4)]
    words = ["apple", "brick", "cloud", "drum", "eagle", "flute", "grass", "honey", "iron"]
    churn = [" ".join(rng.choices(words, k=9)) for _ in range(1500)]
    calls += [(CHURN, text, rng.choice(["yes", "no"])) for text in churn]
    calls += [(ADDRESS, f"street {rng.random()}", rng.choice(["YES", "NO"])) for _ in range(60)]
    calls += [(POEM, f"about {rng.random()}", f"{rng.random()} {rng.random()}") for _ in range(200)]
    rng.shuffle(calls)
    path = tmp_path_factory.mktemp("logs") / "spend.jsonl"
    lines = (json.dumps(_row(i, *call)) for i, call in enumerate(calls))
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def told(log, tmp_path_factory):
    """What the command says of it in JSON, and where its folders are."""
    out = tmp_path_factory.mktemp("out")
    done = CliRunner().invoke(assess, [str(log), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), out


def _job(told, words):
    [job] = [job for job in told[0]["jobs"] if job["system"] == words]
    return job


def test_every_job_gets_its_verdict(told):
    """Certifiable and dear pays; a coin is not learnt; sixty calls and poems are bad fits."""
    assert _job(told, TICKETS)["verdict"] == "pays"
    assert _job(told, CHURN)["verdict"] in ("refused", "idle")
    assert _job(told, ADDRESS)["verdict"] == "bad fit"
    assert "calls" in _job(told, ADDRESS)["why_not"]
    assert _job(told, POEM)["why_not"] == "free text: 200 different answers"


def test_figures_are_those_of_distill_on_the_same_rows(told):
    """The folder is a task: `distill` makes the very same certificate of it."""
    job = _job(told, TICKETS)
    task = load_task(told[1] / job["name"] / "task.yaml")
    done = CliRunner().invoke(distill, ["--task", str(told[1] / job["name"] / "task.yaml")])
    assert done.exit_code == 0, done.output
    manifest = find_bundle(task.work_dir).manifest
    assert manifest.certificate.statement == job["promises"][0]["statement"]
    assert job["promises"][0]["kept"] == 1 - manifest.evaluation.escalation.rate


def test_the_prompt_is_taken_apart(told):
    """What all messages share is the template; the text is what is left."""
    job = _job(told, TICKETS)
    assert job["user"] == "Message: case {text}\nWhich team?"
    assert sorted(job["labels"]) == ["billing", "other", "technical"]


def test_another_model_is_another_teacher(log, tmp_path):
    """Answers of the model before are not mixed in, and the page says so."""
    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    for row in rows[:2000]:
        row["response"]["model"] = "gpt-4o-2024-05-13"
        row["response"]["choices"][0]["message"]["content"] = "billing"  # it knew one word only
    path = tmp_path / "two.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    command = [str(path), "--out", str(tmp_path / "out"), "--job", "sort", "--agreement", "0.95"]
    done = CliRunner().invoke(assess, [*command, "--json"])
    [job] = json.loads(done.stdout)["jobs"]
    assert list(job["models"]) == ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"]
    assert job["verdict"] == "pays"
    page = (tmp_path / "out" / "assess.html").read_text("utf-8")
    assert "another model is another teacher" in page


def test_one_screen_and_a_page(log, tmp_path):
    """The verdicts, the savings against each baseline, and where to go on."""
    command = [str(log), "--out", str(tmp_path), "--job", "sort", "--sampled", "0.5"]
    done = CliRunner().invoke(assess, command)
    said = " ".join(done.stdout.split())
    assert "pays" in said
    assert re.search(r"Go on with: raisehand distill --task .*task.yaml", said)
    page = (tmp_path / "assess.html").read_text("utf-8")
    assert "<svg" in page
    assert "src=" not in page


def test_a_task_that_was_edited_is_not_overwritten(told, log):
    """Nor are the looks at its rows forgotten; the same log again is the same task."""
    folder = told[1] / _job(told, TICKETS)["name"]
    task, looks = folder / "task.yaml", folder / ".raisehand" / "certificates.jsonl"
    before = looks.read_bytes()
    command = [str(log), "--out", str(told[1]), "--job", "sort", "--json"]
    assert CliRunner().invoke(assess, command).exit_code == 0
    assert looks.read_bytes().startswith(before)
    task.write_text(task.read_text("utf-8") + "# mine\n", "utf-8")
    refused = CliRunner().invoke(assess, command)
    assert "is another task" in str(refused.exception)
    assert task.read_text("utf-8").endswith("# mine\n")


def test_a_prompt_without_a_system_message_is_found_by_its_words():
    """Also where the text comes first and the instruction last."""
    calls = [LoggedCall("", f"Say the mood of: t{i}", "good", "m") for i in range(60)]
    calls += [LoggedCall("", f"word{i} {i}. Is this spam or not?", "spam", "m") for i in range(70)]
    jobs, lost = find_jobs(calls)
    assert [(job.before, job.after, len(job.calls)) for job in jobs] == [
        ("", ". Is this spam or not?", 70),
        ("Say the mood of: ", "", 60),
    ]
    assert lost == 0


def test_numbers_in_a_system_prompt_do_not_make_another_job():
    """A date, a version: the same job."""
    calls = [LoggedCall(f"Today is day {i}. Sort.", f"text {i}", "a", "m") for i in range(80)]
    [job], _ = find_jobs(calls)
    assert len(job.calls) == 80


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jo.doe+x@mail.example.org today", "write to [EMAIL] today"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN [IBAN] please"),
        ("card 4111 1111 1111 1111 declined", "card [CARD] declined"),
        ("call +49 (30) 1234-5678 now", "call [PHONE] now"),
        ("from 192.168.0.17", "from [IP]"),
        ("key sk-abcdefghijklmnop1234", "key [KEY]"),
        ("case 123456: 3 items", "case 123456: 3 items"),
    ],
)
def test_what_names_a_person_is_masked(text, masked):
    """By pattern: what is short and says nothing stays."""
    assert mask(text, Counter()) == masked
