"""Every command reads the same files the same way, or refuses them with the same sentence."""
# ruff: noqa: E501 - a file a line

import asyncio
import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from costmodel.errors import BadTable
from loadtests.commands.loadtest import given, loadtest
from loadtests.errors import BadRows
from loadtests.inputs.request import wanted_of
from loadtests.inputs.rows import AnswersFile, read_answers, rows_of
from loadtests.inputs.taskfile import read_task
from router.batch.tables.chunk import Spelling
from router.batch.tables.sources import open_source
from router.cli import main
from students.bench.students import read_texts
from students.errors import BadInputs
from students.label.inputs import read_inputs
from students.label.labelling import label_inputs
from students.label.record import load_labels, make_record, save_labels
from students.label.split import split_inputs
from students.task import load_task
from students.testing import ScriptedTeacher

LABELS = ["billing", "technical", "1", "true"]
TEXT = "I was charged twice"
LONG = "long " * 40_000 + "end"
CURLY = "I don’t know"


def _lines(*rows):
    return "\n".join(map(str, rows)).encode()


def _jsonl(*rows):
    return _lines(*map(json.dumps, rows))


def _parquet(**columns):
    return lambda path: pq.write_table(pa.table(columns), path)


def _hub(path):
    """As the Hub stores a data set: names of classes in the schema's metadata."""
    features = {"gold": {"names": ["technical", "billing"], "_type": "ClassLabel"}}
    known = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": [TEXT, "b"], "gold": [1, -1]}).replace_schema_metadata(known)
    pq.write_table(table, path)


def _saved(path, *, picked=False):
    """As `Dataset.save_to_disk` writes it; after `select` with an index."""
    path.mkdir()
    table = pa.table({"text": [TEXT, "x"], "gold": [1, 0]})
    _stream(path / "data.arrow", table)
    features = {"gold": {"names": ["technical", "billing"], "_type": "ClassLabel"}}
    (path / "dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": "data.arrow"}]}
    if picked:
        _stream(path / "indices.arrow", pa.table({"indices": pa.array([0], pa.uint64())}))
        state["_indices_data_files"] = [{"filename": "indices.arrow"}]
    (path / "state.json").write_text(json.dumps(state))


def _stream(path, table):
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def _feather(path):
    table = pa.table({"text": [TEXT], "gold": ["billing"]})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def _zst(path):
    with pa.output_stream(str(path), compression="zstd") as out:
        out.write(PLAIN)


def _spark(path):
    """Parts in order of their names, with what Spark leaves beside them."""
    path.mkdir()
    pq.write_table(pa.table({"text": ["b"], "gold": ["technical"]}), path / "part-1.parquet")
    pq.write_table(pa.table({"text": [TEXT], "gold": ["billing"]}), path / "part-0.parquet")
    (path / "_SUCCESS").touch()
    (path / ".part-0.parquet.crc").write_bytes(b"x")


PLAIN = _lines("text,gold", f"{TEXT},billing")
ONE = [(TEXT, "billing")]
NESTED = {"text": "message.body", "gold": "meta.gold"}
RECORD = {"message": {"body": TEXT}, "meta": {"gold": "billing"}}

