"""What everybody imports stays light: the heavy libraries are behind named doors."""

import subprocess
import sys

import pytest

from costmodel.extras import EXTRA_OF
from router.cli import COMMANDS
from tests.waiting import PATIENCE_S

HEAVY = ("torch", "transformers", "vllm", "locust", "fastapi", "numba", "matplotlib", "sklearn")

LIGHT = [
    "costmodel",
    "costmodel.money.pricing",
    "students.labels",
    "students.task",
    "students.teachers",
    "students.certificate",
    "students.evaluation",
    "router.cli",
    "router.policy",
    "loadtests",
]


def _heavy_modules_after(code: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    script = f"{code}\nimport sys\nprint('LOADED', *[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module):
    """Importing a light module loads no heavy library."""
    assert _heavy_modules_after(f"import {module}") == []


def test_help_is_light():
    """`raisehand --help` loads no heavy library."""
    code = (
        "import sys\nsys.argv = ['raisehand', '--help']\nfrom router.cli import run\n"
        "try:\n    run()\nexcept SystemExit as stop:\n    assert not stop.code\n"
    )
    assert _heavy_modules_after(code) == []


def test_linear_student_is_distilled_without_torch():
    """Who distils or ablates a linear student does not wait for torch."""
    loaded = _heavy_modules_after("import students.distill.run, students.distill.ablation")
    assert "torch" not in loaded
    assert _heavy_modules_after("import students.train.linear") == ["numba"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_light(name):
    """Asking any command for its help loads none of the libraries that extras bring."""
    module = COMMANDS[name][0].partition(":")[0]
    assert not set(_heavy_modules_after(f"import {module}", tuple(EXTRA_OF)))


def test_serving_a_linear_student_is_light():
    """What a router is made of loads none of them either."""
    code = "import router.process.app, router.process.compose, students.runtime.linear"
    assert _heavy_modules_after(code, tuple(EXTRA_OF)) == []
