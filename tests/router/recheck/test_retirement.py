"""The end of a teacher is told 60, 14 and 0 days before, once, by whoever comes first."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from costmodel.money.pricebook import price_of
from costmodel.money.pricing import PriceSpec
from costmodel.money.retirements import Retirement
from router.recheck.retirement import RetirementWatch, end_of
from router.shared.keeper import Keeper
from router.shared.sqlite_store import SqliteStore

END = Retirement(date(2027, 1, 14), "https://supplier.example/ends", date(2026, 11, 29))


def at(day):
    """Unix seconds of noon."""
    return datetime(*day, 12, tzinfo=UTC).timestamp()


class Processes:
    """Any number of processes on one store."""

    def __init__(self, path):
        self.now = 0.0
        self.keepers = []
        self._path = path

    def start(self):
        """Start one more; returns its watch."""
        keeper = Keeper(SqliteStore(self._path))
        self.keepers.append(keeper)
        return RetirementWatch("urgent", END, keeper, lambda: "b", wall=lambda: self.now)

    def look(self, day, watch):
        """Look on a day; returns what was told by then."""
        self.now = at(day)
        watch.look()
        for keeper in self.keepers:
            keeper.exchange()
        return [event.reason for event in self.keepers[0].store.events()]


@pytest.fixture
def processes(tmp_path):
    """None yet."""
    made = Processes(tmp_path / "shared.sqlite")
    yield made
    for keeper in made.keepers:
        keeper.close()


def test_each_stage_is_told_once_whoever_looks(processes):
    """Two processes and a third that starts later: one event a stage, none before there is time."""
    one, two = processes.start(), processes.start()
    assert processes.look((2026, 11, 1), one) == []
    assert processes.look((2026, 11, 29), one) == ["in 46 days"]
    assert processes.look((2026, 11, 30), two) == ["in 46 days"]
    third = processes.start()
    assert processes.look((2027, 1, 2), third) == ["in 46 days", "in 12 days"]
    assert processes.look((2027, 1, 14), one)[2:] == ["today"]
    assert processes.look((2027, 2, 1), two)[2:] == ["today"]
    first = processes.keepers[0].store.events()[0]
    assert (first.kind, first.task) == ("teacher_retires", "urgent")
    assert first.figures == {"retires": "2027-01-14", "days": 46, "source": END.source}


@pytest.mark.parametrize(
    ("teacher", "on"),
    [
        ({"price": {"model": "openai:gpt-4o-mini"}}, date(2027, 1, 14)),
        ({"price": {"model": "openai:gpt-4o-mini"}, "retires": "2026-12-24"}, date(2026, 12, 24)),
        ({"base_url": "https://api.openai.com/v1", "model": "o3"}, date(2026, 12, 11)),
        ({"base_url": "https://gateway.example/v1", "model": "o3"}, None),
    ],
)
def test_the_file_wins_then_the_price_then_the_suppliers_address(make_task, teacher, on):
    """Behind another address a name proves nothing."""
    task = make_task(teacher=teacher)
    price = price_of(PriceSpec.model_validate(teacher.get("price") or task.teacher.price))
    found = end_of(task, price)
    assert (found and found.on) == on
