"""A task small enough to distil in a second, and a tiny encoder with random weights."""

import numpy as np
import pytest

from students.label.labelled import LabelledSet
from students.label.record import (
    Agreement,
    LabellingRecord,
    LabelUsage,
    TeacherIdentity,
    save_labels,
)
from students.labels import LabelSchema
from students.task import Task

SIZES = {"train": 600, "validation": 100, "temperature": 100, "calibration": 400, "test": 200}
WORDS = {
    "help": ["please", "send", "water", "food", "rescue", "trapped", "urgent", "medicine"],
    "other": ["thanks", "weather", "report", "news", "yesterday", "nice", "photo", "music"],
}


@pytest.fixture(scope="session")
def make_labels():
    """Texts whose words say the label; the teacher answers at random for a share `noise`."""

    def make(noise: float = 0.0, seed: int = 0) -> LabelledSet:
        rng = np.random.default_rng(seed)
        n = sum(SIZES.values())
        names = tuple(WORDS)
        label = rng.integers(0, 2, n)
        texts = tuple(
            " ".join(rng.choice(WORDS[names[y]], 4)) + f" {rng.integers(10**6)}" for y in label
        )
        answered = np.where(rng.random(n) < noise, rng.integers(0, 2, n), label)
        p = np.full((n, 2), 0.05, np.float32)
        p[np.arange(n), answered] = 0.95
        zero = np.zeros(n, np.float32)
        return LabelledSet(LabelSchema(names), texts, p, zero, zero > 1, label.astype(np.int32))

    return make


@pytest.fixture(scope="session")
def split_rows():
    """Rows of each split, in order."""
    ends = np.cumsum(list(SIZES.values()))
    return {name: np.arange(end - SIZES[name], end) for name, end in zip(SIZES, ends, strict=True)}


@pytest.fixture(scope="session")
def keep_labels():
    """Write labels and their record into a work_dir, as `raisehand label` would have."""

    def keep(work_dir, labels: LabelledSet, splits: dict[str, np.ndarray]) -> None:
        n = len(labels)
        record = LabellingRecord(
            task="demo",
            teacher=TeacherIdentity(
                mode="classify", model="m", revision="1", prompt_sha256="", parameters="{}"
            ),
            labels_sha256=labels.sha256,
            inputs_sha256="0",
            n=n,
            usd="0.5",
            unconfirmed_usd="0",
            usage=LabelUsage(input_tokens=n, output_tokens=n, cached_input_tokens=0, requests=n),
            price="cheap",
            asked=n,
            cached=0,
            rejected=0,
            refused=0,
            unusable=0,
            self_agreement=Agreement(n=20, agreed=20),
            label_mass=(0,) * 10,
            unsure=0,
            truncated=0,
            gold=None,
            splits={name: rows.tolist() for name, rows in splits.items()},
            seed=0,
            date="2026-01-01",
        )
        save_labels(work_dir, labels, record)

    return keep


@pytest.fixture(scope="session")
def make_task():
    """A task with a quick student; `promise` and `student` change fields of those sections."""

    def make(work_dir, *, student: dict[str, object] | None = None, **promise: object) -> Task:
        return Task.model_validate(
            {
                "name": "demo",
                "labels": list(WORDS),
                "teacher": {
                    "mode": "classify",
                    "base_url": "http://127.0.0.1:9",
                    "model": "scripted",
                    "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
                },
                "inputs": {"path": "none.csv"},
                "promise": promise,
                "student": {"epochs": 5, "temperatures": [1, 2], "hard_weights": [0]}
                | (student or {}),
                "work_dir": work_dir,
            }
        )

    return make


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """Two layers of width 32 and a word tokenizer: everything but the knowledge."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-encoder")
    words = (
        "please send water food rescue trapped urgent medicine thanks weather report news "
        "yesterday nice photo music help us now all is well"
    )
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words.split(), *map(str, range(10))]
    ids = {word: i for i, word in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(ids),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    ).save_pretrained(folder)
    return folder
