"""Files of a report: known to be possible before the test, and said of each that is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from loadtests.errors import CannotWrite


def check(outputs: Mapping[str, Path]) -> None:
    """Make the folders of the outputs, before anything is measured for them.

    Raises:
        CannotWrite: names the first file that cannot be.
    """
    for path in outputs.values():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot(path, error.strerror or str(error)) from None
        if path.is_dir():
            raise _cannot(path, "it is a folder")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise _cannot(path, "it may not be written to")


def write(path: Path, content: str, *, append: bool = False) -> None:
    """Write a file, or add to it.

    Raises:
        CannotWrite: the disk is full, or the like.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise _cannot(path, error.strerror or str(error)) from None


def write_all(
    outputs: Mapping[str, Path], forms: Mapping[str, Callable[[], str]], *, adds: str = ""
) -> list[str]:
    """Write each form that has an output, `adds` at its end; say which files cannot be written."""
    troubles = []
    for name, form in forms.items():
        if name in outputs:
            try:
                write(outputs[name], form(), append=name == adds)
            except CannotWrite as error:
                troubles.append(str(error))
    return troubles


def _cannot(path: Path, why: str) -> CannotWrite:
    return CannotWrite(f"{path} cannot be written ({why}); name another file")