READ = {
    "rows.csv": (PLAIN, {}, ONE),
    "ROWS.CSV": (PLAIN, {}, ONE),
    "excel.csv": (b"\xef\xbb\xbf" + PLAIN, {}, ONE),
    "sep.csv": (b"sep=;\r\n" + PLAIN.replace(b",", b";"), {}, ONE),
    "semicolon.csv": (_lines("id;text;gold", f'1;{TEXT};billing', "2;a, b;"), {}, [*ONE, ("a, b", "")]),
    "bar.csv": (PLAIN.replace(b",", b"|"), {}, ONE),
    "caret.csv": (PLAIN.replace(b",", b"^"), {"delimiter": "^"}, ONE),
    "tabs.csv": (PLAIN.replace(b",", b"\t"), {"delimiter": "tab"}, ONE),
    "rows.tsv": (PLAIN.replace(b",", b"\t"), {}, ONE),
    "rows.csv.gz": (gzip.compress(PLAIN), {}, ONE),
    "unpacked.csv.gz": (PLAIN, {}, ONE),
    "rows.CSV.BZ2": (bz2.compress(PLAIN), {}, ONE),
    "rows.csv.xz": (lzma.compress(PLAIN), {}, ONE),
    "rows.csv.zst": (_zst, {}, ONE),
    "utf16.csv": (PLAIN.decode().encode("utf-16"), {}, ONE),
    "utf16le.csv": (PLAIN.decode().encode("utf-16-le"), {"encoding": "utf-16-le"}, ONE),
    "cp1252.csv": (f"text,gold\n{CURLY},".encode("cp1252"), {"encoding": "cp1252"}, [(CURLY, "")]),
    "mac.csv": (PLAIN.replace(b"\n", b"\r"), {}, ONE),
    "blank.csv": (_lines("", "text,gold", "", f" {TEXT} ,billing", '"  ",', "", "b,"), {}, [*ONE, ("b", "")]),
    "quoted.csv": (_lines("text,gold", '"a ""b"",\nc",billing', 'a 5" nail,'), {}, [('a "b",\nc', "billing"), ('a 5" nail', "")]),
    "long.csv": (_lines("text,gold", f"{LONG},billing"), {}, [(LONG, "billing")]),
    "gaps.csv": (_lines("text,gold", f"{TEXT},1.0", "b,", "c,True"), {}, [(TEXT, "1"), ("b", ""), ("c", "true")]),
    "twice.csv": (_lines("text,x,x,gold", f"{TEXT},1,2,billing"), {}, ONE),
    "rows.txt": (_lines(TEXT, "", "Hello, again"), {"gold": None}, [(TEXT, ""), ("Hello, again", "")]),
    "rows.jsonl": (_jsonl({"text": TEXT, "gold": "billing"}), {}, ONE),
    "late.jsonl": (_jsonl({"gold": "billing"}, {"text": TEXT, "gold": "billing"}, {"text": "b"}), {}, [*ONE, ("b", "")]),
    "rows.ndjson": (_jsonl({"text": TEXT, "gold": 1}, {"text": "b", "gold": True}), {}, [(TEXT, "1"), ("b", "true")]),
    "long.jsonl.gz": (gzip.compress(_jsonl({"text": LONG, "gold": None})), {}, [(LONG, "")]),
    "array.json": (json.dumps([{"text": TEXT, "gold": "billing"}, {"text": "b"}], indent=1).encode(), {}, [*ONE, ("b", "")]),
    "lines.json": (_jsonl({"text": TEXT, "gold": "billing"}), {}, ONE),
    "nan.jsonl": (b'{"text": NaN, "gold": NaN}\n{"text": "b", "gold": NaN}', {}, [("b", "")]),
    "nested.jsonl": (_jsonl(RECORD, {"message": None}, {"message": {"body": "b"}}), NESTED, [*ONE, ("b", "")]),
    "dotted.jsonl": (_jsonl({"message.body": TEXT, "meta": {"gold": "billing"}}), NESTED, ONE),
    "rows.parquet": (_parquet(text=[TEXT, None], gold=["billing", None]), {}, ONE),
    "gaps.parquet": (_parquet(text=[TEXT, "b"], gold=pa.array([1.0, float("nan")])), {}, [(TEXT, "1"), ("b", "")]),
    "flags.parquet": (_parquet(text=pa.array([TEXT], pa.large_string()), gold=[True]), {}, [(TEXT, "true")]),
    "coded.parquet": (_parquet(text=pa.array([TEXT]).dictionary_encode(), gold=["billing"]), {}, ONE),
    "nested.parquet": (_parquet(message=[RECORD["message"], None], meta=[RECORD["meta"], None]), NESTED, ONE),
    "hub.parquet": (_hub, {}, [*ONE, ("b", "")]),
    "rows.feather": (_feather, {}, ONE),
    "saved": (_saved, {}, [*ONE, ("x", "technical")]),
    "picked": (lambda path: _saved(path, picked=True), {}, ONE),
    "parts": (_spark, {}, [*ONE, ("b", "technical")]),
}  # fmt: skip
"""Name: content, fields of inputs, and the texts with their labels."""


