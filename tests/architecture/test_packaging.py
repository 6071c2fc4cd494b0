"""What a user installs is complete: every library is declared, in the core or in an extra."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

from costmodel.extras import EXTRA_OF

ROOT = Path(__file__).parents[2]
PACKAGES = ("router", "students", "costmodel", "loadtests")
# Peers of the benches, and vLLM's measured rival: run by scripts in environments of their own.
NOT_OURS = {"ciw", "simpy", "fleet_sim", "pandas"}


def _imported() -> set[str]:
    names = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - set(PACKAGES) - NOT_OURS


def _declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return {_plain(re.match(r"[\w.-]+", line)[0]) for line in project["dependencies"] + extras}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_imported_library_is_declared():
    """Nothing is imported that is there only because another library brought it."""
    by_module, declared = packages_distributions(), _declared()
    missing = {
        name
        for name in _imported()
        if not {_plain(d) for d in by_module.get(name, [name])} & declared
    }
    assert missing == set()


def _extras() -> dict[str, set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {
        extra: {_plain(re.match(r"[\w.-]+", line)[0]) for line in lines}
        for extra, lines in project["optional-dependencies"].items()
    }


def test_what_a_missing_module_asks_for_brings_it():
    """Each module that is no library of the core is in the extra that its sentence names."""
    by_module, extras = packages_distributions(), _extras()
    for module, extra in EXTRA_OF.items():
        names = {_plain(name) for name in by_module.get(module, [module])}
        assert names & extras[extra], module


def test_all_is_every_extra_that_installs_anywhere():
    """Left out: the teacher's own server, a peer of a bench, half a GB of Ray, clouds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [line] = project["optional-dependencies"]["all"]
    listed = set(Requirement(line).extras)
    assert set(_extras()) - listed == {
        "all", "teacher", "teacher-cpu", "bench", "ray", "s3", "gcs", "azure",
    }  # fmt: skip
