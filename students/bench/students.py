"""How fast students are on this machine, and how long one takes to distil.

The encoder is raced against sentence-transformers on the same weights, texts and cores, round by
round in turns, so that a noisy machine is noisy for both; the figure is the median of the rounds'
ratios. Where sentence-transformers is not installed, its `encode` is done step by step with the
same library calls (transformers in float32, batches of 32 sorted by length, mean pooling, unit
length); the report says which it was.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.inputs.tables.read import read_table

if TYPE_CHECKING:
    from students.label.labelled import LabelledSet
    from students.runtime.bundle import Bundle

CLASSES = 77
DEFAULT_MODEL = Path(".cache/demo/downloads/all-MiniLM-L6-v2")
PACKAGES = ("torch", "transformers", "openvino", "nncf", "numba", "sentence-transformers")


MODEL = click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=DEFAULT_MODEL,
    show_default=True,
    help="Local Hugging Face folder of the encoder; `make demo` fetches this one.",
)
INPUTS = click.option(
    "--inputs", type=click.Path(path_type=Path), help="CSV of texts; default made up."
)
TEXT = click.option("--text", default="text", show_default=True, help="Its column.")


@click.command(epilog="Example: raisehand bench students --json")
@MODEL
@INPUTS
@TEXT
@click.option("--texts", "n_texts", default=1024, show_default=True, type=click.IntRange(64))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(2))
@click.option("--rows", default=10_000, show_default=True, type=click.IntRange(1000))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def students(
    model: Path, inputs: Path | None, text: str, n_texts: int, rounds: int, rows: int, as_json: bool
) -> None:
    """Race the int8 encoder against sentence-transformers; time the linear and the frozen one."""
    texts = read_texts(inputs, text, n_texts) if inputs else made_up(n_texts, seed=1).texts
    figures = {
        **_encoders(model, texts, rounds),
        **_linear(texts, rows, rounds),
        **_frozen(model, rows),
        "texts": len(texts),
        "mean_characters": round(statistics.mean(map(len, texts)), 1),
        "cores": os.cpu_count(),
        "machine": _machine(),
        "python": platform.python_version(),
        "versions": _versions(),
    }
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        click.echo(f"{name:<28} {value}")


def made_up(n: int, seed: int = 0, classes: int = CLASSES) -> LabelledSet:
    """Texts of about a customer's question, each with a soft label that its words explain."""
    import numpy as np

    from students.label.labelled import LabelledSet
    from students.labels import LabelSchema

    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = np.random.default_rng(0)
    lexicon = ["".join(words.choice(letters, words.integers(2, 9))) for _ in range(4000)]
    favours = words.normal(size=(4000, classes)) * (words.random((4000, 1)) < 0.3) * 2.5
    texts, logits = [], []
    for _ in range(n):
        chosen = np.minimum(rng.geometric(0.002, int(rng.integers(4, 22))) - 1, 3999)
        texts.append(" ".join(lexicon[w] for w in chosen) + "?")
        logits.append(favours[chosen].sum(axis=0))
    p = np.exp(np.array(logits) - np.max(logits, axis=1, keepdims=True))
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    zero = np.zeros(n, np.float32)
    schema = LabelSchema(tuple(f"label {k}" for k in range(classes)))
    return LabelledSet(schema, tuple(texts), p, zero, zero > 1, np.full(n, -1, np.int32))


def _frozen(model: Path, rows: int) -> dict[str, object]:
    """Distil `rows` labels into a head on the frozen encoder: with no vector at hand, and again."""
    from students.sections import StudentSection
    from students.train.frozen import HeadRecipe, train_frozen_student

    section = StudentSection()
    train, validation = _divided(made_up(rows))
    seconds = []
    with tempfile.TemporaryDirectory() as kept:
        for _ in range(2):
            start = time.perf_counter()
            train_frozen_student(
                train, validation, model, HeadRecipe(), section.temperatures,
                section.hard_weights, cache=Path(kept),
            )  # fmt: skip
            seconds.append(round(time.perf_counter() - start, 1))
    return {"frozen_distill_s": seconds[0], "frozen_again_s": seconds[1]}


def _divided(data: LabelledSet) -> tuple[LabelledSet, LabelledSet]:
    """Divide rows into those that train and those that validate."""
    import numpy as np

    split = len(data) * 85 // 100
    return data.take(np.arange(split)), data.take(np.arange(split, len(data)))


