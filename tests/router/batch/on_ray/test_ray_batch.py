"""The same table on a real Ray cluster of two workers: the same bytes, whoever is killed."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from router.ledger.read import read_totals
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e
FILES, ROWS = 16, 25_000
"""Some seconds of the student's work, and 1 row in 800 for the teacher."""


def two_machines():
    """A head that only keeps the books, and two workers of two CPUs each."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        made.add_node(num_cpus=2, object_store_memory=256 << 20)
    yield made
    made.shutdown()


cluster = pytest.fixture(two_machines, scope="module")
cluster_to_lose = pytest.fixture(two_machines)


def start(folder, out, *options, address=None):
    """Begin the command in a process of its own."""
    command = [
        sys.executable, "-c", "from router.cli import run; run()", "batch",
        str(folder / "rows"), str(folder / out), "--task", str(folder / "task.yaml"),
        "--max-usd", "100", "--rows-per-part", "4096", "--json", *options,
    ]  # fmt: skip
    env = os.environ | ({"RAY_ADDRESS": address} if address else {})
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process):
    """Wait for it; return what it printed."""
    out, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    return out


def wait_for_a_part(process, folder):
    """Return when the first is written, and the work is in full swing."""
    parts = folder / "out.parquet.partial" / "parts"
    while process.poll() is None and not (parts.exists() and any(parts.iterdir())):
        time.sleep(0.01)


def students_at_work():
    """Processes of the cluster, started by this one, that hold a student."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may end while it is looked at
            if "_Worker" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


@pytest.fixture
def tables(job_folder, teacher):
    """A folder with a task and 16 tables, and what the local engine makes of them."""
    folder = job_folder(audit_rate=0.0005)
    rng = random.Random(0)
    (folder / "rows").mkdir()
    for i in range(FILES):
        texts = [rng.choice(["help me {}", "all is well {}"]).format(j) for j in range(ROWS)]
        for j in rng.sample(range(ROWS), ROWS // 800):
            texts[j] = rng.choice(["maybe {}", "maybe sos {}", ""]).format(rng.randrange(300))
        table = pa.table({"id": range(ROWS), "text": texts})
        pq.write_table(table, folder / "rows" / f"{i:02d}.parquet")
    clean = folder / "clean"
    shutil.copytree(folder, clean, ignore=shutil.ignore_patterns("clean"))
    summary = finished(start(clean, "out.parquet"))
    invoice = teacher.served()
    teacher._call("/control/reset", b"{}")
    wanted = (clean / "out.parquet").read_bytes()
    return folder, wanted, summary.replace(str(clean), str(folder)), invoice


def test_a_killed_student_changes_nothing(tables, cluster, teacher):
    """One student of three, while the first parts are written: bytes, summary and bill."""
    folder, wanted, summary, invoice = tables
    process = start(
        folder, "out.parquet", "--engine", "ray", "--students", "3", address=cluster.address
    )
    wait_for_a_part(process, folder)
    before = students_at_work()
    assert len(before) == 3
    os.kill(before[0], signal.SIGKILL)
    assert finished(process) == summary
    assert (folder / "out.parquet").read_bytes() == wanted
    assert teacher.served()["input_tokens"] == invoice["input_tokens"]
    totals = read_totals(folder / ".raisehand" / "ledger.sqlite").all
    assert totals.requests == FILES * ROWS
    assert totals.input_tokens == invoice["input_tokens"]


@pytest.mark.parametrize("graceful", [True, False])
def test_a_lost_machine_leaves_the_work_to_the_other(tables, cluster_to_lose, teacher, graceful):
    """The cluster knows at once, or finds out: fewer students, and the same bytes and bill."""
    folder, wanted, summary, invoice = tables
    process = start(folder, "out.parquet", "--engine", "ray", address=cluster_to_lose.address)
    wait_for_a_part(process, folder)
    lost = next(iter(cluster_to_lose.worker_nodes))
    cluster_to_lose.remove_node(lost, allow_graceful=graceful)
    assert finished(process) == summary
    assert (folder / "out.parquet").read_bytes() == wanted
    assert teacher.served()["input_tokens"] == invoice["input_tokens"]


def test_a_cluster_without_machines_is_said_and_gone_on_with(tables, cluster_to_lose):
    """One sentence; what was answered is kept, and the local engine ends the work."""
    folder, wanted, _, _ = tables
    process = start(folder, "out.parquet", "--engine", "ray", address=cluster_to_lose.address)
    wait_for_a_part(process, folder)
    for lost in list(cluster_to_lose.worker_nodes):
        cluster_to_lose.remove_node(lost)
    said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 2
    assert "no room for a student and a reader; what was answered is kept" in said.splitlines()[-1]
    finished(start(folder, "out.parquet"))
    assert (folder / "out.parquet").read_bytes() == wanted


def test_a_killed_driver_is_gone_on_with_by_either_engine(tables, cluster, teacher):
    """`kill -9` of the command on Ray, the rest answered here: bytes equal, nothing hidden."""
    folder, wanted, _, undisturbed = tables
    process = start(folder, "out.parquet", "--engine", "ray", address=cluster.address)
    parts = folder / "out.parquet.partial" / "parts"
    while process.poll() is None and len(list(parts.glob("0*"))) < 3:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    finished(start(folder, "out.parquet"))
    assert (folder / "out.parquet").read_bytes() == wanted
    time.sleep(0.3)  # what was cut off is still computed, and billed
    served = teacher.served()
    billed = served["input_tokens"] + served.get("abandoned_input_tokens", 0)
    ledger = folder / ".raisehand" / "ledger.sqlite"
    totals = read_totals(ledger).all
    assert totals.requests == FILES * ROWS
    with closing(sqlite3.connect(ledger)) as db:
        (lost,) = db.execute(
            "select coalesce(sum(input_tokens), 0) from table_sums where reason = 'router_stopped'"
        ).fetchone()
    assert totals.input_tokens - lost <= billed <= totals.input_tokens
    assert totals.input_tokens - lost == undisturbed["input_tokens"]


def test_a_row_that_cannot_be_read_ends_both_engines_alike(job_folder, cluster):
    """One sentence, the same as without Ray."""
    folder = job_folder()
    (folder / "rows").mkdir()
    (folder / "rows" / "a.csv").write_text("text\nhelp\n")
    (folder / "rows" / "b.csv").write_text('text\nall is well\n"open\n')
    said = []
    for out, options in (("here", ()), ("there", ("--engine", "ray"))):
        process = start(folder, out, *options, address=cluster.address)
        said.append(process.communicate(timeout=PATIENCE_S)[1].splitlines()[-1])
        assert process.returncode == 2
    assert said[0] == said[1]
    assert "b.csv" in said[0]