def _splits(path):
    path.mkdir()
    (path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')


def _mixed(path):
    path.mkdir()
    (path / "a.csv").write_bytes(PLAIN)
    (path / "b.jsonl").write_bytes(_jsonl({"text": TEXT}))


def _layered(path):
    (path / "data").mkdir(parents=True)


REFUSED = {
    "none.csv": (None, {}, "none.csv does not exist"),
    "empty.csv": (b"", {}, "has no column 'text'; it has none"),
    "open.csv": (_lines("text,gold", "a,", '"never closed,', "b,", "c,"), {}, "line 3: a quote opens a cell there and is never closed"),
    "open2.csv": (_lines("text,gold", '"never closed,', '"b, c",'), {}, "line 2: text stands behind the quote"),
    "open.tsv": (b'text\tgold\n"never closed\t\nb\t', {}, "line 2: a quote opens a cell"),
    "comma.csv": (_lines("text,gold", "a,", "Hello, I was charged,billing"), {}, "line 3 has 3 fields and the header has 2"),
    "short.csv": (_lines("id,text,gold", "7"), {"delimiter": ","}, "line 2 has 1 fields and the header has 3"),
    "backslash.csv": (_lines("text,gold", r'"he said \"x\", again",billing'), {}, "line 2: text stands behind the quote"),
    "twice.csv": (_lines("text,text,gold", "a,b,"), {}, "has 2 columns named 'text'"),
    "twice.jsonl": (_lines('{"text": "a", "text": "b"}'), {"gold": None}, "line 1: the key 'text' stands twice"),
    "twice.parquet": (lambda path: pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), path), {"gold": None}, "has 2 columns named 'text'"),
    "within.jsonl": (_jsonl({"text": "a"}, RECORD, RECORD | {"message.body": "b"}), {"text": "message.body", "gold": None}, "line 3: 'message.body' is a key and a field within a record"),
    "within.parquet": (_parquet(**{"message": [{"body": "a"}], "message.body": ["b"]}), {"text": "message.body", "gold": None}, "has 2 columns named 'message.body'"),
    "rot13.csv": (PLAIN, {"encoding": "rot13"}, "there is no encoding 'rot13'"),
    "no.csv": (_lines("message,gold", "a,"), {}, "has no column 'text'; it has 'message', 'gold'"),
    "no.jsonl": (_jsonl(RECORD), {}, "has no column 'text'; it has 'message.body', 'meta.gold'"),
    "no.parquet": (_parquet(message=[{"body": "a"}]), {}, "has no column 'text'; it has 'message.body'"),
    "latin.csv": (f"text,gold\na,\n{CURLY},\n".encode("cp1252"), {}, "line 3 is not utf-8; as cp1252 it reads 'I don’t know,'"),
    "utf16be.csv": (PLAIN.decode().encode("utf-16-be"), {}, "is not utf-8 but utf-16-be"),
    "ascii.csv": (_lines("text,gold", f"{CURLY},"), {"encoding": "ascii"}, "as utf-8 it reads 'I don’t know,'"),
    "klingon.csv": (PLAIN, {"encoding": "klingon"}, "there is no encoding 'klingon'"),
    "wide.csv": (PLAIN, {"delimiter": "::"}, "the delimiter is '::'; one character"),
    "no.jsonl.gz": (gzip.compress(b"{")[:-4], {"gold": None}, "cannot be read"),
    "broken.jsonl": (b'{"text": "a"}\n{"text": ', {"gold": None}, "line 2 is not JSON"),
    "broken.json": (b'[{"text": "a"},\n{"text": "b"}', {"gold": None}, "line 2 is not JSON"),
    "list.jsonl": (b'["a"]', {}, "line 1 holds a str; a JSON object is needed"),
    "number.jsonl": (_jsonl({"text": "a"}, {"text": 5}), {"gold": None}, "line 2: column 'text' holds the number 5; text is needed"),
    "float.parquet": (_parquet(text=[float("nan"), 1.5]), {"gold": None}, "row 2: column 'text' holds the number 1.5"),
    "record.parquet": (_parquet(text=[{"body": "a"}]), {"gold": None}, "row 1: column 'text' holds the record {'body': 'a'} .*, e.g. text.body"),
    "bytes.parquet": (_parquet(text=[b"a"]), {"gold": None}, "row 1: column 'text' holds the bytes b'a'"),
    "list.parquet": (_parquet(text=[["a"]]), {"gold": None}, r"row 1: column 'text' holds the list \['a'\]"),
    "not.parquet": (b"PAR0 nothing", {}, "not.parquet cannot be read"),
    "parquet.csv": (b"PAR1 nothing", {}, "is a Parquet or Arrow file"),
    "excel.xlsx": (b"PK\x03\x04", {}, "of no known kind; inputs are .csv"),
    "excel.csv": (b"PK\x03\x04", {}, "is an Excel or zip file; save it as CSV"),
    "gold.txt": (_lines(TEXT), {}, "holds a text a line and no column 'gold'"),
    "delimited.jsonl": (_jsonl({"text": TEXT}), {"delimiter": ";", "gold": None}, "has no delimiter"),
    "splits": (_splits, {}, "holds the splits train, test; name one"),
    "mixed": (_mixed, {}, "holds files of the kinds .csv, .jsonl"),
    "layered": (_layered, {}, "it holds the folders data: name one"),
    "void.csv": (_lines("text,gold", " ,"), {}, "no row with text|holds no text"),
}  # fmt: skip
"""Name: content, fields of inputs, and what everybody says."""


