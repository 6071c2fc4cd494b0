"""How the parts are compiled: into one piece of machine code, kept on disk under their sources.

numba's cache on disk notices a change of the file a function is in, and not of the files it calls;
but what a function captures is part of its key. So only the two entries (`loop`, `arrivals`) are
kept, and each captures SOURCES: whatever changes in this folder, they are compiled anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import njit, types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
"""`_nrt` off: compiled code allocates nothing and counts no references."""


def _hash_of(folder: Path) -> int:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return int.from_bytes(found.digest()[:7])


SOURCES = _hash_of(Path(__file__).parent)
"""Of every file of this folder."""


def compiled(function: F) -> F:
    """Compile at the first call from compiled code; hold no lock."""
    return cast(F, njit(nogil=True, **_OPTIONS)(function))


def inlined(function: F) -> F:
    """Compile into the caller: on the path of every request a call costs more than its work."""
    return cast(F, njit(inline="always", **_OPTIONS)(function))


def kept(function: F) -> F:
    """Compile an entry that captures SOURCES, and keep the machine code on disk."""
    assert SOURCES in [cell.cell_contents for cell in function.__closure__ or ()]
    return cast(F, njit(nogil=True, cache=True, **_OPTIONS)(function))


def record_of(layout: np.dtype[Any]) -> Callable[[Any, Any], Any]:
    """Make a compiled `f(address, index)` that returns the record at a place of an array."""
    record = numba.from_dtype(layout)

    @intrinsic  # type: ignore[untyped-decorator]
    def record_at(typingctx: Any, address: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            size = context.get_constant(types.int64, layout.itemsize)
            place = builder.add(args[0], builder.mul(args[1], size))
            return builder.inttoptr(place, context.get_value_type(record))

        return record(types.int64, types.int64), codegen

    return cast("Callable[[Any, Any], Any]", record_at)


@intrinsic  # type: ignore[untyped-decorator]
def bits_of(typingctx: Any, x: Any) -> Any:
    """Reinterpret a float64 as an int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), codegen
