"""Forecast and actual: each line of the ledger's own dollars beside what was projected for it."""

import json
from decimal import Decimal

import msgspec
import pytest
from click.testing import CliRunner

from costmodel.commands.whatif import whatif
from costmodel.inputs.ledger.traffic import read_traffic
from costmodel.inputs.taskfile import read_deployment
from costmodel.plan.forecast import against_ledger, read_actual
from costmodel.whatif import project_deployment
from router.ledger.entry import Entry
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route


def _entry(k: int) -> Entry:
    unsure, audited = k % 5 == 0, k % 100 == 1
    asked = unsure or audited
    paid = Decimal("0.03") if unsure else Decimal("0.01") if audited else Decimal(0)
    return Entry(
        at=1_700_000_000 + 7.2 * k, request_id=str(k), task="urgent", bundle="abc123",
        surface="classify", route=Route.TEACHER if unsure else Route.STUDENT,
        reason=Reason.LOW_CONFIDENCE if unsure else Reason.CONFIDENT, label="urgent",
        confidence=0.9, student_usd=Decimal("0.001"), teacher_usd=paid,
        input_tokens=100 if asked else 0, output_tokens=2 if asked else 0,
        attempts=1 if asked else 0, latency_ms=1.0, degraded=False, audited=audited,
        propensity=0.01, text_sha256="",
    )  # fmt: skip


@pytest.fixture
def ledger(tmp_path):
    """Two hours: 200 of 1,000 escalate at 3 cents, 10 kept ones are audited at 1 cent."""
    path = tmp_path / "ledger.sqlite"
    target = SqliteLedger(path)
    for k in range(1000):
        target.append(_entry(k))
    target.append(msgspec.structs.replace(_entry(0), surface="batch", teacher_usd=Decimal(9)))
    assert target.flush()
    target.close()
    return path


def test_each_line_stands_beside_what_was_paid(ledger, task_file):
    """Dollars by line are the ledger's own; forecasts are scaled to its requests."""
    projection = project_deployment(read_deployment(task_file))
    rows = against_ledger(projection, read_traffic(ledger), read_actual(ledger))
    got = {row.what: row for row in rows}
    assert got["teacher, escalations"].actual == pytest.approx(6.0)
    assert got["teacher, audits"].actual == pytest.approx(0.1)
    assert got["student, busy share"].actual == pytest.approx(1.0)
    assert got["escalated and asked"].actual == pytest.approx(0.2)
    assert got["all that the ledger counts"].actual == pytest.approx(7.1)
    lines = {line.name: float(line.usd) for line in projection.rail("cascade").lines}
    scale = 1000 / projection.requests_per_month
    forecast = lines["teacher, escalations"] + lines.get("teacher, retried and cancelled", 0)
    assert got["teacher, escalations"].forecast == pytest.approx(forecast * scale)
    assert got["teacher, escalations"].off == pytest.approx(6 / (forecast * scale) - 1)


def test_the_command_prints_both(ledger, task_file):
    """As a table and as JSON."""
    words = ["forecast", "--task", str(task_file), "--from-ledger", str(ledger)]
    got = json.loads(CliRunner().invoke(whatif, [*words, "--json"]).stdout)
    assert got["hours"] == pytest.approx(2, rel=0.01)
    assert {"forecast", "actual", "off"} <= set(got["rows"][0])
    assert "Forecast and actual" in CliRunner().invoke(whatif, [*words, "--markdown"]).stdout
