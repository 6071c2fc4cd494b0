"""The encoder student's network in torch: a Hugging Face encoder, mean pooling, a head.

Door to torch: import this module only inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from students.errors import BadBundle
from students.runtime.bundle import WEIGHTS

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


class EncoderNetwork(nn.Module):
    """logits (B, K) = head(mean over real tokens of encoder(ids, mask))."""

    def __init__(self, encoder: nn.Module, width: int, classes: int, hidden: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.width, self.classes = width, classes
        self.head = new_head(width, hidden, classes)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map ids (B, L) and mask (B, L) to logits (B, K)."""
        logits: torch.Tensor = self.head(self.pool(ids, mask))
        return logits

    def pool(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map ids (B, L) and mask (B, L) to the mean over real tokens (B, W)."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, W)
        real = mask[:, :, None].to(hidden.dtype)
        pooled: torch.Tensor = (hidden * real).sum(dim=1) / real.sum(dim=1).clamp_min(1.0)
        return pooled

    def recompute_activations(self) -> None:
        """Train with less memory: keep no activations within a layer, compute them twice."""
        encoder: Any = self.encoder
        encoder.gradient_checkpointing_enable({"use_reentrant": False})


def new_head(width: int, hidden: int, classes: int) -> nn.Module:
    """Return a linear head (W to K), or one with a hidden layer (W to `hidden` to K, GELU)."""
    if not hidden:
        return nn.Linear(width, classes)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, classes))


def new_network(base: Path, classes: int) -> EncoderNetwork:
    """Put a new head on the pre-trained encoder in a local Hugging Face folder.

    Raises:
        OSError, ValueError: there is none.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    encoder = transformers.AutoModel.from_pretrained(str(base), local_files_only=True)
    return EncoderNetwork(without_pooler(encoder), encoder.config.hidden_size, classes)


def save_network(network: EncoderNetwork, folder: Path) -> None:
    """Write config.json and the weights."""
    encoder: Any = network.encoder
    encoder.config.to_json_file(folder / "config.json")
    save_file({k: v.contiguous().cpu() for k, v in network.state_dict().items()}, folder / WEIGHTS)


def load_network(folder: Path, classes: int) -> EncoderNetwork:
    """Rebuild the network from a bundle's files, in evaluation mode.

    Raises:
        BadBundle: the files are missing or do not fit.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True)
        encoder = without_pooler(transformers.AutoModel.from_config(config))
        weights = load_file(folder / WEIGHTS)
        # A head with a hidden layer is known by the name of its first matrix.
        hidden = weights["head.0.weight"].shape[0] if "head.0.weight" in weights else 0
        network = EncoderNetwork(encoder, config.hidden_size, classes, hidden)
        network.load_state_dict(weights)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadBundle(
            f"{folder} does not hold an encoder student: {' '.join(str(error).split())[:200]}"
        ) from None
    return network.eval()


class TorchForward:
    """Logits by torch, in bfloat16 on a GPU. Implements `Forward`."""

    def __init__(self, network: EncoderNetwork, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._network = network.to(self._device).eval()

    def __call__(self, ids: Int64, mask: Int64) -> Float32:
        """Map ids (B, L) and mask (B, L) to logits (B, K)."""
        gpu = self._device.type == "cuda"
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=gpu):
            logits = self._network(
                torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device)
            )
        out: Float32 = logits.float().cpu().numpy()
        return out


class CudaGraphs:
    """Records the network for one shape after another; the graphs share their memory.

    Call it as `record` of `students.runtime.encoders.shapes.ShapedForward`.
    """

    def __init__(self, network: EncoderNetwork, device: str) -> None:
        self._device = torch.device(device)
        self._network = network.to(self._device).eval()
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, size: int, length: int) -> Callable[[Int64, Int64], Float32]:
        """Record a batch of `size` texts of `length` tokens, in bfloat16; return its replay."""
        ids = torch.zeros((size, length), dtype=torch.int64, device=self._device)
        mask = torch.ones_like(ids)
        graph = torch.cuda.CUDAGraph()
        with (
            torch.inference_mode(),
            # The cache of cast weights would be freed after the recording, not after the replay.
            torch.autocast("cuda", torch.bfloat16, cache_enabled=False),
        ):
            aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(aside):  # kernels are chosen and loaded in these runs
                for _ in range(3):
                    self._network(ids, mask)
            torch.cuda.current_stream(self._device).wait_stream(aside)
            with torch.cuda.graph(graph, pool=self._pool):
                logits = self._network(ids, mask)

        def replay(new_ids: Int64, new_mask: Int64) -> Float32:
            ids.copy_(torch.from_numpy(new_ids))
            mask.copy_(torch.from_numpy(new_mask))
            graph.replay()
            out: Float32 = logits.float().cpu().numpy()  # waits for the replay
            return out

        return replay


def without_pooler(encoder: nn.Module) -> nn.Module:
    """Drop a pooler that mean pooling does not use: it would be stored and never trained."""
    if getattr(encoder, "pooler", None) is not None:
        setattr(encoder, "pooler", None)  # noqa: B010 modules are typed as tensors or modules
    return encoder
