"""`raisehand batch`: every row in its place, with who answered it and what that cost."""

import csv
import gzip
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from router.batch.journal import JobJournal
from router.cli import main
from router.ledger.merged import totals_of
from router.ledger.read import read_entries, read_totals
from router.shared.records import AuditVerdict, Ruling

TEXTS = ["all is well", "help us", "maybe sos", "maybe not", "  ", "maybe sos", "HELP", "naïve é"]
STUDENT_USD = Decimal("0.000001")


def run(folder, *arguments, code=0):
    """Run the command in this process; return its output."""
    command = ["batch", *map(str, arguments), "--task", str(folder / "task.yaml")]
    result = CliRunner().invoke(main, command, catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert getattr(result.exception, "exit_code", None) == code, result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output if code else result.stdout


def write(path, texts=TEXTS):
    """Write a table of ids and texts of the kind that the name says."""
    rows = [{"id": i, "text": text} for i, text in enumerate(texts)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="", encoding="utf-8") as stream:
        if ".csv" in path.suffixes:
            writer = csv.DictWriter(stream, ["id", "text"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def read(path):
    """Read what was written, as rows."""
    if path.suffix in (".parquet", ""):
        return pq.read_table(path, partitioning=None).to_pylist()
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as stream:
        if ".csv" in path.suffixes:
            return list(csv.DictReader(stream))
        return [json.loads(line) for line in stream]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz", "t.jsonl", "t.jsonl.gz"])
def test_every_row_comes_back_in_its_place(job_folder, teacher, name):
    """Student, teacher and rows without text, in the order and with the columns of the input."""
    folder = job_folder()
    table, out = write(folder / name), folder / f"answered-{name}"
    summary = json.loads(run(folder, table, out, "--max-usd", 1, "--json", "--rows-per-part", 3))
    rows = read(out)
    assert [str(row["id"]) for row in rows] == [str(i) for i in range(len(TEXTS))]
    assert [row["text"] for row in rows] == TEXTS
    assert [row["route"] for row in rows] == [
        "student", "student", "teacher", "teacher", "refused", "teacher", "student", "student",
    ]  # fmt: skip
    assert [row["label"] or None for row in rows] == [
        "calm", "urgent", "urgent", "calm", None, "urgent", "urgent", "calm",
    ]  # fmt: skip
    assert rows[4]["reason"] == "no_text"
    costs = [Decimal(str(row["cost_usd"])) for row in rows]
    assert costs[0] == STUDENT_USD
    assert costs[4] == 0
    assert costs[5] == STUDENT_USD  # asked about before
    assert costs[2] > STUDENT_USD
    assert sum(costs) == pytest.approx(Decimal(summary["usd"]))
    served = teacher.served()
    assert served["texts"] == 2
    assert Decimal(summary["teacher_usd"]) == Decimal(served["input_tokens"]) / 1000
    assert not list(folder.glob("*.partial*"))


def test_the_ledger_has_every_row_once(job_folder, teacher):
    """What the teacher was asked about as entries, the rest as sums of the day; all add up."""
    folder = job_folder()
    table = write(folder / "t.parquet")
    summary = json.loads(run(folder, table, folder / "out", "--max-usd", 1, "--json"))
    ledger = folder / ".raisehand" / "ledger.sqlite"
    totals = read_totals(ledger)
    assert totals.all.requests == len(TEXTS)
    assert totals.all.usd == Decimal(summary["usd"])
    assert totals.all.input_tokens == teacher.served()["input_tokens"]
    assert {route: sums.requests for route, sums in totals.by_route.items()} == {
        "student": 4, "teacher": 3, "refused": 1,
    }  # fmt: skip
    entries = list(read_entries(ledger))
    assert [entry.attempts for entry in entries] == [1, 1, 0]
    assert {entry.surface for entry in entries} == {"batch"}


def test_what_a_job_books_is_in_the_database_at_its_end(job_folder, teacher, database, monkeypatch):
    """Where no router runs, too: entries and sums, as in the file; a database away fails no job."""
    monkeypatch.setenv("RAISEHAND_DATABASE_URL", database)
    folder = job_folder()
    table = write(folder / "t.parquet")
    run(folder, table, folder / "out", "--max-usd", 1)
    ledger = str(folder / ".raisehand" / "ledger.sqlite")
    assert totals_of(database) == totals_of(ledger)
    assert totals_of(database).all.requests == len(TEXTS)
    monkeypatch.setenv("RAISEHAND_DATABASE_URL", "postgresql://u@127.0.0.1:9/x")
    run(folder, table, folder / "again", "--max-usd", 1)
    assert totals_of(ledger).all.requests == 2 * len(TEXTS)


def test_money_that_runs_out_degrades_the_rest_and_is_not_crossed(job_folder, teacher):
    """The first unsure rows are asked about; those after them get the student's answer, marked."""
    folder = job_folder()
    texts = [f"maybe number {i}" for i in range(40)]
    table = write(folder / "t.csv", texts)
    summary = json.loads(run(folder, table, folder / "o.csv", "--max-usd", "0.1", "--json"))
    routes = [row["route"] for row in read(folder / "o.csv")]
    asked = routes.index("degraded")
    assert asked > 3
    assert set(routes[:asked]) == {"teacher"}
    assert set(routes[asked:]) == {"degraded"}
    assert teacher.served()["input_tokens"] / 1000 == float(summary["teacher_usd"]) <= 0.1
    assert read(folder / "o.csv")[-1]["reason"] == "escalation_budget"


def test_audits_ask_about_kept_rows_and_change_none(job_folder, teacher):
    """At a rate of 1 every row is audited; an answer that differs is counted, and stays."""
    folder = job_folder(audit_rate=1)
    teacher.turn(wrong_rate=0)
    table = write(folder / "t.jsonl")
    summary = json.loads(run(folder, table, folder / "o.jsonl", "--max-usd", 9, "--json"))
    rows = read(folder / "o.jsonl")
    assert [row["route"] for row in rows].count("student") == 4
    assert summary["audits"] == 4
    assert summary["audits_disagreed"] == 0
    assert teacher.served()["texts"] == 6
    assert rows[0]["cost_usd"] > float(STUDENT_USD)
    audits = [
        entry for entry in read_entries(folder / ".raisehand" / "ledger.sqlite") if entry.audited
    ]
    assert [entry.propensity for entry in audits] == [1.0] * 4
    [kept] = json.loads(_audits(folder)).values()
    assert kept["audits"] == 7  # four kept, three that the teacher answered
    assert kept["disagreements"] == 0


def _audits(folder):
    result = CliRunner().invoke(main, ["audit", "--task", str(folder / "task.yaml"), "--json"])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_broken_promise_sends_every_row_to_the_teacher(job_folder, teacher):
    """What a router's audits have shown holds for tables, too."""
    folder = job_folder()
    table = write(folder / "t.csv")
    [bundle] = [p.stem for p in (folder / ".raisehand" / "bundles").iterdir() if p.is_dir()]
    evidence = {
        "alpha": 0.03, "false_alarm": 0.05, "audits": 9, "disagreements": 9, "weight": 9.0,
        "weight_disagreed": 9.0, "stakes": [9.0] * 4, "cash": 0.0, "alarmed": True,
    }  # fmt: skip
    kept = folder / ".raisehand" / "audits" / f"{bundle}.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps(evidence))
    run(folder, table, folder / "o.csv", "--max-usd", 1)
    assert {row["reason"] for row in read(folder / "o.csv")} == {
        "promise_broken", "low_confidence", "no_text",
    }  # fmt: skip


def test_a_teacher_that_garbles_leaves_the_student_s_answer(job_folder, teacher):
    """What the teacher cannot answer is degraded, with the reason; the table goes on."""
    folder = job_folder()
    teacher.turn(garbage_rate=1)
    table = write(folder / "t.csv")
    run(folder, table, folder / "o.csv", "--max-usd", 9)
    rows = read(folder / "o.csv")
    assert rows[2]["route"] == "degraded"
    assert rows[2]["reason"] == "teacher_garbled"
    assert rows[0]["route"] == "student"


def test_on_failure_error_refuses(job_folder, teacher):
    """Where the task says so, a row that nobody may answer has no label."""
    folder = job_folder({"on_failure": "error"})
    table = write(folder / "t.csv")
    run(folder, table, folder / "o.csv", "--max-usd", 0)
    row = read(folder / "o.csv")[2]
    assert (row["label"], row["route"], row["reason"]) == ("", "refused", "escalation_budget")
    assert teacher.served() == {}


def test_a_folder_of_tables_becomes_a_folder_of_parts(job_folder):
    """Files in order of their names, a part for each chunk, and pyarrow reads it as one table."""
    folder = job_folder()
    (folder / "in").mkdir()
    write(folder / "in" / "b.parquet", ["help", "last"])
    write(folder / "in" / "a.parquet", ["first", "maybe", "help"])
    run(folder, folder / "in", folder / "out", "--max-usd", 1, "--rows-per-part", 2)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "000000.parquet", "000001.parquet", "000002.parquet",
    ]  # fmt: skip
    assert [row["text"] for row in read(folder / "out")] == [
        "first",
        "maybe",
        "help",
        "help",
        "last",
    ]


def test_a_table_behind_a_url_is_answered_and_written_there(job_folder):
    """Any file system of fsspec: fetched a file at a time, OUT put there when it is whole."""
    import fsspec

    folder = job_folder()
    table = write(folder / "t.parquet")
    memory = fsspec.filesystem("memory")
    memory.put_file(str(table), "/bucket/t.parquet")
    run(folder, "memory://bucket/t.parquet", "memory://bucket/answered.parquet", "--max-usd", 1)
    memory.get_file("/bucket/answered.parquet", str(folder / "back.parquet"))
    assert [row["text"] for row in read(folder / "back.parquet")] == TEXTS
    run(folder, "memory://bucket/t.parquet", "memory://bucket/parts", "--max-usd", 1)
    assert memory.exists("/bucket/parts/000000.parquet")


@pytest.mark.parametrize(
    ("content", "out", "extra", "said"),
    [
        ("id,text\n1,a\n", "o.parquet", [], "keep the kind of the table"),
        ("id,words\n1,a\n", "o.csv", [], "has no column 'text'; it has 'id', 'words'"),
        ("text,label\na,b\n", "o.csv", [], "a column 'label' already"),
        ("text\n", "o.csv", [], "has no row"),
        ("id,text\n1,a\n2\n", "o.csv", [], "line 3 has 1 fields and the header has 2"),
        ("text\na\n", "o.csv", ["--bundle", "none"], "none"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence_and_costs_nothing(
    job_folder, teacher, content, out, extra, said
):
    """Found before the teacher is asked, whatever it is."""
    folder = job_folder()
    (folder / "t.csv").write_text(content)
    assert said in run(folder, folder / "t.csv", folder / out, "--yes", *extra, code=2)
    assert teacher.served() == {}
    assert not (folder / out).exists()


def test_columns_and_cells_that_hold_no_text(job_folder):
    """A Parquet column of numbers is refused; a number in a JSON line is its row's own fault."""
    folder = job_folder()
    pq.write_table(pa.table({"text": [1, 2]}), folder / "t.parquet")
    assert "holds int64; text is needed" in run(
        folder, folder / "t.parquet", folder / "o.parquet", "--yes", code=2
    )
    (folder / "t.jsonl").write_text('{"text": "help"}\n{"text": 5}\n{"id": 1}\n{"text": null}\n')
    summary = json.loads(run(folder, folder / "t.jsonl", folder / "o.jsonl", "--yes", "--json"))
    assert [row["reason"] for row in read(folder / "o.jsonl")] == ["confident", *["no_text"] * 3]
    assert "line 2: 'text' holds a int, not text" in summary["faults"][0]


def test_a_prefix_makes_room_for_columns_of_the_table(job_folder):
    """A table that has a label of its own keeps it."""
    folder = job_folder()
    (folder / "t.csv").write_text("text,label\nhelp,gold\n")
    run(folder, folder / "t.csv", folder / "o.csv", "--yes", "--prefix", "our_")
    [row] = read(folder / "o.csv")
    assert (row["label"], row["our_label"], row["our_route"]) == ("gold", "urgent", "student")


def test_a_dry_run_prices_and_writes_nothing(job_folder, teacher):
    """What it would cost is said; nothing is asked, nothing is there afterwards."""
    folder = job_folder(audit_rate=0)
    table = write(folder / "t.csv")
    said = run(folder, table, folder / "o.csv", "--dry-run")
    assert "About 8 rows make about 2 questions to the teacher" in said
    assert json.loads(run(folder, table, folder / "o.csv", "--dry-run", "--json"))["questions"] == 2
    assert teacher.served() == {}
    assert sorted(path.name for path in folder.iterdir()) == [".raisehand", "t.csv", "task.yaml"]


def test_money_is_not_spent_unasked(job_folder, teacher):
    """Without a limit or --yes, and nobody there to say yes, nothing happens."""
    folder = job_folder()
    table = write(folder / "t.csv")
    result = run(folder, table, folder / "o.csv", code=2)
    assert "give --yes or --max-usd" in result
    assert teacher.served() == {}


def test_answers_that_labelling_paid_for_cost_nothing(job_folder, teacher):
    """One cache for labels and tables: what is known is not asked."""
    folder = job_folder()
    table = write(folder / "t.csv")
    run(folder, table, folder / "one.csv", "--max-usd", 1)
    before = teacher.served()["texts"]
    run(folder, table, folder / "two.csv", "--max-usd", 0)
    rows = read(folder / "two.csv")
    assert teacher.served()["texts"] == before
    assert rows[2]["route"] == "teacher"
    assert Decimal(rows[2]["cost_usd"]) == STUDENT_USD


def test_an_unfinished_job_is_not_mixed_with_another(job_folder):
    """Another column, table or seed is another job; the sentence says what differs."""
    folder = job_folder()
    table = write(folder / "t.csv", ["maybe", "help"] * 5)
    ruling = Ruling("urgent", "b", 1, AuditVerdict())
    JobJournal(folder / "o.csv.partial", {"--seed": "7"}, ruling).close()
    said = run(folder, table, folder / "o.csv", "--yes", code=2)
    assert "--seed was 7 and is now 0" in said


def test_unsure_rows_wait_for_a_batch_at_its_tariff(job_folder, teacher):
    """`--teacher batch-api`: one batch for each part, half the price, the same answers."""
    section = {
        "mode": "chat", "prompt": {"user": "{text}"},
        "batch_price": {"usd_per_mtok_input": 500, "usd_per_mtok_output": 1000},
    }  # fmt: skip
    folder = job_folder(section)
    table = write(folder / "t.csv")
    run(folder, table, folder / "o.csv", "--max-usd", 5, "--teacher", "batch-api")
    served = teacher.served()
    assert served["batch_lines"] == 2
    assert "requests" not in served
    rows = read(folder / "o.csv")
    assert [row["label"] for row in rows if row["route"] == "teacher"] == [
        "urgent",
        "calm",
        "urgent",
    ]
    usd = sum(Decimal(row["cost_usd"]) for row in rows) - 7 * STUDENT_USD
    assert usd == (Decimal(served["input_tokens"]) + 2 * served["output_tokens"]) / 2000