def _linear(texts: Sequence[str], rows: int, rounds: int) -> dict[str, object]:
    """Distil `rows` labels with the default settings, then time it on one core."""
    import numpy as np

    from students.runtime.linear import LinearStudent
    from students.sections import StudentSection
    from students.train.linear import LinearRecipe, train_linear

    data, section = made_up(rows), StudentSection()
    train, validation = _divided(data)
    train_linear(train.take(np.arange(200)), validation.take(np.arange(50)), LinearRecipe(epochs=1))
    start = time.perf_counter()
    trained = train_linear(
        train, validation, LinearRecipe(), section.temperatures,
        section.hard_weights, section.l2,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    student = LinearStudent(data.schema, trained.weights)
    student.predict(texts)  # compiles
    speeds = [_speed(student.predict, texts) for _ in range(rounds)]
    return {
        "linear_distill_s": round(seconds, 1),
        "linear_distill_rows": rows,
        "linear_distill_settings": len(trained.trials),
        "linear_texts_per_s_one_core": _middle(speeds),
        "linear_spread": _spread(speeds),
    }


def _encoders(model: Path, texts: Sequence[str], rounds: int) -> dict[str, object]:
    """Race reference, torch student and int8 student in turns."""
    from students.runtime.load import load_student

    with tempfile.TemporaryDirectory() as folder:
        reference, name = _reference(model)
        plain, int8 = (
            load_student(one).predict for one in make_bundles(model, texts, Path(folder))
        )
        racers = {"reference": reference, "torch": plain, "int8": int8}
        for run in racers.values():
            run(texts)
        speeds: dict[str, list[float]] = {key: [] for key in racers}
        for _ in range(rounds):
            for key, run in racers.items():
                speeds[key].append(_speed(run, texts))
    ratios = [b / a for a, b in zip(speeds["reference"], speeds["int8"], strict=True)]
    return {
        "int8_ratio": round(statistics.median(ratios), 2),
        "int8_ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "reference": name,
        **{f"{key}_texts_per_s": _middle(values) for key, values in speeds.items()},
        **{f"{key}_spread": _spread(values) for key, values in speeds.items()},
        "rounds": rounds,
        "model": model.name,
    }


def make_bundles(model: Path, texts: Sequence[str], folder: Path) -> tuple[Bundle, Bundle]:
    """Put the weights, with a new head of 77 labels, into a torch bundle and an int8 bundle."""
    import numpy as np

    from students.distill.export import export_int8
    from students.labels import LabelSchema
    from students.runtime.bundle import MANIFEST, Bundle, Manifest, hash_files
    from students.teachers.protocol import TeacherDescriptor
    from students.train.encoder import TrainedEncoder, load_base, save_encoder

    network, tokenizer, pad_id = load_base(model, CLASSES, seed=0)
    plain, int8 = folder / "plain", folder / "int8"
    plain.mkdir()
    int8.mkdir()
    none = np.empty((0, CLASSES), np.float32)
    save_encoder(TrainedEncoder(network, tokenizer.to_str(), 128, pad_id, (), none), plain)
    manifest = Manifest(
        task="bench",
        labels=LabelSchema(tuple(f"label {k}" for k in range(CLASSES))).names,
        family="encoder",
        config={"max_length": 128, "pad_id": pad_id},
        temperature=1.0,
        confidence="max_probability",
        files=hash_files(plain),
        teacher=TeacherDescriptor("none", "none", "none", "", "{}"),
        created="",
    )
    export_int8(Bundle(plain, manifest), texts, int8)
    exported = manifest.model_copy(update={"family": "encoder-int8", "files": hash_files(int8)})
    for path, one in ((plain, manifest), (int8, exported)):
        (path / MANIFEST).write_text(one.model_dump_json(), encoding="utf-8")
    return Bundle(plain, manifest), Bundle(int8, exported)


def _reference(model: Path) -> tuple[Callable[[Sequence[str]], object], str]:
    """sentence-transformers, or what its `encode` does, in float32 on all cores."""
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer import modules
    except ImportError:
        return _like_sentence_transformers(model), "the steps of sentence-transformers' encode"
    # Assembled here, as its model card says: packages of the weights leave the pooling's file out.
    transformer = modules.Transformer(str(model), max_seq_length=128)
    width = transformer.get_embedding_dimension()
    encoder = SentenceTransformer(
        modules=[transformer, modules.Pooling(width, "mean"), modules.Normalize()], device="cpu"
    )
    return (
        lambda texts: encoder.encode(list(texts), batch_size=32, show_progress_bar=False),
        f"sentence-transformers {metadata.version('sentence-transformers')}",
    )


def _like_sentence_transformers(model: Path) -> Callable[[Sequence[str]], object]:
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    network = AutoModel.from_pretrained(str(model), local_files_only=True).eval()

    def encode(texts: Sequence[str]) -> object:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        out = np.empty((len(texts), network.config.hidden_size), np.float32)
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            batch = tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=128,
                return_tensors="pt",
            )  # fmt: skip
            with torch.no_grad():
                hidden = network(**batch).last_hidden_state
                mask = batch["attention_mask"][:, :, None].float()
                mean = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1e-9)
                out[rows] = torch.nn.functional.normalize(mean).numpy()
        return out

    return encode


def _speed(run: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Texts a second over all texts, at least 0.2 s long."""
    done, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < 0.2 or done == 0:
        run(texts)
        done += len(texts)
    return done / seconds


def _middle(values: Sequence[float]) -> float:
    return round(statistics.median(values), 1)


def _spread(values: Sequence[float]) -> list[float]:
    return [round(min(values), 1), round(max(values), 1)]


def read_texts(path: Path, column: str, n: int) -> tuple[str, ...]:
    """Read the first texts of a table."""
    return tuple(read_table(path, [column]).texts(column)[:n])


def _machine() -> str:
    from students.train.profiling import machine

    return machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
