"""The local server speaks vLLM's /classify and OpenAI's chat, on a tiny real model."""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient

from costmodel.processes import free_port, running
from students.errors import BadTask
from students.task import Task
from students.teachers import make_teacher

pytestmark = pytest.mark.torch

PROMPT = {"system": "Sort.", "user": "Message: {text}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random two-layer BERT with two classes and a vocabulary of letters, saved."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    path = tmp_path_factory.mktemp("model")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary += [c for letter in "abcdefghijklmnopqrstuvwxyz" for c in (letter, f"##{letter}")]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        id2label={0: "calm", 1: "urgent"},
        label2id={"calm": 0, "urgent": 1},
        initializer_range=0.3,
    )
    BertForSequenceClassification(config).save_pretrained(path)
    BertTokenizerFast(vocab={t: i for i, t in enumerate(vocabulary)}).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def classifier(folder):
    """The classifier that serves."""
    from students.teachers.owned.classifier import LocalClassifier

    return LocalClassifier(folder)


def _task(tmp_path, base_url="http://127.0.0.1:9", **teacher):
    return Task.model_validate(
        {
            "name": "t",
            "labels": ["calm", "urgent"],
            "teacher": {
                "base_url": base_url,
                "model": "tiny",
                "prompt": PROMPT,
                "answers": {"calm": "Quiet", "urgent": "Now"},
                "timeout_s": 60,
                "price": {"usd_per_hour": 1, "requests_per_second": 10},
                **teacher,
            },
            "inputs": {"path": str(tmp_path / "none.csv")},
        }
    )


@pytest.fixture
def client(classifier, tmp_path):
    """An HTTP client of the app, in this process."""
    from students.teachers.owned.app import create_app

    with TestClient(create_app(classifier, "tiny", _task(tmp_path))) as client:
        yield client


def _chat(text="help", **fields):
    messages = [
        {"role": "system", "content": "Sort."},
        {"role": "user", "content": f"Message: {text}"},
    ]
    return {"model": "tiny", "messages": messages, **fields}


def test_answers_do_not_depend_on_company(classifier):
    """A text's probabilities are the same alone and among longer and shorter ones."""
    texts = ["a", "help me " * 8, "b c", "", "xy " * 5_000, "help"]
    together = classifier.answer(texts)
    for text, answer in zip(texts, together, strict=True):
        (alone,) = classifier.answer([text])
        assert np.allclose(alone.probabilities, answer.probabilities, atol=1e-5)
        assert alone.tokens == answer.tokens
    assert max(answer.tokens for answer in together) == 64
    assert len({round(float(a.probabilities[0]), 3) for a in together}) > 2


def test_bfloat16_moves_probabilities_little(folder, classifier):
    """The faster type answers the same up to the third digit."""
    from students.teachers.owned.classifier import LocalClassifier

    texts = ["help me", "all calm here", "x"]
    fast = LocalClassifier(folder, dtype="bfloat16").answer(texts)
    for one, other in zip(classifier.answer(texts), fast, strict=True):
        assert np.allclose(one.probabilities, other.probabilities, atol=0.02)
        assert other.probabilities.dtype == np.float32


def test_classify_has_vllms_fields(client, classifier):
    """Field names, order and usage are those of vLLM's ClassificationResponse."""
    reply = client.post("/classify", json={"model": "tiny", "input": ["help me", "calm"]}).json()
    assert set(reply) == {"id", "object", "created", "model", "data", "usage"}
    assert reply["object"] == "list"
    assert [row["index"] for row in reply["data"]] == [0, 1]
    one = reply["data"][0]
    assert set(one) == {"index", "label", "probs", "num_classes"}
    assert one["probs"] == pytest.approx(classifier.answer(["help me"])[0].probabilities.tolist())
    assert one["label"] == ("calm", "urgent")[int(np.argmax(one["probs"]))]
    assert reply["usage"]["prompt_tokens"] == 8 + 6
    assert client.post("/classify", json={"input": "help"}).json()["data"][0]["index"] == 0


def test_chat_answers_the_tasks_word_with_logprobs(client, classifier):
    """The answer word is the task's; exp(logprob) are the classifier's probabilities."""
    reply = client.post("/v1/chat/completions", json=_chat(logprobs=True, top_logprobs=5)).json()
    probabilities = classifier.answer(["help"])[0].probabilities
    word = ("Quiet", "Now")[int(probabilities.argmax())]
    (choice,) = reply["choices"]
    assert choice["message"] == {"role": "assistant", "content": word}
    (position,) = choice["logprobs"]["content"]
    assert position["token"] == word
    read = {item["token"]: np.exp(item["logprob"]) for item in position["top_logprobs"]}
    assert read == pytest.approx({"Quiet": probabilities[0], "Now": probabilities[1]})
    assert reply["usage"]["completion_tokens"] == 1


