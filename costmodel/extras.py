"""What `pip install raisehand` leaves out, and which extra brings it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from costmodel.errors import NotInstalled

EXTRA_OF = {
    "torch": "encoder",
    "transformers": "encoder",
    "tokenizers": "encoder",
    "sklearn": "train",
    "pyarrow": "parquet",
    "locust": "loadtests",
    "gevent": "loadtests",
    "flask": "loadtests",
    "psutil": "loadtests",
    "onnxruntime": "onnx",
    "openvino": "int8",
    "nncf": "export",
    "onnx": "export",
    "onnxscript": "export",
    "cryptography": "texts",
    "psycopg": "postgres",
    "alembic": "postgres",
    "sqlalchemy": "postgres",
    "ray": "ray",
    "s3fs": "s3",
    "gcsfs": "gcs",
    "adlfs": "azure",
}
"""The extra of pyproject.toml that brings a module."""


def require(*extras: str) -> None:
    """Check that these extras are there, before work that needs them begins.

    Raises:
        NotInstalled: naming the modules that are missing and the line that installs them.
    """
    needed = [name for name, extra in EXTRA_OF.items() if extra in extras]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise _lacking(missing)


def not_installed(error: BaseException | None) -> NotInstalled | None:
    """Say of a failed import which extra brings it; None when none does."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or name not in EXTRA_OF:
        return None
    return _lacking([name])


def _lacking(modules: Sequence[str]) -> NotInstalled:
    extras = ",".join(dict.fromkeys(EXTRA_OF[name] for name in modules))
    return NotInstalled(f"this needs {', '.join(modules)}: pip install 'raisehand[{extras}]'")
