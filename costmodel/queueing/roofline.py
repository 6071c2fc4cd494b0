"""A hosted teacher nobody has measured: step times from a GPU's datasheet and a model's shape.

    fields = step_fields(GPUS["h100-sxm"], Model(parameters=8.03e9, layers=32, kv_heads=8))
    teacher = HostedTeacher(**fields)

In a scenario file: `teacher: {kind: hosted, roofline: {gpu: h100-sxm, parameters: 8.03e9,
layers: 32, kv_heads: 8}}`.

Decode is bound by memory (weights and cache are read once a step), prefill by arithmetic:

    step      = weights / (bandwidth x e_b) + overhead, per layer and per step
    context   = kv_bytes / (bandwidth x e_b)          seconds per token of context
    request   = 2 P / (peak x e_f)                    seconds per decoding request
    prefill   = 2 P / (peak x e_f)                    seconds per prompt token

It knows nothing of kernels, engines or parallelism over several GPUs: expect tens of per cent (the
authors of BLIS report 36 to 48 % for rooflines of their own, inference-sim pull request 436).
Measure before you buy. Escalations and prices move a bill more than this does.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from costmodel.errors import BadScenario
from costmodel.frozen import Frozen

BANDWIDTH_EFFICIENCY = 0.8
ARITHMETIC_EFFICIENCY = 0.5
LAYER_S = 10e-6
STEP_S = 1e-3
USABLE_MEMORY = 0.9
OTHER_BYTES = 3.5e9
"""Activations, graphs and the like beside weights and cache."""


class Gpu(BaseModel):
    """Dense peaks of one GPU, as its maker's sheet states them (without sparsity)."""

    model_config = ConfigDict(frozen=True)

    name: str
    flops: float = Field(gt=0)
    """16-bit dense floating-point operations per second; 8-bit is twice this."""
    bandwidth: float = Field(gt=0)
    """Bytes per second."""
    memory: float = Field(gt=0)
    """Bytes."""


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu(name="h100-sxm", flops=989e12, bandwidth=3.35e12, memory=80e9),
        Gpu(name="h200-sxm", flops=989e12, bandwidth=4.8e12, memory=141e9),
        Gpu(name="a100-sxm", flops=312e12, bandwidth=2.039e12, memory=80e9),
        Gpu(name="l40s", flops=362e12, bandwidth=0.864e12, memory=48e9),
        Gpu(name="l4", flops=121e12, bandwidth=0.300e12, memory=24e9),
    )
}


class DecoderShape(Frozen):
    """The shape of a dense decoder."""

    parameters: float = Field(gt=0)
    layers: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_size: int = Field(default=128, ge=1)
    bytes_per_weight: float = Field(default=2.0, gt=0)
    """2 for 16 bits, 1 for 8 bits."""

    @property
    def weight_bytes(self) -> float:
        """Bytes of the weights."""
        return self.parameters * self.bytes_per_weight

    @property
    def kv_bytes(self) -> float:
        """Bytes of cache for one token: keys and values of all layers, 16 bits each."""
        return 2.0 * self.layers * self.kv_heads * self.head_size * 2.0


def gpu_named(name: str) -> Gpu:
    """Look a GPU up.

    Raises:
        BadScenario: nobody knows it.
    """
    if name not in GPUS:
        raise BadScenario(f"no GPU is named {name!r}; the known ones are {', '.join(GPUS)}")
    return GPUS[name]


def step_fields(gpu: Gpu, model: DecoderShape) -> dict[str, float]:
    """Step times and cache of one replica on one GPU, by their names in a hosted teacher.

    Raises:
        BadScenario: the model does not fit the GPU's memory.
    """
    room = gpu.memory * USABLE_MEMORY - model.weight_bytes - OTHER_BYTES
    if room <= 0:
        raise BadScenario(
            f"{model.weight_bytes / 1e9:.1f} GB of weights do not fit {gpu.name} with "
            f"{gpu.memory / 1e9:.0f} GB (90 % usable, 3.5 GB for other uses); take a larger GPU or "
            "fewer bytes per weight"
        )
    bandwidth = gpu.bandwidth * BANDWIDTH_EFFICIENCY
    flops = gpu.flops * ARITHMETIC_EFFICIENCY * 2.0 / model.bytes_per_weight
    return {
        "step_s": model.weight_bytes / bandwidth + LAYER_S * model.layers + STEP_S,
        "step_per_request_s": 2 * model.parameters / flops,
        "step_per_context_token_s": model.kv_bytes / bandwidth,
        "step_per_prefill_token_s": 2 * model.parameters / flops,
        "kv_tokens": room / model.kv_bytes,
    }