def test_chat_streams(client):
    """Chunks spell the same word and end with usage and [DONE]."""
    whole = client.post("/v1/chat/completions", json=_chat()).json()
    body = _chat(stream=True, stream_options={"include_usage": True})
    lines = client.post("/v1/chat/completions", json=body).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert said == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/classify", {"input": ["a"], "model": "gpt"}, 404, "The model `gpt` does not exist"),
        ("/classify", {"input": []}, 400, "input is empty"),
        ("/classify", {"input": [[1, 2]]}, 400, "input"),
        ("/classify", {}, 400, "input: Field required"),
        ("/v1/chat/completions", _chat(n=2), 400, "n: "),
        ("/v1/chat/completions", _chat(tools=[]), 400, "tools: Extra inputs"),
        ("/v1/chat/completions", _chat(top_logprobs=3), 400, "needs logprobs: true"),
        ("/v1/chat/completions", _chat(top_logprobs=21, logprobs=True), 400, "top_logprobs"),
        (
            "/v1/chat/completions",
            {"model": "tiny", "messages": [{"role": "user", "content": "Write a poem"}]},
            400,
            "answers the prompt of its task and nothing else",
        ),
    ],
)
def test_what_it_does_not_know_is_a_400_in_openais_shape(client, path, body, status, says):
    """Every refusal is an OpenAI error object whose message says what was wrong."""
    response = client.post(path, json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert says in error["message"]


def test_a_wrong_folder_or_task_is_one_sentence(classifier, tmp_path):
    """No model, or classes that are not the task's labels, say so at start."""
    from students.teachers.owned.app import create_app
    from students.teachers.owned.classifier import LocalClassifier

    with pytest.raises(BadTask, match=r"has no config\.json"):
        LocalClassifier(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadTask, match="cannot be served as a classifier"):
        LocalClassifier(tmp_path)
    task = _task(tmp_path).model_copy(update={"labels": ["urgent", "calm"]})
    with pytest.raises(BadTask, match="must be the same, in the same order"):
        create_app(classifier, "tiny", task)


async def test_one_pass_takes_all_that_has_queued(classifier):
    """Requests that wait together are answered together, each with its own answers."""
    from students.teachers.owned.classifier import Queue

    passes = []

    class Watched:
        def answer(self, texts):
            passes.append(len(texts))
            time.sleep(0.01)
            return classifier.answer(texts)

    queue = Queue(Watched())
    serving = asyncio.create_task(queue.run())
    asked = [["help"], ["a", "b"], *([[f"t{'x' * i}"] for i in range(10)])]
    answers = await asyncio.gather(*(queue.ask(texts) for texts in asked))
    serving.cancel()
    assert sum(passes) == 13
    assert len(passes) <= 2
    for texts, got in zip(asked, answers, strict=True):
        alone = classifier.answer(texts)
        assert [a.tokens for a in alone] == [a.tokens for a in got]


async def test_a_failing_pass_fails_its_requests_only(classifier):
    """An error in the model is raised to those who asked; the next request is answered."""
    from students.teachers.owned.classifier import Queue

    class Broken:
        def answer(self, texts):
            if texts == ["bad"]:
                raise RuntimeError("cuda")
            return classifier.answer(texts)

    queue = Queue(Broken())
    serving = asyncio.create_task(queue.run())
    with pytest.raises(RuntimeError, match="cuda"):
        await queue.ask(["bad"])
    assert len(await queue.ask(["good"])) == 1
    serving.cancel()


@pytest.mark.parametrize(
    "section",
    [
        {"prompt": {"system": "{labels}", "user": "{text}"}},
        {"prompt": {"system": "{labels}", "user": "{text}"}, "answer_with": "letter"},
        {"prompt": {"user": "{labels}\n{text}"}, "option_orders": "both"},
    ],
)
async def test_chat_answers_every_question_of_the_task(classifier, tmp_path, section):
    """Reversed lists and letters are answered too: chat reads the model's own probabilities."""
    from students.teachers.chat import ChatTeacher
    from students.teachers.owned.app import create_app

    task = _task(tmp_path, **section)
    with TestClient(create_app(classifier, "tiny", task)) as client:

        class Inside:
            """Posts into the app without a socket."""

            async def post(self, url, body, timeout_s=None):
                """Answer one request."""
                sent = client.post("/v1/chat/completions", json=body)
                assert sent.status_code == 200, sent.text
                return sent.json()

        (reply,) = await ChatTeacher(task, Inside()).label(["help"])
    expected = classifier.answer(["help"])[0].probabilities
    assert reply.distribution.probabilities == pytest.approx(expected.tolist(), abs=1e-5)
    assert reply.usage.requests == 2


@contextlib.contextmanager
def _serving(folder, task_file):
    port = free_port()
    command = [Path(sys.executable).parent / "raisehand", "teacher", "--model", folder]
    command += ["--name", "tiny", "--port", str(port), "--task", task_file]
    url = f"http://127.0.0.1:{port}"
    with running(
        command, f"{url}/health", Path(task_file).with_name("teacher.log"),
        timeout_s=600, variables={"OMP_NUM_THREADS": "1"},
    ):  # fmt: skip
        yield url


@pytest.mark.e2e
async def test_a_real_process_gives_the_same_soft_labels_in_both_modes(folder, tmp_path):
    """Over HTTP, classify and chat (logprobs) read the same distribution of the same model."""
    task = _task(tmp_path)
    task_file = tmp_path / "task.yaml"
    task_file.write_text(yaml.safe_dump(json.loads(task.model_dump_json(exclude_none=True))))
    texts = ["help me", "all calm here", "x"]
    with _serving(folder, task_file) as url:
        names = {"calm": "calm", "urgent": "urgent"}
        classify = make_teacher(_task(tmp_path, url, mode="classify", answers=names))
        chat = make_teacher(_task(tmp_path, url, mode="chat"))
        for teacher in (classify, chat):
            await teacher.check()
        one, two = [await teacher.label(texts) for teacher in (classify, chat)]
        await classify.aclose()
        await chat.aclose()
    for a, b in zip(one, two, strict=True):
        assert a.distribution.probabilities == pytest.approx(b.distribution.probabilities, abs=1e-4)
        assert b.wording in ("Quiet", "Now")
