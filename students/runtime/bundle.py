"""The bundle: one student as a folder of safetensors and one JSON manifest that vouches for it.

    <work_dir>/bundles/<id>/manifest.json, weights.safetensors, ...
    <work_dir>/bundles/latest              holds the id of the newest

The id is the beginning of the manifest's sha256, so a changed manifest is another bundle. Nothing
in a bundle is ever executed or unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError, field_validator

from costmodel.frozen import Frozen
from costmodel.inputs.profile import StudentProfile
from students.certificate import NEVER, Certificate
from students.confidence import Kind
from students.errors import BadBundle
from students.evaluation import Evaluation
from students.labels import LabelSchema
from students.runtime.probes import Probe
from students.runtime.usual import Usual
from students.sections import Sampling
from students.teachers.protocol import TeacherDescriptor

MANIFEST = "manifest.json"
LATEST = "latest"
WEIGHTS = "weights.safetensors"
ID_DIGITS = 12
"""Hex digits of the manifest's sha256 that are a bundle's id."""

Family = Literal["linear", "encoder", "encoder-int8", "encoder-onnx", "blend"]

Terms = Literal["counts", "sublinear"]
"""What a feature that occurs n times in a text counts for a linear student: n, or 1 + ln n."""


class LabellingBill(Frozen):
    """What the labels behind this student cost, and how well the teacher agrees with itself."""

    n: int
    usd: Decimal
    price: str
    self_agreement_n: int = 0
    self_agreement_agreed: int = 0
    labels_sha256: str = ""
    rows: int | None = None
    """Rows of the inputs that these labels stand for; None in older bundles."""
    sampling: Sampling = "rows"
    """How the rows that judge were drawn."""


class Trial(Frozen):
    """One setting that was trained, judged on the validation rows after temperature scaling."""

    temperature: float = 1.0
    """T of the soft loss."""
    hard_weight: float = 0.0
    """lambda of the hard cross-entropy."""
    l2: float = 0.0
    """Strength of the L2 penalty; encoders and older bundles have none."""
    terms: Terms | None = None
    """What a repeated feature of a linear student counts; older bundles: every occurrence."""
    least_texts: int | None = None
    """Training texts that a feature must have been in; older bundles: 2."""
    linear_weight: float | None = None
    """Weight of the linear part of a blend, which trains nothing itself."""
    variants: int = 0
    """Texts made from the rows, and answered by another student, that it learnt beside them."""
    kl: float
    """KL(teacher || student) in nats per row."""
    agreement: float
    epochs: int = 0


class Manifest(Frozen):
    """Everything that is known about a student."""

    format: Literal["raisehand-bundle/1"] = "raisehand-bundle/1"
    task: str
    labels: tuple[str, ...] = Field(min_length=2)
    descriptions: tuple[str, ...] = ()
    family: Family
    config: dict[str, JsonValue]
    """What running it needs besides its files."""
    temperature: float = Field(gt=0)
    confidence: Kind
    files: dict[str, str]
    """sha256 of every other file."""
    teacher: TeacherDescriptor
    labelling: LabellingBill | None = None
    training_s: float = Field(default=0.0, ge=0)
    trials: tuple[Trial, ...] = ()
    """The chosen setting first."""
    certificate: Certificate | None = None
    rungs: tuple[float, ...] = ()
    """Thresholds above the certified ones, ascending, to which audits may raise them; fixed from
    rows without labels. Without any an alarm leaves the teacher only."""
    usual: Usual | None = None
    """What its traffic looks like; older bundles do not say."""
    evaluation: Evaluation | None = None
    profile: StudentProfile | None = None
    probes: tuple[Probe, ...] = ()
    """What the student said to a few texts; older bundles have none."""
    versions: dict[str, str] = {}
    created: str

    @field_validator("files")
    @classmethod
    def _are_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if Path(name).name != name or name in ("..", MANIFEST):
                raise ValueError(f"{name!r} is outside itself or its manifest; distil again")
        return files

    @property
    def artefact_sha256(self) -> str:
        """Fingerprint of all that decides an answer and its confidence; certificates name it."""
        return artefact_sha256(
            self.family, self.config, self.files, self.temperature, self.confidence, self.labels
        )

    @property
    def schema_(self) -> LabelSchema:
        """The labels as the rest of the code wants them."""
        return LabelSchema(self.labels, self.descriptions)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Certified thresholds (K,); without a certificate everything escalates."""
        return self.certificate.thresholds if self.certificate else (NEVER,) * len(self.labels)


