"""What a frozen encoder makes of a text, computed once and kept: N vectors for N texts.

Door to torch: import this module only inside the functions that train.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from students.errors import BadInputs
from students.runtime.encoders.encoder import pad
from students.runtime.encoders.network import EncoderNetwork
from students.train.progress import Progress

Float32 = npt.NDArray[np.float32]
BATCH = 64
READ = 500
"""Texts that are looked up in one statement."""
KEPT_EVERY = 16
"""Batches between two commits: what an interrupted embedding has to compute again, at most."""


class EmbeddingCache:
    """Vectors on disk, by the encoder that made them and the text.

    Args:
        folder: where it lies; one file for each encoder, named by `encoder`.
        encoder: fingerprint of weights, tokenizer and length.

    Raises:
        BadInputs: the file cannot be opened.
    """

    def __init__(self, folder: Path, encoder: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{encoder[:32]}.sqlite"
        try:
            self._file = sqlite3.connect(path)
            self._file.execute(
                "create table if not exists vectors (text blob primary key, vector blob) "
                "without rowid"
            )
        except sqlite3.Error as error:
            raise BadInputs(
                f"{path} cannot be used ({error}); delete it, it will be made anew"
            ) from None

    def close(self) -> None:
        """Keep what was put and close the file."""
        self._file.commit()
        self._file.close()

    def read(self, texts: Sequence[str], out: Float32) -> list[int]:
        """Fill the rows of `out` (N, W) that are known; return the others."""
        missing = []
        for start in range(0, len(texts), READ):
            keys = [_key(text) for text in texts[start : start + READ]]
            wanted = ", ".join("?" * len(keys))
            found = dict(
                self._file.execute(
                    f"select text, vector from vectors where text in ({wanted})", keys
                )
            )
            for i, key in enumerate(keys, start):
                vector = found.get(key, b"")
                if len(vector) == out[i].nbytes:
                    out[i] = np.frombuffer(vector, np.float32)
                else:
                    missing.append(i)
        return missing

    def put(self, texts: Sequence[str], vectors: Float32) -> None:
        """Take vectors (N, W); they are kept from the next `keep` on."""
        self._file.executemany(
            "insert or replace into vectors values (?, ?)",
            [(_key(t), v.tobytes()) for t, v in zip(texts, vectors, strict=True)],
        )

    def keep(self) -> None:
        """Write what was put."""
        self._file.commit()


def embed(
    network: EncoderNetwork,
    encode: Callable[[Sequence[str]], list[list[int]]],
    texts: Sequence[str],
    pad_id: int,
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
) -> Float32:
    """Return the pooled vectors (N, W) of N texts, in order, asking the cache first."""
    out = np.empty((len(texts), network.width), np.float32)
    missing = list(range(len(texts))) if cache is None else cache.read(texts, out)
    tokens = dict(zip(missing, encode([texts[i] for i in missing]), strict=True))
    missing.sort(key=lambda i: len(tokens[i]))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device).eval()
    for n, start in enumerate(range(0, len(missing), BATCH), 1):
        rows = missing[start : start + BATCH]
        ids, mask = pad([tokens[i] for i in rows], pad_id)
        with torch.inference_mode():
            pooled = network.pool(
                torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
            )
        out[rows] = pooled.float().cpu().numpy()
        if cache is not None:
            cache.put([texts[i] for i in rows], out[rows])
            if n % KEPT_EVERY == 0:
                cache.keep()
        if progress:
            progress(len(texts) - len(missing) + start + len(rows), len(texts))
    network.to("cpu")
    return out


def fingerprint(network: EncoderNetwork, tokenizer_json: str, longest: int) -> str:
    """Name an encoder by everything that its vectors depend on."""
    digest = hashlib.sha256(f"mean pooling\0{longest}\0{tokenizer_json}\0".encode())
    for name, tensor in sorted(network.encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def opened(folder: Path, encoder: str) -> closing[EmbeddingCache]:
    """Open a cache for a `with` statement; what was put is kept however it ends."""
    return closing(EmbeddingCache(folder, encoder))


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
