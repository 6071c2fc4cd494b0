"""kill -9 at any moment: OUT is that of an undisturbed run, and the invoice is the ledger."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from router.ledger.read import read_totals
from tests.waiting import PATIENCE_S

ROWS, KILLS = 600, 10


def _command(folder, out):
    return [
        sys.executable, "-c", "from router.cli import run; run()", "batch",
        str(folder / "in.parquet"), str(folder / out), "--task", str(folder / "task.yaml"),
        "--max-usd", "100", "--rows-per-part", "64", "--json",
    ]  # fmt: skip


def _start(folder, out):
    return subprocess.Popen(
        _command(folder, out), env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def _asked(teacher):
    """How many requests have reached the teacher."""
    return teacher.served().get("requests", 0)


@pytest.fixture
def undisturbed(job_folder, teacher):
    """A folder with a table of 600 rows, some twice, and what an undisturbed run makes of it."""
    folder = job_folder({"idempotency_header": "Idempotency-Key"}, audit_rate=0.2)
    rng = random.Random(0)
    words = ["maybe {}", "maybe sos {}", "help {}", "all is well {}", ""]
    texts = [rng.choice(words).format(rng.randrange(200)) for _ in range(ROWS)]
    pq.write_table(pa.table({"id": range(ROWS), "text": texts}), folder / "in.parquet")
    clean = folder / "clean"
    shutil.copytree(folder, clean, ignore=shutil.ignore_patterns("clean"))
    process = _start(clean, "out.parquet")
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    invoice = teacher.served()
    teacher._call("/control/reset", b"{}")
    return folder, (clean / "out.parquet").read_bytes(), invoice


@pytest.mark.e2e
def test_ten_kills_change_nothing_and_hide_nothing(undisturbed, teacher):
    """Ten random moments, one resume after each; then output, invoice and ledger are compared."""
    folder, wanted, undisturbed_invoice = undisturbed
    teacher.turn(latency_ms=120, latency_sigma=0.3)
    rng = random.Random(1)
    kills = 0
    for _ in range(60):
        process = _start(folder, "out.parquet")
        if kills < KILLS:
            before, wait = _asked(teacher), rng.uniform(0.0, 0.25)
            while process.poll() is None and _asked(teacher) == before:
                time.sleep(0.01)  # until it is at work
            time.sleep(wait)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            if kills == KILLS:
                teacher.turn(latency_ms=0)
        _, said = process.communicate(timeout=PATIENCE_S)
        if process.returncode == 0 or (folder / "out.parquet").exists():
            break  # killed after its last step, it has done its work too
        assert process.returncode == -signal.SIGKILL, said
    assert kills == KILLS
    assert (folder / "out.parquet").read_bytes() == wanted
    time.sleep(0.3)  # what was cut off is still computed, and billed
    served = teacher.served()
    billed = served["input_tokens"] + served.get("abandoned_input_tokens", 0)
    totals = read_totals(folder / ".raisehand" / "ledger.sqlite").all
    assert totals.requests == ROWS
    assert _lost_tokens(folder) == 0
    assert served.get("replayed", 0) > 0  # else no kill cut off what it had begun to answer
    assert billed == totals.input_tokens == undisturbed_invoice["input_tokens"]
    assert totals.teacher_usd == billed * Decimal(1000) / 10**6


def _lost_tokens(folder):
    with closing(sqlite3.connect(folder / ".raisehand" / "ledger.sqlite")) as db:
        (tokens,) = db.execute(
            "select coalesce(sum(input_tokens), 0) from table_sums where reason = 'router_stopped'"
        ).fetchone()
    return tokens
