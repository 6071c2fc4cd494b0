"""Savings: what was paid to the cent, what was not paid within its interval."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from decimal import Decimal

import aiohttp
import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from router.cli import main
from router.errors import BadLedger
from router.insight.periods import projected
from router.insight.savings import FEWEST, Savings, asymptotic_margin, read_savings
from router.ledger.rollup import fold
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from router.testing import FaultServer, sample_entry

DAY = 86_400.0
USD_PER_TOKEN = Decimal("0.000002")


def store(path, entries):
    """Write a ledger."""
    ledger = SqliteLedger(path)
    for entry in entries:
        ledger.append(entry)
    ledger.close()


def row(at=0.0, **more):
    """A kept answer at a moment, 1 micro-dollar of the student."""
    return sample_entry(**{"at": at, "propensity": 0.0, "student_usd": Decimal("0.000001")} | more)


def audit(cents, propensity, **more):
    """A kept answer that was audited at so many cents."""
    return row(
        audited=True, attempts=1, teacher_label="urgent", student_label="urgent",
        teacher_usd=Decimal(cents) / 100, propensity=propensity, **more,
    )  # fmt: skip


def escalated(cents, attempts=1, **more):
    """An escalated one."""
    spent = {"attempts": attempts, "teacher_usd": Decimal(cents) / 100}
    return row(**{"route": Route.TEACHER, "reason": Reason.LOW_CONFIDENCE, **spent, **more})


def test_all_that_was_paid_is_subtracted(tmp_path):
    """Retries, refusals and passed calls are paid; only what was kept or escalated is saved.

    Rows of a table are another job's, and of these only the unsure ones have entries.
    """
    path = tmp_path / "ledger.sqlite"
    store(
        path,
        [
            *[row() for _ in range(8)],
            audit(2, 0.5),
            audit(4, 0.5),
            escalated(3),
            escalated(6, attempts=2),
            escalated(5, reason=Reason.PASSTHROUGH),
            escalated(1, reason=Reason.TEACHER_CHECK, student_usd=Decimal(0)),
            row(
                route=Route.REFUSED,
                reason=Reason.TEACHER_TIMEOUT,
                attempts=1,
                teacher_usd=Decimal("0.07"),
            ),
            row(reason=Reason.STUDENT_ONLY),
            row(student_usd=None),
            row(task="other", teacher_usd=Decimal(1)),
            row(at=100.0, teacher_usd=Decimal(1)),
            escalated(9, surface="batch"),
        ],
    )
    found = read_savings(path, "urgent", 0.0, 100.0)
    assert found.teacher_usd == Decimal("0.28")
    assert found.student_usd == Decimal("0.000015")
    # 11 kept at 3 cents, 3 + 3 of the escalated, 5 passed on.
    assert float(found.counterfactual) == pytest.approx(0.33 + 0.06 + 0.05)
    assert (found.kept, found.escalated, found.not_counted) == (11, 2, 2)
    assert (found.unpriced, found.audits, found.margin) == (1, 2, None)
    assert found.saved == found.counterfactual - found.paid
    assert found.interval is None


def test_what_was_drawn_less_often_counts_for_more(tmp_path):
    """A rate of audits that changed does not bend the mean."""
    path = tmp_path / "ledger.sqlite"
    store(path, [*[audit(1, 1.0) for _ in range(50)], *[audit(3, 0.1) for _ in range(5)]])
    found = read_savings(path, "urgent", 0.0, 1.0)
    assert float(found.counterfactual) == pytest.approx(55 * 0.02)


def test_machines_are_paid_while_they_idle(tmp_path):
    """The rent from the first row on, where it is more than the answers' shares."""
    path = tmp_path / "ledger.sqlite"
    store(path, [row(at=3600.0)])
    found = read_savings(path, "urgent", 0.0, 3 * 3600.0, rent_usd_per_hour=Decimal("0.5"))
    assert found.student_usd == 1
    assert found.counterfactual is None  # nothing says what it would have cost
    assert found.saved is None


def test_folded_days_are_refused_by_name(tmp_path):
    """Of a folded day nobody knows what its kept answers would have cost."""
    path = tmp_path / "ledger.sqlite"
    store(path, [row(at=10.0), row(at=time.time())])
    with sqlite3.connect(path, isolation_level=None) as connection:
        fold(connection, 1)
    with pytest.raises(BadLedger, match="only daily sums"):
        read_savings(path, "urgent", 0.0, time.time())
    assert read_savings(path, "urgent", DAY, time.time() + 1).requests == 1


def test_the_interval_covers_what_was_not_paid_in_93_of_100_months(tmp_path):
    """Simulated months with dear and cheap texts, a mix that drifts and audits that were lost."""
    rng = np.random.default_rng(3)
    covered = 0
    for month in range(100):
        path = tmp_path / f"{month}.sqlite"
        true = _simulated_month(path, rng)
        found = read_savings(path, "urgent", 0.0, 30 * DAY)
        low, high = found.interval
        covered += low <= Decimal(true) - found.paid <= high
        assert 0 < found.margin < Decimal(true)
        path.unlink()
    assert covered >= 93