def _write(folder, name, content, fields):
    """Write a file and a task that names it."""
    path = folder / name
    if callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content)
    task = {
        "name": "odd",
        "labels": LABELS,
        "teacher": {
            "mode": "classify",
            "base_url": "http://127.0.0.1:9",
            "model": "none",
            "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 0},
        },
        "inputs": {"path": name, "text": "text", "gold": "gold", **fields},
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(task, allow_unicode=True), encoding="utf-8")
    return folder / "task.yaml"


def _label(task):
    """What `raisehand label` asks about."""
    read = load_task(task)
    inputs = read_inputs(read.inputs, read.schema_)
    gold = [LABELS[i] if i >= 0 else "" for i in inputs.gold]
    return list(zip(inputs.texts, gold, strict=True))


def _distill(task):
    """What `raisehand distill` and `raisehand evaluate` read: what label asked and wrote down."""
    read = load_task(task)
    inputs = read_inputs(read.inputs, read.schema_)
    teacher = ScriptedTeacher(read.schema_, (0.1, 0.2, 0.3, 0.4))
    labelling = asyncio.run(
        label_inputs(inputs, teacher, read, read.work_dir / "replies.sqlite", repeats=0)
    )
    splits = split_inputs(inputs.take(labelling.rows))
    save_labels(read.work_dir, labelling.labelled, make_record(read, inputs, labelling, splits, 0))
    labelled, _ = load_labels(read.work_dir)
    assert set(labelled.teacher.tolist()) == {3}
    gold = [LABELS[i] if i >= 0 else "" for i in labelled.gold]
    return list(zip(labelled.texts, gold, strict=True))


def _loadtest_of_task(task):
    """What `raisehand loadtest --task` sends, and what its fake teacher answers."""
    rows = rows_of(wanted_of({"task": task}).spec())
    read = read_task(task)
    answers = {}
    if read.inputs.gold:
        source = AnswersFile(
            read.inside(read.inputs.path), read.inputs.text, read.inputs.gold,
            read.inputs.encoding, read.inputs.delimiter,
        )  # fmt: skip
        answers = read_answers(source, list(read.labels), read.words)
    return [(row.text, answers.get(row.text, "")) for row in rows]


def _loadtest_of_options(task):
    """What `raisehand loadtest --inputs` sends; `raisehand profile` runs it."""
    inputs = load_task(task).inputs
    line = ["--url", "http://127.0.0.1:9", "--inputs", str(inputs.path), "--text", inputs.text]
    line += ["--encoding", inputs.encoding]
    line += ["--delimiter", inputs.delimiter] if inputs.delimiter else []
    wanted = wanted_of(given(loadtest.make_context("loadtest", line)))
    return [(row.text, None) for row in rows_of(wanted.spec())]


