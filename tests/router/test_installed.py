"""The wheel in an environment of its declared libraries alone: what it can do, what it asks for."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]


def _needed(wheel: Distribution) -> list[Distribution]:
    """The distributions that pip would install with the wheel, without any extra."""
    found: dict[str, Distribution] = {}
    todo = [(line, "") for line in wheel.requires]
    while todo:
        line, extra = todo.pop()
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in ("", *requirement.extras):
            key = f"{requirement.name.lower()}[{wanted}]"
            if key not in found:
                found[key] = distribution(requirement.name)
                todo += [(line, wanted) for line in found[key].requires or ()]
    return list(found.values())


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment away from the checkout; the libraries are links, so that it is quick."""
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
    [ours] = Distribution.discover(name="raisehand", path=[str(site)])
    for library in _needed(ours):
        for top in {file.parts[0] for file in library.files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(library.locate_file(top))
    return folder


@pytest.fixture
def run(installed, tmp_path):
    """Run a program of the environment; returns standard output, or the only line of an error."""

    def carry_out(*command, code=0):
        program = installed / "env" / "bin" / command[0]
        done = subprocess.run(
            [program, *map(str, command[1:])], cwd=tmp_path, env={}, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        return done.stderr.strip() if code else done.stdout

    return carry_out


def test_the_wheel_comes_from_the_wheel(installed, run):
    """What is imported is what was installed; torch is not even there."""
    code = "import importlib.util as u, students as s; print(s.__file__, u.find_spec('torch'))"
    where, torch = run("python", "-c", code).split()
    assert Path(where).is_relative_to(installed)
    assert torch == "None"


def test_it_plans_without_any_extra(run):
    """Help, dated prices, a simulation, and a task folder to start from."""
    assert "whatif" in run("raisehand", "--help")
    assert "gpt-4o" in run("raisehand", "prices", "openai:gpt-4o")
    scenario = ROOT / "examples" / "scenarios" / "burst.yaml"
    said = run("raisehand", "whatif", scenario, "--set", "days=0.01", "--json")
    assert json.loads(said)
    run("raisehand", "init", "tickets")


def test_it_serves_a_linear_student_without_any_extra(installed, folder):
    """The bundle answers over HTTP."""
    program = installed / "env" / "bin" / "raisehand"
    router = subprocess.Popen(
        [program, "serve", "--task", folder / "task.yaml", "--port", "0"],
        cwd=installed, env={}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in router.stderr:
            if found := re.search(r"Serving urgent from bundle \w+ at (\S+)", line):
                break
        body = json.dumps({"text": "help"}).encode()
        asked = urllib.request.Request(
            f"{found[1]}/v1/classify", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            assert json.load(answer)["label"] == "urgent"
    finally:
        router.send_signal(signal.SIGTERM)
        router.communicate(timeout=PATIENCE_S)
    assert router.returncode == 0


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        ("distill --task tickets/task.yaml", "train"),
        ("evaluate --task tickets/task.yaml", "train"),
        ("ablate --task tickets/task.yaml", "train"),
        ("assess calls.jsonl", "train"),
        ("export --task tickets/task.yaml --to onnx", "encoder,train,onnx,export"),
        ("teacher --model folder", "encoder"),
        ("loadtest --task tickets/task.yaml --scenario smoke", "loadtests"),
        ("profile --url http://127.0.0.1:9 --inputs tickets/messages.csv --out it", "loadtests"),
        ("bundle list --store s3://bucket", "s3"),
    ],
)
def test_a_command_that_lacks_its_extra_says_what_to_install(run, command, extras):
    """One sentence with the line that helps, and exit code 2; before anything was done."""
    run("raisehand", "init", "tickets")
    said = run("raisehand", *command.split(), code=2)
    assert said.startswith("Error: ")
    assert said.endswith(f"pip install 'raisehand[{extras}]'")
    assert "\n" not in said
