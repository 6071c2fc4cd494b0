"""What is wrong with a file or a setting, in the words of who wrote it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ValidationError

_TAGS = ("api", "hosted")
"""A tagged union puts its tag into the path; the file has no such level."""
_YAML_BOOLEANS = "; YAML reads yes, no, on and off as true and false: put the word in quotes"


def first_fault(error: ValidationError) -> str:
    """One sentence for the first fault: field, what is wrong, what was found, how many more."""
    first, *others = _sentences(error)
    return f"{first}; and {len(others)} more" if others else first


def every_fault(error: ValidationError) -> str:
    """One sentence for each fault, as `first_fault` says it."""
    return "; ".join(_sentences(error))


def _sentences(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"] if part not in _TAGS)
        words, found = fault["msg"].removeprefix("Value error, "), fault["input"]
        if fault["type"] == "extra_forbidden":
            yield f"there is no field {where}"
        elif fault["type"] == "missing":
            yield f"{where or 'it'} is missing"
        elif not where:
            yield words
        elif isinstance(found, dict | BaseModel):
            yield f"{where}: {words}"
        else:
            hint = isinstance(found, bool) and fault["type"] == "string_type"
            yield f"{where}: {words} (found {_shown(found)}){_YAML_BOOLEANS if hint else ''}"


def _shown(found: object) -> str:
    if isinstance(found, bool):
        return str(found).lower()
    return repr(found) if isinstance(found, str | float | list | tuple) else str(found)
