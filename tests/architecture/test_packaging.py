"""What a user installs is complete: every library declared, and the wheel works on its own."""

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("router", "students", "costmodel", "loadtests")
# Peers of the benches, and vLLM's measured rival: run by scripts in environments of their own.
NOT_OURS = {"ciw", "simpy", "fleet_sim"}


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


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel in a fresh environment, away from the checkout; libraries are borrowed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(build, check=True, cwd=folder)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    [wheel] = folder.glob("*.whl")
    subprocess.run(
        [*pip, f"--python={python}", "install", "--no-deps", "--no-index", wheel], check=True
    )
    site = next((folder / "env" / "lib").glob("python*")) / "site-packages"
    # A path line is not searched for further .pth files, so the editable checkout stays out.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def _run(folder: Path, *command: str) -> str:
    away = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    program = folder / "env" / "bin" / command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=folder, env=away, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_comes_from_the_wheel(installed):
    """What is imported is what was installed, and a light import is light."""
    code = "import sys, costmodel, students.labels as l; print(l.__file__, 'torch' in sys.modules)"
    where, heavy = _run(installed, "python", "-c", code).split()
    assert Path(where).is_relative_to(installed)
    assert heavy == "False"


def test_the_wheel_answers_without_the_checkout(installed):
    """Help, dated prices and the simulation of a scenario work after an installation."""
    assert "whatif" in _run(installed, "raisehand", "--help")
    assert "gpt-4o" in _run(installed, "raisehand", "prices", "openai:gpt-4o")
    scenario = ROOT / "examples" / "scenarios" / "burst.yaml"
    (installed / "mine.yaml").write_text(scenario.read_text("utf-8"), "utf-8")
    said = _run(installed, "raisehand", "whatif", "mine.yaml", "--set", "days=0.01", "--json")
    assert json.loads(said)
