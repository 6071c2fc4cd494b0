"""Fine-tune a local Hugging Face encoder into a classifier that any server can serve.

This makes teachers: the folder it writes is plain Hugging Face, for vLLM or `raisehand teacher`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from students.errors import BadInputs
from students.runtime.encoders.encoder import CHARACTERS_PER_TOKEN
from students.train.progress import Progress


def finetune_classifier(
    base_path: Path,
    texts: Sequence[str],
    targets: npt.NDArray[np.float32],
    out_dir: Path,
    *,
    labels: Sequence[str] | None = None,
    epochs: int = 2,
    batch_size: int = 32,
    lr: float = 5e-5,
    max_length: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Train all weights of an encoder on soft or one-hot targets and save it.

    Args:
        base_path: local folder of the pre-trained encoder; nothing is downloaded.
        texts: N texts.
        targets: (N, K), a row is the distribution to learn (one-hot for gold).
        out_dir: where config, safetensors and tokenizer go; replaced only by a finished model.
        labels: K names, stored as id2label.
        epochs: passes over the texts.
        batch_size: texts of a step.
        lr: peak learning rate.
        max_length: tokens after which a text is cut.
        seed: of the new head, shuffling and dropout.
        progress: called with (steps done, steps in all).

    Returns:
        `out_dir`.

    Raises:
        BadInputs: no encoder at `base_path`, or texts and targets do not match.
    """
    import torch
    import transformers
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from students.train.training import Recipe, train_encoder

    if len(texts) == 0 or targets.ndim != 2 or len(texts) != len(targets):
        raise BadInputs(
            f"{len(texts)} texts and targets of shape {targets.shape}; one row per text is needed"
        )
    names = list(labels) if labels is not None else [str(k) for k in range(targets.shape[1])]
    if len(names) != targets.shape[1]:
        raise BadInputs(f"{len(names)} label names for {targets.shape[1]} columns of targets")
    # The head is new on purpose; transformers would print a page about it.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(base_path), local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            str(base_path),
            local_files_only=True,
            num_labels=len(names),
            id2label=dict(enumerate(names)),
            label2id={name: k for k, name in enumerate(names)},
        )
    except (OSError, ValueError) as error:
        raise BadInputs(
            f"{base_path} is not a local Hugging Face encoder: {' '.join(str(error).split())}"
        ) from None
    model.to("cuda" if torch.cuda.is_available() else "cpu")

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits
            return logits

    tokens = tokenizer(
        [text[: max_length * CHARACTERS_PER_TOKEN] for text in texts],
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    train_encoder(
        Logits(),
        tokens,
        targets,
        Recipe(epochs=epochs, batch_size=batch_size, lr=lr, seed=seed),
        pad_id=tokenizer.pad_token_id,
        progress=progress,
    )
    partial = out_dir.with_name(out_dir.name + ".partial")
    tokenizer.model_max_length = max_length
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    if out_dir.exists():
        shutil.rmtree(out_dir)
    partial.rename(out_dir)
    return out_dir