def _simulated_month(path, rng, n=4_000, rate=0.05):
    """Write a month; return what the teacher alone would have cost, in dollars."""
    at = np.sort(rng.random(n)) * 30 * DAY
    dear = rng.random(n) < 0.2 + 0.3 * at / (30 * DAY)
    cost = rng.lognormal(np.where(dear, -6.0, -8.0), 0.8)
    asked = rng.random(n) < np.where(dear, 0.3, 0.1)
    drawn = ~asked & (rng.random(n) < rate) & (rng.random(n) < 0.97)
    SqliteLedger(path).close()
    pico = (cost * 1e12).astype(np.int64)
    rows = [
        (
            float(t), "r", "urgent", "b", "classify",
            "teacher" if a else "student", "low_confidence" if a else "confident", "x", 0.9,
            10_000, int(c) if a or d else 0, 0, 0, int(a or d), 1.0, 0, int(d),
            rate if d else 0.0, "", "", 0, 0, "", "x", "x" if a or d else None,
        )
        for t, a, d, c in zip(at, asked, drawn, pico, strict=True)
    ]  # fmt: skip
    names = (
        "at, request_id, task, bundle, surface, route, reason, label, confidence, student_pusd, "
        "teacher_pusd, input_tokens, output_tokens, attempts, latency_ms, degraded, audited, "
        "propensity, text_sha256, client, cached_input_tokens, estimated, model, student_label, "
        "teacher_label"
    )
    with sqlite3.connect(path) as connection:
        connection.executemany(
            f"insert into entries ({names}) values ({', '.join('?' * 25)})", rows
        )
    return float(pico.sum()) / 1e12


def test_the_margin_is_the_formula_of_the_paper():
    """Theorem 2.2 by hand at n = 1,000, and wider than one look's 1.96 standard errors."""
    rho2 = (-2 * np.log(0.05) + np.log(-2 * np.log(0.05) + 1)) / 1_000
    grown = 1_000 * rho2 + 1
    by_hand = np.sqrt(2 * grown / (1_000**2 * rho2) * np.log(np.sqrt(grown) / 0.05))
    assert asymptotic_margin(1.0, 1_000) == pytest.approx(by_hand)
    assert 1.96 / np.sqrt(1_000) < by_hand < 2 * 1.96 / np.sqrt(1_000)


def test_no_month_is_projected_from_less_than_a_day():
    """An hour of requests is no month, whichever day it is; a day and more is, in proportion."""
    begin = 1_764_547_200.0  # 2025-12-01
    month = {
        "start": begin, "requests": 9, "kept": 9, "escalated": 0, "not_counted": 0,
        "teacher_usd": Decimal(1), "student_usd": Decimal(1), "counterfactual": Decimal(5),
        "margin": Decimal(1), "audits": FEWEST, "unpriced": 0, "estimated": 0,
    }  # fmt: skip
    end = begin + 20 * DAY
    assert projected(Savings(end=end, first=end - 3_600, **month)) is None
    assert projected(Savings(end=end, first=None, **month)) is None
    # Saved 3 in a day, and eleven more days like it.
    assert projected(Savings(end=end, first=end - DAY, **month)) == (36, 24, 48)


async def test_paid_is_the_teachers_invoice_to_the_cent(serve, folder_of, publish_bundle):
    """A real router and a real teacher: escalations, audits, faults; ledger, metrics, command."""
    rng = random.Random(2)
    async with FaultServer(["calm", "urgent"]) as teacher:
        price = {"usd_per_mtok_input": 2, "usd_per_mtok_output": 2}
        at = folder_of(
            {
                "mode": "classify", "base_url": teacher.url, "answers": {}, "timeout_s": 60,
                "max_concurrency": 64, "price": price,
            },
            audit_rate=0.5,
        )  # fmt: skip
        publish_bundle(at, "calm")  # as the teacher says: no alarm ends the audits
        router = await asyncio.to_thread(serve, at=at)
        booked_before = teacher.billed_input  # the probe at the start is nobody's request
        texts = ["word " * rng.randrange(1, 40) for _ in range(160)]
        async with aiohttp.ClientSession(router.url) as client:

            async def post(text, **more):
                async with client.post("/v1/classify", json={"text": text, **more}) as response:
                    assert response.status == 200, await response.text()

            for i, text in enumerate(texts):
                await post(text, **({"threshold": 1.0} if i % 4 == 0 else {}))
            async with client.get("/metrics") as response:
                metrics = await response.text()
        await asyncio.to_thread(router.stop)
        invoice = USD_PER_TOKEN * (teacher.billed_input - booked_before + teacher.billed_output)
        whole = USD_PER_TOKEN * sum(len(text.split()) for text in texts)
    found = _run(at, "--json")["today"]
    assert abs(Decimal(found["paid_teacher_usd"]) - invoice) < Decimal("0.0000001")
    low, high = (Decimal(found[name]) for name in ("low_usd", "high_usd"))
    paid = Decimal(found["paid_teacher_usd"]) + Decimal(found["paid_student_usd"])
    assert low <= whole - paid <= high
    alone = {f.name: f for f in text_string_to_metric_families(metrics)}[
        "raisehand_teacher_only_usd"
    ]
    assert float(whole) / 2 < alone.samples[0].value < float(whole) * 2
    # The vendor's own paper, by day and model: no difference, in dollars or in tokens.
    day = time.strftime("%Y-%m-%d", time.gmtime())
    file = at / "invoice.csv"
    tokens = teacher.billed_input - booked_before
    lines = ["Date,Model,Cost,Tokens", f"{day},big-2026-01-01,${invoice},{tokens}"]
    file.write_text("\n".join([*lines, f"{day},small,1,5"]))
    [mine, foreign] = _run(at, "--invoice", str(file), "--json")
    assert (Decimal(mine["difference_usd"]), mine["difference_tokens"]) == (0, 0)
    assert (foreign["model"], foreign["ledger_usd"], foreign["difference_usd"]) == (
        "small", None, "1.000000000000",
    )  # fmt: skip


def _run(at, *options):
    done = CliRunner().invoke(main, ["savings", "--task", str(at / "task.yaml"), *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)