def artefact_sha256(
    family: str,
    config: dict[str, JsonValue],
    files: dict[str, str],
    temperature: float,
    confidence: str,
    labels: tuple[str, ...],
) -> str:
    """Fingerprint of a student: weights and everything else its confidence depends on."""
    parts = [family, config, sorted(files.items()), temperature, confidence, list(labels)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    path: Path
    manifest: Manifest

    @cached_property
    def digest(self) -> str:
        """The manifest's sha256, in hex: it stands for every byte of the bundle."""
        return _sha256(self.path / MANIFEST)

    @property
    def id(self) -> str:
        """The beginning of the digest."""
        return self.digest[:ID_DIGITS]


def read_bundle(path: Path) -> Bundle:
    """Read a bundle's manifest and check every file against it.

    Raises:
        BadBundle: something is missing, altered, of another format, or certified for other weights.
    """
    try:
        manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BadBundle(
            f"{path} holds no {MANIFEST}; name a bundle folder, or run `raisehand distill`"
        ) from None
    except (OSError, ValidationError) as error:
        raise BadBundle(f"{path / MANIFEST} is not a bundle manifest: {_fault(error)}") from None
    for name, expected in manifest.files.items():
        found = _sha256(path / name)
        if found != expected:
            raise BadBundle(
                f"{path / name} was altered: its sha256 is {found[:12]}…, the manifest says "
                f"{expected[:12]}…; distil again or restore the file"
            )
    certificate = manifest.certificate
    if certificate and certificate.artefact_sha256 != manifest.artefact_sha256:
        raise BadBundle(
            f"{path} carries a certificate of other weights "
            f"({certificate.artefact_sha256[:12]}…, this student is "
            f"{manifest.artefact_sha256[:12]}…); certify this student"
        )
    if certificate and len(certificate.thresholds) != len(manifest.labels):
        raise BadBundle(
            f"{path} has {len(certificate.thresholds)} thresholds for {len(manifest.labels)} labels"
        )
    return Bundle(path, manifest)


@contextmanager
def draft(bundles: Path) -> Iterator[Path]:
    """Give a new empty folder beside the bundles to put a student's files into.

    It is gone after the block unless `publish` made it a bundle.

    Raises:
        BadBundle: the disk refused.
    """
    try:
        bundles.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".draft-", dir=bundles))
    except OSError as error:
        raise BadBundle(f"no bundle can be written to {bundles}: {error.strerror}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hash_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a student, manifest left out."""
    return {p.name: _sha256(p) for p in sorted(folder.iterdir()) if p.name != MANIFEST}


def publish(folder: Path, manifest: Manifest) -> Bundle:
    """Turn a draft into a bundle with one rename, and make `latest` name it.

    Raises:
        BadBundle: the disk refused, or the manifest does not fit the files.
    """
    content = manifest.model_dump_json(indent=1).encode()
    target = folder.parent / hashlib.sha256(content).hexdigest()[:ID_DIGITS]
    try:
        (folder / MANIFEST).write_bytes(content)
        read_bundle(folder)
        if target.exists():
            shutil.rmtree(target)
    except OSError as error:
        raise _unwritten(folder, error) from None
    bundle = settle(folder)
    name_latest(folder.parent, bundle.id)
    return bundle


def settle(folder: Path) -> Bundle:
    """Check a whole draft, put it on the disk and give it its name: no half of it is ever seen.

    Raises:
        BadBundle: the disk refused, or the manifest does not fit the files.
    """
    drafted = read_bundle(folder)
    target = folder.parent / drafted.id
    try:
        folder.chmod(0o755)
        for path in (*folder.iterdir(), folder):
            _sync(path)
        folder.rename(target)
        _sync(folder.parent)
    except OSError as error:
        raise _unwritten(folder, error) from None
    return Bundle(target, drafted.manifest)


def name_latest(bundles: Path, bundle_id: str) -> None:
    """Make `latest` name this bundle."""
    partial = bundles / f".{LATEST}.partial"
    partial.write_text(bundle_id + "\n", encoding="utf-8")
    partial.replace(bundles / LATEST)


@contextmanager
def candidate(work_dir: Path) -> Iterator[None]:
    """Let `latest` name what it named before, whatever is published meanwhile."""
    bundles = work_dir / "bundles"
    try:
        before = (bundles / LATEST).read_text(encoding="utf-8").strip()
    except OSError:
        before = ""
    try:
        yield
    finally:
        if before:
            name_latest(bundles, before)


def find_bundle(work_dir: Path, name: str | None = None) -> Bundle:
    """Read the bundle of this id (or its beginning), or the newest one.

    Raises:
        BadBundle: there is none, or more than one begins so, or it cannot be trusted.
    """
    bundles = work_dir / "bundles"
    if name is None:
        try:
            name = (bundles / LATEST).read_text(encoding="utf-8").strip()
        except OSError:
            raise BadBundle(f"{bundles} holds no bundle yet; run `raisehand distill`") from None
        return read_bundle(bundles / name)
    matches = bundles_named(work_dir, name)
    if not name or len(matches) != 1:
        known = ", ".join(path.name for path in bundles_named(work_dir, "")) or "none"
        raise BadBundle(f"{len(matches)} bundles begin with {name!r}; there are {known}")
    return read_bundle(matches[0])


def bundles_named(work_dir: Path, name: str) -> list[Path]:
    """Return the folders of the bundles here whose id begins so."""
    found = (work_dir / "bundles").glob(f"*/{MANIFEST}")
    return sorted(path.parent for path in found if path.parent.name.startswith(name))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(folder: Path, error: OSError) -> BadBundle:
    return BadBundle(f"the bundle could not be written to {folder.parent}: {error}")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BadBundle(f"{path} cannot be read ({error.strerror}); distil again") from None


def _fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
    return str(error)
