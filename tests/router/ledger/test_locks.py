"""Nothing that a router does to its own file drops the locks that SQLite holds on it."""

import subprocess
import sys

from router.ledger.feedback import SqliteFeedback
from router.ledger.read import read_totals
from router.ledger.sqlite import SqliteLedger
from router.testing import sample_entry

LOOK = (
    "import sqlite3, sys\n"
    "file = sqlite3.connect(sys.argv[1])\n"
    "file.execute('select count(*) from entries').fetchone()\n"
    "file.close()"
)


def test_another_process_that_looks_takes_no_rows_away(tmp_path):
    """The last to close a file in WAL mode deletes its log: who only looked was not the last."""
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    ledger.append(sample_entry())
    assert ledger.flush()
    SqliteFeedback(path)  # prepares the same file, with the writer's connection open
    for n in range(3):
        subprocess.run([sys.executable, "-c", LOOK, path], check=True)
        ledger.append(sample_entry(request_id=f"r{n}"))
        assert ledger.flush()
    assert read_totals(path).all.requests == 4
    ledger.close()
    assert read_totals(path).all.requests == 4
    assert ledger.write_errors == 0
