"""Encoder students to measure: made here, of known shapes, with a tokenizer and texts to fit.

The weights are random. Speed does not depend on them, and no quality is claimed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import JsonValue
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from students.certificate import NEVER
from students.runtime.bundle import Bundle
from students.runtime.encoders.encoder import TOKENIZER
from students.task import load_task
from students.testing import publish_unproved

LABELS = tuple(f"label {k}" for k in range(77))
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
CONSONANTS, VOWELS = "bcdfghjklmnpqrstvwxz", "aeiou"


@dataclass(frozen=True)
class Kind:
    """One encoder: its size, and the Hugging Face configuration it has it from."""

    name: str
    longest: int
    """Tokens of a text that are read."""
    settings: dict[str, Any]
    """Of the configuration; `model_type` names it."""
    folder: Path | None = None
    """Real weights; the settings are theirs then."""


MINILM = Kind(
    "MiniLM-L6",
    512,
    {
        "model_type": "bert",
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
)
BERT = Kind("BERT-base", 512, {"model_type": "bert"})
MODERN = Kind("ModernBERT-base", 512, {"model_type": "modernbert", "pad_token_id": 0})
TOYS = tuple(
    Kind(
        f"toy {kind.name}",
        64,
        {
            **kind.settings,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
        },
    )
    for kind in (MINILM, BERT, MODERN)
)
"""The same architectures, small enough for a test."""


def real(folder: Path) -> Kind:
    """A real encoder whose weights lie in a folder."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Kind(folder.name, min(512, settings["max_position_embeddings"]), settings, folder)


@dataclass(frozen=True)
class Student:
    """One encoder as a task with a bundle, ready to be served."""

    kind: Kind
    task: Path
    bundle: Bundle
    texts: dict[int, Path]
    """By tokens of a text: a log of texts of exactly so many."""
    flops_per_token: dict[int, float]
    """By tokens of a text: multiplications and additions of a forward pass, padding left out."""


def make_student(kind: Kind, lengths: Sequence[int], n_texts: int, folder: Path) -> Student:
    """Write task, bundle and texts of an encoder into a folder."""
    import torch
    import transformers

    from students.runtime.encoders.network import EncoderNetwork, save_network, without_pooler

    torch.manual_seed(0)
    if kind.folder is None:
        tokenizer = new_tokenizer()
        settings = dict(kind.settings)
        config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
        encoder = transformers.AutoModel.from_config(config)
    else:
        tokenizer = Tokenizer.from_file(str(kind.folder / TOKENIZER))
        encoder = transformers.AutoModel.from_pretrained(str(kind.folder), local_files_only=True)
        config = encoder.config
    network = EncoderNetwork(without_pooler(encoder), config.hidden_size, len(LABELS))
    pad_id = tokenizer.token_to_id("[PAD]") or 0
    tokenizer.no_padding()
    folder.mkdir(parents=True, exist_ok=True)
    texts = {n: _write_log(tokenizer, n, n_texts, folder / f"texts-{n}.csv") for n in lengths}
    task = folder / "task.yaml"
    content = _task(texts[lengths[0]])
    task.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def save(path: Path) -> None:
        save_network(network, path)
        (path / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")

    # A router serves no student without a certificate: this one never lets it answer unasked.
    run_with: dict[str, JsonValue] = {"max_length": kind.longest, "pad_id": pad_id}
    never = (NEVER,) * len(LABELS)
    bundle = publish_unproved(load_task(task), "encoder", run_with, save, never)
    return Student(kind, task, bundle, texts, {n: _flops(network, config, n) for n in lengths})


def new_tokenizer() -> Tokenizer:
    """A WordPiece tokenizer of 10,000 words of four letters, each of which is one token."""
    syllables = ["".join(pair) for pair in product(CONSONANTS, VOWELS)]
    words = ["".join(pair) for pair in product(syllables, repeat=2)]
    pieces = [f"##{syllable}" for syllable in syllables]
    vocabulary = {word: k for k, word in enumerate([*SPECIALS, *words, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=marks)
    return tokenizer


def _write_log(tokenizer: Tokenizer, length: int, n: int, path: Path) -> Path:
    """Write a log of `n` texts of exactly so many tokens, at Poisson moments of one a second."""
    words = sorted(
        word
        for word in tokenizer.get_vocab()
        if word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 6
    )
    rng = np.random.default_rng(length)
    texts = [" ".join(rng.choice(words, length - 2)) for _ in range(n)]
    tokenizer.no_truncation()
    found = {len(one.ids) for one in tokenizer.encode_batch_fast(texts)}
    assert found == {length}, f"texts of {length} tokens have {found}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["at_s", "text"])
        writer.writerows(zip(np.cumsum(rng.exponential(1.0, n)).tolist(), texts, strict=True))
    return path


def _task(inputs: Path) -> dict[str, Any]:
    """A task whose teacher is nobody: the load test asks the student alone."""
    return {
        "name": "gpu",
        "labels": dict.fromkeys(LABELS, ""),
        "teacher": {
            "mode": "classify",
            "base_url": "http://127.0.0.1:9",
            "model": "nobody",
            "price": {"usd_per_mtok_input": 0, "usd_per_mtok_output": 0},
        },
        "inputs": {"path": inputs.name},
        "student": {"price": {"usd_per_hour": 0, "requests_per_second": 1}},
        "audit_rate": 0,
    }


def _flops(network: Any, config: Any, length: int) -> float:
    """2 for each weight of a layer, and 4 · width for each token that a layer's attention sees."""
    weights = sum(
        p.numel() for name, p in network.encoder.named_parameters() if "embeddings" not in name
    )
    seen = 0
    for layer in range(config.num_hidden_layers):
        every = getattr(config, "global_attn_every_n_layers", 1)
        window = length if layer % every == 0 else getattr(config, "local_attention", length)
        seen += min(length, window)
    return 2.0 * weights + 4.0 * config.hidden_size * seen
