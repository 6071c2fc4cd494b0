"""What the scripts share: the question, the models of its answer, a line of JSON for each case."""

import json
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

SYSTEM = "Say it."
USER = "Message: help\nUrgent?"


class Urgency(StrEnum):
    """The labels as an application names them."""

    CALM = "calm"
    URGENT = "urgent"


class Verdict(BaseModel):
    """How urgent a message is: a reference to an enumeration, with a description beside it."""

    urgency: Urgency = Field(description="What it is.")


class Written(BaseModel):
    """How urgent a message is, without an enumeration."""

    urgency: Literal["calm", "urgent"]


def label_of(found: Any) -> str:
    """Return the label that an SDK read, whatever it was asked to make of it."""
    if isinstance(found, dict):
        found = found.get("parsed") or found["urgency"]
    return Urgency(getattr(found, "urgency", found)).value


def last_of(parts: Iterable[Any]) -> Any:
    """Return what a stream ended with."""
    return list(parts)[-1]


def say(case: str, ask: Callable[..., Any], *given: Any, **named: Any) -> None:
    """Ask, and print the label that was read, or what was raised."""
    try:
        label, error = label_of(ask(*given, **named)), None
    except Exception as raised:  # the test shows it
        label, error = None, repr(raised)
    sys.stdout.write(json.dumps({"case": case, "label": label, "error": error}) + "\n")
