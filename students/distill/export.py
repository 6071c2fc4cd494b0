"""Export an encoder student to a faster CPU runtime. The result is another artefact.

Quantising changes scores, so nothing that was certified carries over: `students.distill.run.prove`
calibrates, certifies and evaluates the exported files anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from students.distill.labelled import LabelledSet
from students.distill.run import Distilled, Report, prove
from students.errors import BadTask
from students.runtime.bundle import Bundle, draft, hash_files
from students.runtime.encoder import BATCH, TOKENIZER, Tokenizing, pad
from students.runtime.int8 import MODEL
from students.task import Task

QUANTISING_TEXTS = 512
"""Texts whose activations set the int8 ranges."""


def exported(
    task: Task,
    bundle: Bundle,
    part: Mapping[str, LabelledSet],
    report: Report = lambda stage, done, total: None,
) -> Distilled:
    """Export an encoder bundle to int8 and prove the result: a bundle of its own.

    Raises:
        BadTask: see `export_int8`.
    """
    with draft(task.work_dir / "bundles") as folder:
        report("quantise", 0, 1)
        export_int8(bundle, part["train"].texts, folder)
        manifest = bundle.manifest.model_copy(
            update={
                "family": "encoder-int8",
                "config": {**bundle.manifest.config, "exported_from": bundle.id},
                "files": hash_files(folder),
                "certificate": None,
                "evaluation": None,
                "profile": None,
            }
        )
        return prove(task, manifest, folder, part, report)


def export_int8(bundle: Bundle, texts: Sequence[str], folder: Path) -> None:
    """Write an OpenVINO int8 model: static post-training quantisation by NNCF.

    Args:
        bundle: an encoder bundle.
        texts: real texts to set the ranges with; training rows, never calibration or test rows.
        folder: where model.xml, model.bin and tokenizer.json go.

    Raises:
        BadTask: the bundle is no encoder, or OpenVINO and NNCF are not installed.
    """
    manifest = bundle.manifest
    if manifest.family != "encoder":
        raise BadTask(
            f"bundle {bundle.id} is of family {manifest.family!r}; only an encoder student is "
            "exported (a linear student is already compiled for the CPU)"
        )
    try:
        import nncf
        import openvino
    except ImportError:
        raise BadTask(
            "exporting to int8 needs OpenVINO and NNCF; install them with: "
            "pip install 'raisehand[int8]'"
        ) from None
    import torch

    from students.runtime.network import load_network

    network = load_network(bundle.path, len(manifest.labels))
    tokenizing = Tokenizing(bundle.path, int(str(manifest.config["max_length"])))
    batches = list(_batches(tokenizing, texts, int(str(manifest.config["pad_id"]))))
    with torch.inference_mode():
        model = openvino.convert_model(
            network, example_input=tuple(torch.from_numpy(a) for a in batches[0])
        )
    model.reshape({one: openvino.PartialShape([-1, -1]) for one in model.inputs})
    names = [one.any_name for one in model.inputs]
    quantised = nncf.quantize(
        model,
        nncf.Dataset(batches, lambda pair: dict(zip(names, pair, strict=True))),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
    )
    openvino.save_model(quantised, folder / MODEL, compress_to_fp16=False)
    shutil.copyfile(bundle.path / TOKENIZER, folder / TOKENIZER)


def _batches(
    tokenizing: Tokenizing, texts: Sequence[str], pad_id: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Batches of like length, so that the ranges are set by words and not by padding."""
    tokens = sorted(tokenizing.encode(texts[:QUANTISING_TEXTS]), key=len)
    for start in range(0, len(tokens), BATCH):
        yield pad(tokens[start : start + BATCH], pad_id)
