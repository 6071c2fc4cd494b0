"""Sure answers that the teacher contradicts, from the audits, a page at a time."""

from router.process.board import suspects
from router.process.board.suspects import SuspectList
from router.shared.records import Audit


def audit(n, **changes):
    """A kept answer that the teacher contradicts, with the given fields changed."""
    fields = {
        "task": "urgent", "bundle": "a", "at": float(n), "request_id": f"r-{n}", "propensity": 0.1,
        "escalated": False, "student_label": "calm", "confidence": 0.5 + n / 1000,
        "teacher_label": "urgent", "disagreed": True,
    }  # fmt: skip
    return Audit(**(fields | changes))


def test_the_surest_of_what_was_kept_and_contradicted(monkeypatch):
    """Escalated, agreeing and unlabelled audits are none; what is new is read from where it was."""
    monkeypatch.setattr(suspects, "PAGE", 7)
    rows = [audit(n) for n in range(100)]
    rows += [audit(200, escalated=True), audit(201, disagreed=False),
             audit(202, teacher_label=None), audit(203, student_label=None)]  # fmt: skip
    asked = []

    def read(task, after, limit):
        asked.append(after)
        return [(k + 1, one) for k, one in enumerate(rows)][after : after + limit]

    listed = SuspectList("urgent", read)
    assert listed.read()[0].request_id == "r-69"  # ten pages of seven
    assert [one.request_id for one in listed.read()][:2] == ["r-99", "r-98"]
    rows.append(audit(300))
    found = listed.read()
    assert (found[0].request_id, len(found)) == ("r-300", 10)
    assert asked[-1] == 104
