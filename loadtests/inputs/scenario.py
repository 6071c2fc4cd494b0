"""A scenario: which load, which teacher, which limits. A YAML file, shipped or your own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from costmodel.faults import every_fault
from costmodel.frozen import Frozen
from loadtests.errors import BadLoadSpec
from loadtests.inputs.slo import Slo


class LoadScenario(Frozen):
    """What `--scenario` names.

    `load` holds fields of LoadSpec and `teacher` knobs of the fake teacher; what the command line
    gives beats both.
    """

    name: str
    about: str
    load: Mapping[str, Any]
    teacher: Mapping[str, Any] = {}
    slo: Slo = Slo()
    repeats: int = Field(default=1, ge=1)


def shipped() -> list[str]:
    """Return the names of the scenarios that come with raisehand."""
    folder = resources.files("loadtests.scenarios")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name[-5:] == ".yaml")


def read_scenario(name: str) -> LoadScenario:
    """Read a shipped scenario by its name, or a file by its path.

    Raises:
        BadLoadSpec: there is none, or it names what does not exist.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in shipped():
            raise BadLoadSpec(
                f"there is no scenario {name!r}; the shipped ones are {', '.join(shipped())}, and "
                "a path ending in .yaml is read as your own"
            )
        text = resources.files("loadtests.scenarios").joinpath(f"{name}.yaml").read_text("utf-8")
        return _parse(text, name)
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadLoadSpec(f"{path} cannot be read: {error}") from None


def read_slo(path: Path) -> Slo:
    """Read an SLO file (slo.yaml).

    Raises:
        BadLoadSpec: it cannot be read or limits what does not exist.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Slo.model_validate(raw)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadLoadSpec(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise BadLoadSpec(f"{path}: {every_fault(error)}") from None


def _parse(text: str, name: str) -> LoadScenario:
    try:
        return LoadScenario.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise BadLoadSpec(f"{name} is no YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise BadLoadSpec(f"{name}: {every_fault(error)}") from None
