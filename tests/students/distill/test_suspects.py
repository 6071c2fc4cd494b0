"""Answers on which a sure student and the teacher differ, for somebody to look at."""

import csv
import io

from students.distill.suspects import COLUMNS, read_gold, suspects, write_suspects
from students.texts.store import KeptText, Said

NAMES = ("help", "other")


def test_suspects_are_sure_and_contradicted():
    """The surest first; what nobody compared is no suspect."""

    def one(name, student, teacher, confidence, kind="audit"):
        said = Said(
            text=f"=text {name}", student_label=student, teacher_label=teacher,
            confidence=confidence, probabilities=[0.3, 0.7],
        )  # fmt: skip
        return KeptText(task="demo", request_id=name, at=0.0, kind=kind, propensity=0.1, said=said)

    rows = [
        one("a", "help", "other", 0.91),
        one("b", "help", "other", 0.99),
        one("c", "help", "help", 0.99),
        one("d", "help", None, 0.99),
        one("e", "help", "", 0.95),
        one("f", "help", "other", 0.5, kind="escalation"),
    ]
    found = suspects(rows, NAMES)
    assert [row.request_id for row in found] == ["b", "e", "a"]
    file = io.StringIO()
    assert write_suspects(file, found, NAMES) == 3
    table = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert tuple(table[0]) == COLUMNS
    assert table[0]["text"] == "'=text b"  # no spreadsheet runs it
    assert [row["teacher_share"] for row in table] == ["0.7000", "", "0.7000"]
    table[1]["gold"] = " help "
    filled = io.StringIO()
    writer = csv.DictWriter(filled, COLUMNS)
    writer.writeheader()
    writer.writerows(table)
    filled.seek(0)
    assert read_gold(filled) == [("e", "help")]
