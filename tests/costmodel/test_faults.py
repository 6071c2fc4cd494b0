"""What is wrong with a file is one sentence a fault, the same wherever a file is read."""

import pytest
from pydantic import ValidationError, model_validator

from costmodel.faults import every_fault, first_fault
from costmodel.frozen import Frozen


class Part(Frozen):
    """Something that a file says."""

    name: str
    share: float = 0.5

    @model_validator(mode="after")
    def _together(self):
        if self.name == "none":
            raise ValueError("none has no share")
        return self


class Whole(Frozen):
    """A file."""

    api: Part


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"api": {}}, "name is missing"),
        ({"api": {"name": "a", "shape": 1}}, "there is no field shape"),
        ({"api": {"name": "a", "share": "half"}}, "share: .* (found 'half')"),
        ({"api": {"name": True}}, "name: .* (found true); YAML reads yes"),
        ({"api": {"name": "none"}}, "none has no share"),
        ({}, "it is missing"),
    ],
)
def test_a_fault_is_one_sentence(written, sentence):
    """Field, what is wrong and what was found; the tag of a union is no field."""
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(written)
    start, _, end = sentence.partition(".*")
    assert first_fault(caught.value).startswith(start)
    assert end in first_fault(caught.value)
    assert every_fault(caught.value) == first_fault(caught.value)


def test_more_than_one_fault_is_counted_or_listed():
    """Who reads one sentence learns how many there are; a list has them all."""
    with pytest.raises(ValidationError) as caught:
        Part.model_validate({"share": "half", "shape": 1})
    assert first_fault(caught.value) == "name is missing; and 2 more"
    assert every_fault(caught.value).count("; ") == 2


def test_what_is_frozen_stays_and_knows_its_fields():
    """A record is not changed once it was read."""
    part = Part(name="a")
    with pytest.raises(ValidationError, match="frozen"):
        part.share = 0.1
