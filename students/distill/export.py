"""Export an encoder student to another runtime. The result is another artefact.

Another runtime gives other scores, int8 most of all, so nothing that was certified carries over:
`students.distill.run.prove` calibrates, certifies and evaluates the exported files anew.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from students.distill.run import Distilled, Report, prove
from students.errors import BadTask
from students.label.labelled import LabelledSet
from students.runtime.bundle import Bundle, Family, Manifest, draft, hash_files
from students.runtime.encoders import int8, onnx
from students.runtime.encoders.encoder import BATCH, TOKENIZER, Tokenizing, pad
from students.runtime.load import LINEAR_WEIGHTS
from students.runtime.scope import SCOPE_FILE
from students.runtime.seen import SEEN_FILE
from students.task import Task

if TYPE_CHECKING:
    from students.runtime.encoders.network import EncoderNetwork

QUANTISING_TEXTS = 512
"""Texts whose activations set the int8 ranges."""


def exported(
    task: Task,
    bundle: Bundle,
    part: Mapping[str, LabelledSet],
    target: str = "int8",
    report: Report = lambda stage, done, total: None,
) -> Distilled:
    """Export an encoder bundle and prove the result: a bundle of its own.

    Args:
        task: where bundles and the ledger of certificates are, and what is promised.
        bundle: an encoder bundle.
        part: rows of each split.
        target: a key of `TARGETS`.
        report: progress.

    Raises:
        BadTask: the bundle is no encoder.
    """
    to = TARGETS[target]
    family, config = _exported(bundle.manifest, to.family)
    with draft(task.work_dir / "bundles") as folder:
        report(f"write {target}", 0, 1)
        to.write(bundle, part["train"].texts, folder)
        if family == "blend":
            shutil.copyfile(bundle.path / LINEAR_WEIGHTS, folder / LINEAR_WEIGHTS)
        for beside in {SCOPE_FILE, SEEN_FILE} & set(bundle.manifest.files):
            shutil.copyfile(bundle.path / beside, folder / beside)
        manifest = bundle.manifest.model_copy(
            update={
                "family": family,
                "config": {**config, "exported_from": bundle.id},
                "files": hash_files(folder),
                "certificate": None,
                "evaluation": None,
                "profile": None,
                "probes": (),
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
        BadTask: the bundle is no encoder.
    """
    network = _network(bundle)
    import nncf
    import openvino
    import torch

    config = bundle.manifest.config
    tokenizing = Tokenizing(bundle.path, int(str(config["max_length"])))
    batches = list(_batches(tokenizing, texts, int(str(config["pad_id"]))))
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: lengths are made dynamic right below
        model = openvino.convert_model(
            network, example_input=tuple(torch.from_numpy(a) for a in batches[0])
        )
    model.reshape({one: openvino.PartialShape([-1, -1]) for one in model.inputs})
    names = [one.any_name for one in model.inputs]
    # NNCF draws its progress on stdout, which is for the one JSON object.
    with contextlib.redirect_stdout(sys.stderr):
        quantised = nncf.quantize(
            model,
            nncf.Dataset(batches, lambda pair: dict(zip(names, pair, strict=True))),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
        )
    openvino.save_model(quantised, folder / int8.MODEL, compress_to_fp16=False)
    shutil.copyfile(bundle.path / TOKENIZER, folder / TOKENIZER)


def export_onnx(bundle: Bundle, texts: Sequence[str], folder: Path) -> None:
    """Write an ONNX model in float32: inputs `ids` and `mask` (B, L), output `logits` (B, K).

    Args:
        bundle: an encoder bundle.
        texts: not needed: nothing is quantised.
        folder: where model.onnx and tokenizer.json go.

    Raises:
        BadTask: the bundle is no encoder.
    """
    network = _network(bundle)
    import torch

    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    # Two tensors: one tensor given twice is exported as one input.
    example = torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64)
    # The exporter warns of packages for images, and that both inputs share their axes: they do.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            example,
            folder / onnx.MODEL,
            input_names=list(onnx.INPUTS),
            output_names=[onnx.OUTPUT],
            dynamic_shapes=dict.fromkeys(onnx.INPUTS, shape),
            external_data=False,
            verbose=False,
        )
    shutil.copyfile(bundle.path / TOKENIZER, folder / TOKENIZER)


@dataclass(frozen=True)
class Target:
    """Another runtime: its family, and what writes its files from a bundle and training texts."""

    family: Family
    write: Callable[[Bundle, Sequence[str], Path], None]


TARGETS = {
    "int8": Target("encoder-int8", export_int8),
    "onnx": Target("encoder-onnx", export_onnx),
}


def _exported(manifest: Manifest, to: Family) -> tuple[Family, dict[str, JsonValue]]:
    """Family and config of the export; of a blend, its encoder alone changes its runtime."""
    if manifest.family == "blend":
        return "blend", {**manifest.config, "encoder": to}
    return to, manifest.config


def _network(bundle: Bundle) -> EncoderNetwork:
    manifest = bundle.manifest
    kind = manifest.config.get("encoder") if manifest.family == "blend" else manifest.family
    if kind != "encoder":
        of_kind = f", its encoder of {kind!r}" if manifest.family == "blend" else ""
        raise BadTask(
            f"bundle {bundle.id} is of family {manifest.family!r}{of_kind}; only an encoder "
            "student is exported, or a blend with one (a linear student is already compiled for "
            "the CPU)"
        )
    from students.runtime.encoders.network import load_network

    return load_network(bundle.path, len(bundle.manifest.labels))


def _batches(
    tokenizing: Tokenizing, texts: Sequence[str], pad_id: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Batches of like length, so that the ranges are set by words and not by padding."""
    tokens = sorted(tokenizing.encode(texts[:QUANTISING_TEXTS]), key=len)
    for start in range(0, len(tokens), BATCH):
        yield pad(tokens[start : start + BATCH], pad_id)
