"""A local teacher runs in a process of its own, and never outlives the one that started it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from students.errors import BadTask, TeacherUnavailable
from students.task import Task
from students.teachers import make_teacher
from tests.waiting import PATIENCE_S, until

pytestmark = [pytest.mark.torch, pytest.mark.e2e]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random one-layer BERT with two classes."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    path = tmp_path_factory.mktemp("model")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label={0: "calm", 1: "urgent"},
        label2id={"calm": 0, "urgent": 1},
    )
    BertForSequenceClassification(config).save_pretrained(path)
    BertTokenizerFast(vocab={t: i for i, t in enumerate(vocabulary)}).save_pretrained(path)
    return path


def _task(folder, **section):
    return Task.model_validate(
        {
            "name": "t",
            "labels": ["calm", "urgent"],
            "teacher": {
                "mode": "local",
                "model": "tiny",
                "model_path": str(folder),
                "timeout_s": 60,
                "price": {"usd_per_hour": 1, "requests_per_second": 10},
                **section,
            },
            "inputs": {"path": "none.csv"},
        }
    )


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An ended child that nobody waited for still has a number; it is not alive.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


async def test_it_starts_answers_and_ends(folder):
    """The first question starts the process; the weights' fingerprint is the revision; it ends."""
    teacher = make_teacher(_task(folder))
    assert teacher.descriptor.mode == "local"
    assert len(teacher.descriptor.revision) == 12
    await teacher.check()
    replies = await asyncio.gather(teacher.label(["a", "b c"]), teacher.label(["d"]))
    assert [len(r) for r in replies] == [2, 1]
    assert sum(replies[0][0].distribution.probabilities) == pytest.approx(1.0, abs=1e-4)
    pid = teacher._process.pid
    await teacher.aclose()
    assert not _alive(pid)


async def test_a_folder_that_is_no_model_is_named(tmp_path):
    """No weights are refused at once; a broken model ends the process, and that is said."""
    with pytest.raises(BadTask, match=r"has no \*\.safetensors"):
        make_teacher(_task(tmp_path))
    teacher = make_teacher(_task(tmp_path, revision="1"))
    with pytest.raises(TeacherUnavailable, match="the local teacher ended with"):
        await teacher.check()
    await teacher.aclose()


def test_it_ends_when_its_parent_is_killed(folder, tmp_path):
    """Kill -9 of the process that started it leaves no orphan behind."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from students.task import Task\n"
        "from students.teachers import make_teacher\n"
        "task = Task.model_validate_json(open(sys.argv[2]).read())\n"
        "async def main():\n"
        "    teacher = make_teacher(task)\n"
        "    await teacher.check()\n"
        "    print(teacher._process.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    task = tmp_path / "task.json"
    task.write_text(_task(folder).model_dump_json(exclude_none=True))
    root = Path(__file__).parents[4]
    parent = subprocess.Popen(
        [sys.executable, script, root, task], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    assert _alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait(PATIENCE_S)
    until(lambda: not _alive(pid))
