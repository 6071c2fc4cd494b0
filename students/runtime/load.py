"""From a bundle on disk to a student in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from students.errors import BadBundle
from students.runtime.bundle import WEIGHTS, Bundle
from students.runtime.encoders import int8
from students.runtime.encoders.encoder import (
    BATCH,
    PASS_TOKENS,
    EncoderStudent,
    Forward,
    Tokenizing,
)
from students.runtime.encoders.onnx import OnnxForward
from students.runtime.encoders.shapes import SIZES, ShapedForward
from students.runtime.probes import check_drift
from students.runtime.protocol import Student
from students.runtime.seen import SeenNgrams

if TYPE_CHECKING:
    from students.runtime.encoders.encoder import EncoderStudent
    from students.runtime.linear import LinearWeights

LINEAR_WEIGHTS = "linear.safetensors"
"""The linear part of a blend, beside its encoder's weights."""
RUNTIME_EXTRAS = {"encoder": "encoder", "encoder-int8": "int8", "encoder-onnx": "onnx"}
"""What runs an encoder, and the extra that brings it."""
WARM_UP = ("", "warm up every code path: naïve café 漢字 123", "a" * 400)


def load_student(bundle: Bundle, device: str = "cpu") -> Student:
    """Load the weights and answer once, so that the first request finds compiled code.

    Raises:
        BadBundle: the weights do not fit the manifest, their runtime is not installed, or the
            student gives other scores here than where it was certified.
    """
    try:
        student = _load(bundle, device)
    except ModuleNotFoundError as error:
        runtime = str(bundle.manifest.config.get("encoder", bundle.manifest.family))
        extra = RUNTIME_EXTRAS.get(runtime)
        if extra is None:
            raise
        raise BadBundle(
            f"{bundle.path} runs on {error.name}, which is not installed: "
            f"pip install 'raisehand[{extra}]'"
        ) from None
    student.predict(WARM_UP)
    check_drift(student, bundle.manifest.probes, bundle.path)
    return student


def _load(bundle: Bundle, device: str) -> Student:
    student = _ungated(bundle, device)
    scope = bundle.manifest.config.get("scope")
    if not isinstance(scope, dict):
        return student
    from students.runtime.scope import GatedStudent, ScopeGate

    return GatedStudent(student, ScopeGate.load(bundle.path, scope))


def _ungated(bundle: Bundle, device: str) -> Student:
    if bundle.manifest.family == "linear":
        return _linear(bundle)
    if bundle.manifest.family == "blend":
        return _blend(bundle, device)
    return _encoder(bundle, device, bundle.manifest.family)


def _linear(bundle: Bundle) -> Student:
    from students.runtime.linear import LinearStudent

    manifest = bundle.manifest
    return LinearStudent(
        manifest.schema_,
        _linear_weights(bundle, WEIGHTS),
        temperature=manifest.temperature,
        kind=manifest.confidence,
    )


def _linear_weights(bundle: Bundle, name: str) -> LinearWeights:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from students.runtime.linear import LinearWeights

    try:
        tensors = load_file(bundle.path / name)
    except (OSError, SafetensorError) as error:
        raise BadBundle(f"{bundle.path / name} cannot be read: {error}") from None
    return LinearWeights.from_tensors(tensors, bundle.manifest.config)


def _blend(bundle: Bundle, device: str) -> Student:
    from students.runtime.blend import BlendStudent, Shares

    manifest = bundle.manifest
    return BlendStudent(
        _linear_weights(bundle, LINEAR_WEIGHTS),
        _encoder(bundle, device, str(manifest.config.get("encoder"))),
        Shares.from_config(manifest.config),
        temperature=manifest.temperature,
        kind=manifest.confidence,
    )


def _encoder(bundle: Bundle, device: str, runtime: str) -> EncoderStudent:
    manifest = bundle.manifest
    try:
        max_length, pad_id = (
            int(str(manifest.config["max_length"])),
            int(str(manifest.config["pad_id"])),
        )
    except (KeyError, ValueError) as error:
        raise BadBundle(f"{bundle.path} lacks {error} in config; distil again") from None
    forward: Forward
    batch, streams = BATCH, 1
    pass_tokens: int | None = PASS_TOKENS
    if runtime == "encoder":
        from students.runtime.encoders.network import CudaGraphs, TorchForward, load_network

        network = load_network(bundle.path, len(manifest.labels))
        if device.startswith("cuda"):
            record = CudaGraphs(network, device)
            forward = ShapedForward(record, max_length=max_length, pad_id=pad_id)
            batch, pass_tokens = SIZES[-1], None
        else:
            forward = TorchForward(network, device)
    elif runtime == "encoder-onnx":
        forward = OnnxForward(bundle.path)
    elif runtime == "encoder-int8":
        on_each_core = int8.Int8Forward(bundle.path)
        forward, batch, streams = on_each_core, int8.BATCH, on_each_core.streams
    else:
        raise BadBundle(f"{bundle.path} has an encoder of kind {runtime!r}; distil again")
    return EncoderStudent(
        manifest.schema_,
        Tokenizing(bundle.path, max_length),
        forward,
        max_length=max_length,
        pad_id=pad_id,
        batch=batch,
        pass_tokens=pass_tokens,
        streams=streams,
        temperature=manifest.temperature,
        kind=manifest.confidence,
        seen=SeenNgrams.load(bundle.path),
    )
