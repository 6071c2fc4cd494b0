"""The README's ten minutes without a key, word for word in a shell, away from the checkout."""

import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
LABELS = ("billing", "technical", "other")

pytestmark = pytest.mark.e2e


def section(heading):
    """Return the text under one heading of the README."""
    [found] = re.findall(rf"^## {heading}\n(.*?)^## ", README, flags=re.M | re.S)
    return found


def script():
    """Return the section's blocks as one shell script that says where it is, and exit codes."""
    lines = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for language, code in re.findall(
        r"^```(sh|python)\n(.*?)^```", section("Ten minutes without a key"), flags=re.M | re.S
    ):
        if language == "python":
            commands = [f"python - <<'CODE'\n{code}CODE"]
        else:
            commands = re.split(r"(?<!\\)\n", code.strip())
        for command in commands:
            name = " ".join(command.split("#")[0].replace("'", "").split())[:60]
            lines.append(f"echo; echo '=== {name}'\n{command}\necho; echo \"exit $?\"")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each command of the walk-through printed, by how it begins."""
    for port in (8000, 8080):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)), f"something listens on port {port}"
    folder = tmp_path_factory.mktemp("walkthrough")
    with (folder / "said").open("w+", encoding="utf-8") as out:
        subprocess.run(
            ["bash", "-c", script()],
            cwd=folder,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=800,
        )
        out.seek(0)
        parts = re.split(r"^=== (.*)\n", out.read(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_ends_well(said):
    """Exit code 0 for each; a load test on a busy machine may say that it does not count."""
    codes = {name: re.findall(r"^exit (\d+)$", text, flags=re.M) for name, text in said.items()}
    bad = {name: said[name] for name, code in codes.items() if code != ["0"]}
    bad = {n: t for n, t in bad.items() if "loadtest" not in n or "INVALID" not in t}
    assert bad == {}


def begins(said, name):
    """Return what the one command printed that begins with `name`."""
    [found] = [text for command, text in said.items() if command.startswith(name)]
    return " ".join(found.split())


def test_distill_prints_the_statement_it_proved(said):
    """`raisehand distill` says what is certified, in the certificate's words."""
    assert "With probability at least 95%" in begins(said, "raisehand distill")


def test_every_figure_has_its_command(said):
    """Agreement, the rails, the ledger and the audits are printed by the command that is named."""
    assert "agreement" in begins(said, "raisehand evaluate").lower()
    bill = begins(said, "raisehand whatif").replace("_", " ")
    assert all(rail in bill for rail in ("teacher only", "student only", "cascade"))
    assert "student" in begins(said, "raisehand ledger")
    assert "audits" in begins(said, "raisehand audit").lower()


def test_curl_and_the_sdk_are_answered(said):
    """Both examples get one of the task's words, and curl's says who gave it."""
    answer = begins(said, "curl -s http://127.0.0.1:8080/v1/classify")
    assert re.search(r'"label":\s*"(billing|technical|other)"', answer)
    assert '"route"' in answer
    assert begins(said, "python").removesuffix(" exit 0") in LABELS


def test_the_load_test_counts_and_passes(said):
    """Fifty requests a second are answered; a busy machine may say that the run does not count."""
    assert re.search(r"\b(PASS|INVALID)\b", begins(said, "raisehand loadtest"))


def test_the_task_file_is_the_one_that_init_writes():
    """The README shows what stands in the folder."""
    [shown] = re.findall(r"^```yaml\n(.*?)^```", section("On your own task"), flags=re.M | re.S)
    assert shown == textwrap.dedent((ROOT / "students/commands/tickets.yaml").read_text("utf-8"))


def test_init_overwrites_nothing(tmp_path):
    """A folder that has a task file keeps it."""
    (tmp_path / "task.yaml").write_text("mine", "utf-8")
    done = subprocess.run([BIN / "raisehand", "init", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert (tmp_path / "task.yaml").read_text("utf-8") == "mine"
