"""A test that skips where CI did not expect it fails the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPS = 'import pytest\ndef test_it(): pytest.skip("no GPU here")\n'


@pytest.mark.parametrize(
    ("expected", "code"), [(None, 0), ("no GPU here|no vLLM", 0), ("no vLLM", 1), ("^$", 1)]
)
def test_only_expected_skips_pass(tmp_path, expected, code):
    """Unset, skips are allowed: not every developer's machine has every server."""
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text("utf-8"), "utf-8")
    (tmp_path / "test_it.py").write_text(SKIPS, "utf-8")
    env = {k: v for k, v in os.environ.items() if k != "EXPECTED_SKIPS"}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if expected is not None:
        env["EXPECTED_SKIPS"] = expected
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", tmp_path, tmp_path],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
    assert ("UNEXPECTED SKIP" in done.stdout) == bool(code)
