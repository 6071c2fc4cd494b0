"""From a bundle on disk to a student in this process."""

from __future__ import annotations

from students.errors import BadBundle
from students.runtime.bundle import Bundle
from students.runtime.protocol import Student

WEIGHTS = "weights.safetensors"
WARM_UP = ("", "warm up every code path: naïve café 漢字 123", "a" * 400)


def load_student(bundle: Bundle, device: str = "cpu") -> Student:
    """Load the weights and answer once, so that the first request finds compiled code.

    Raises:
        BadBundle: the weights do not fit the manifest, or their runtime is not installed.
    """
    student = _load(bundle, device)
    student.predict(WARM_UP)
    return student


def _load(bundle: Bundle, device: str) -> Student:
    manifest = bundle.manifest
    if manifest.family == "linear":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        from students.runtime.linear import LinearStudent, LinearWeights

        try:
            tensors = load_file(bundle.path / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise BadBundle(f"{bundle.path / WEIGHTS} cannot be read: {error}") from None
        return LinearStudent(
            manifest.schema_,
            LinearWeights.from_tensors(tensors, manifest.config),
            temperature=manifest.temperature,
            kind=manifest.confidence,
        )
    raise BadBundle(f"this version cannot run a student of family {manifest.family!r}")
