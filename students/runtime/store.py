"""Bundles at a place that all hosts reach: a folder or a bucket, any URL that fsspec knows.

    <url>/sha256/<sha256 of the manifest>/manifest.json, weights.safetensors, ...

A folder is a bundle when its manifest has the sha256 that it is named by. The manifest is written
last, so half an upload is none, on whichever store; who pushes the same bundle at the same time
writes the same bytes. Nothing that is whole is written again.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from costmodel.extras import not_installed
from students.errors import BadBundle
from students.runtime.bundle import (
    ID_DIGITS,
    MANIFEST,
    Bundle,
    Manifest,
    bundles_named,
    draft,
    find_bundle,
    read_bundle,
    settle,
)

OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
"""Schemes of stores in which an object is there as a whole or not at all."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredBundle:
    """A bundle in a store, known by its manifest."""

    digest: str
    manifest: Manifest

    @property
    def id(self) -> str:
        """The beginning of the digest, as on disk."""
        return self.digest[:ID_DIGITS]


def obtain(work_dir: Path, name: str | None, store: str | None) -> Bundle:
    """Find a bundle on this disk; one that is asked for by its id and not here is fetched.

    Args:
        work_dir: of the task.
        name: an id or its beginning; None is the newest one here.
        store: where else to look; None: nowhere.

    Raises:
        BadBundle: it is nowhere, or cannot be trusted, or the store cannot be reached.
    """
    if name is None or store is None or bundles_named(work_dir, name):
        return find_bundle(work_dir, name)
    return BundleStore(store).pull(name, work_dir)


class BundleStore:
    """The bundles at one URL.

    Raises:
        BadBundle: no such scheme, or its library is not installed.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self._scheme = urlsplit(url).scheme or "file"
        self._url = _without_password(url)
        try:
            # A listing that is remembered would hide what another host has pushed since.
            self._fs, root = url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise BadBundle(f"{self._url}: {not_installed(error.__cause__) or error}") from None
        except Exception as error:  # each store has errors of its own
            raise BadBundle(f"{self._url} is no place for bundles: {error}") from None
        self._root = f"{root.rstrip('/')}/sha256"

    def push(self, bundle: Bundle) -> bool:
        """Store a verified bundle; False when all of it was there.

        Raises:
            BadBundle: the store refused.
        """
        with self._reached():
            sent = [
                self._put(bundle.path / name, f"{self._root}/{bundle.digest}/{name}")
                for name in (*bundle.manifest.files, MANIFEST)  # the manifest last
            ]
        return any(sent)

    def bundles(self) -> list[StoredBundle]:
        """Return what is wholly there, the newest first.

        Raises:
            BadBundle: the store refused.
        """
        stored = []
        for digest, content in self._whole(""):
            with suppress(ValidationError):  # a later version of this program wrote it
                stored.append(StoredBundle(digest, Manifest.model_validate_json(content)))
        return sorted(stored, key=lambda found: found.manifest.created, reverse=True)

    def pull(self, name: str, work_dir: Path) -> Bundle:
        """Fetch a bundle by its id (or its beginning, or its whole digest), unless it is here.

        Every hash is checked before it gets its name beside the other bundles of `work_dir`.

        Raises:
            BadBundle: there is none or more than one of that name, it was altered on the way, the
                store cannot be reached or the disk refused.
        """
        found = self._find(name)
        bundles = work_dir / "bundles"
        with draft(bundles) as folder, _alone(bundles):
            if (bundles / found.id).exists():
                return read_bundle(bundles / found.id)
            with self._reached():
                for file, sha256 in {**found.manifest.files, MANIFEST: found.digest}.items():
                    self._get(f"{self._root}/{found.digest}/{file}", folder / file, sha256)
            return settle(folder)

    def _find(self, name: str) -> StoredBundle:
        whole = self._whole(name)
        if not name or len(whole) != 1:
            raise BadBundle(
                f"{len(whole)} bundles in {self._url} begin with {name!r}; see what there is with "
                f"`raisehand bundle list --store {self._url}`"
            )
        [(digest, content)] = whole
        try:
            return StoredBundle(digest, Manifest.model_validate_json(content))
        except ValidationError as error:
            raise BadBundle(
                f"bundle {digest[:ID_DIGITS]} in {self._url} is not for this version: {error}"
            ) from None

    def _whole(self, name: str) -> list[tuple[str, bytes]]:
        """Read the manifests whose digests begin so, but for uploads that are not at their end."""
        with self._reached():
            read = [(d, self._manifest(d)) for d in self._digests() if d.startswith(name)]
        return [(d, content) for d, content in read if hashlib.sha256(content).hexdigest() == d]

    def _digests(self) -> list[str]:
        try:
            paths = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        names = (str(path).rstrip("/").rpartition("/")[2] for path in paths)
        return [name for name in names if _DIGEST.fullmatch(name)]

    def _manifest(self, digest: str) -> bytes:
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{digest}/{MANIFEST}"))
        except FileNotFoundError:
            return b""

    def _put(self, path: Path, to: str) -> bool:
        try:
            if self._fs.info(to)["size"] == path.stat().st_size:
                return False
        except FileNotFoundError:
            pass
        if self._scheme in OBJECTS:
            self._fs.put_file(str(path), to)
        else:  # a copy is seen while it goes on
            partial = f"{to}.{uuid.uuid4().hex}"
            self._fs.makedirs(to.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(path), partial)
            self._fs.mv(partial, to)
        return True

    def _get(self, path: str, to: Path, expected: str) -> None:
        self._fs.get_file(path, str(to))
        with to.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            raise BadBundle(
                f"{self._fs.unstrip_protocol(path)} was altered: its sha256 is {found[:12]}…, the "
                f"manifest says {expected[:12]}…; delete it there and push the bundle again"
            )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except BadBundle:
            raise
        except Exception as error:  # each store has errors of its own, few of them OSErrors
            raise BadBundle(
                f"the bundle store {self._url} failed: {type(error).__name__}: {error}"
            ) from None


def _without_password(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", url)


@contextmanager
def _alone(bundles: Path) -> Iterator[Any]:
    """Let one process of this host fetch; the others then find what it has fetched."""
    with (bundles / ".fetching").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        yield lock