def _batch(task):
    """What `raisehand batch` answers, the empty rows and the spaces around a text aside."""
    inputs = load_task(task).inputs
    room, spelling = task.parent / "room", Spelling(inputs.encoding, inputs.delimiter)
    source = open_source(str(inputs.path), inputs.text, "", room, spelling)
    return [
        (text.strip(), None)
        for file in source.files
        for block in source.read(file, inputs.text, 2, room)
        for text in block.texts.to_pylist()
        if text and text.strip()
    ]


COMMANDS = {
    "label": _label,
    "distill, evaluate": _distill,
    "loadtest --task": _loadtest_of_task,
    "loadtest --inputs": _loadtest_of_options,
    "batch": _batch,
}
NO_KIND = "is of no kind that can be answered; a table is"
UNWRITABLE = ("rows.txt", "rows.feather", "saved", "picked")
"""What batch does not read, as it writes its answers beside the rows of the same kind of file."""
BATCH_SAYS = {
    "excel.xlsx": NO_KIND,
    "gold.txt": NO_KIND,
    "splits": NO_KIND,
    "float.parquet": "column 'text' holds double; text is needed",
    "record.parquet": "column 'text' holds struct<body: string>; text is needed",
    "bytes.parquet": "column 'text' holds binary; text is needed",
    "list.parquet": "column 'text' holds list<element: string>; text is needed",
}
"""Where it refuses a column before it has seen a row, or writes no such file."""
ANSWERED = ("number.jsonl", "void.csv", "delimited.jsonl")
"""Batch answers such rows as `refused`, `no_text`; a delimiter is that of the task's own inputs."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", READ)
def test_every_command_reads_the_same(tmp_path, command, name):
    """Texts and labels come out as they were meant, whatever wrote the file."""
    content, fields, expected = READ[name]
    if command == "batch" and name in UNWRITABLE:
        with pytest.raises(BadTable, match=NO_KIND):
            _batch(_write(tmp_path, name, content, fields))
        return
    found = COMMANDS[command](_write(tmp_path, name, content, fields))
    if found[0][1] is None:
        expected = [(text, None) for text, _ in expected]
    assert found == expected


@pytest.mark.parametrize(
    ("name", "command"),
    # With --inputs there is no gold column that could be missing.
    [
        (n, c)
        for n in REFUSED
        for c in COMMANDS
        if (n, c) != ("gold.txt", "loadtest --inputs") and (c != "batch" or n not in ANSWERED)
    ],
)
def test_every_command_refuses_the_same(tmp_path, command, name):
    """What cannot be read as it is meant is one sentence that names the line."""
    content, fields, says = REFUSED[name]
    says = BATCH_SAYS.get(name, says) if command == "batch" else says
    with pytest.raises((BadInputs, BadRows, BadTable), match=says):
        COMMANDS[command](_write(tmp_path, name, content, fields))


@pytest.mark.parametrize("name", REFUSED)
def test_label_says_it_in_one_line(tmp_path, name):
    """The command ends with exit code 2 and asks nobody."""
    content, fields, _ = REFUSED[name]
    task = _write(tmp_path, name, content, fields)
    done = CliRunner().invoke(main, ["label", "--task", str(task), "--yes"])
    assert isinstance(done.exception, BadInputs)
    assert done.exception.exit_code == 2
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("latin.csv", "cp1252"), ("utf16be.csv", "utf-16-be"), ("ascii.csv", "utf-8")],
)
def test_a_hint_that_is_followed_leads_to_the_right_text(tmp_path, name, hint):
    """The encoding that the refusal names is the one the file was saved in."""
    content, fields, _ = REFUSED[name]
    with pytest.raises(BadInputs, match=f"to {hint}"):
        _label(_write(tmp_path, name, content, fields))
    texts = [text for text, _ in _label(_write(tmp_path, name, content, {"encoding": hint}))]
    assert texts[-1] == (CURLY if name != "utf16be.csv" else TEXT)


def test_the_students_bench_reads_tables(tmp_path):
    """Its texts may stand in any of them."""
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(PLAIN))
    assert read_texts(tmp_path / "rows.csv.gz", "text", 5) == (TEXT,)
