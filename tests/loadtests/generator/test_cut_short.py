"""A load test that ends before its time: what was measured is written, and marked."""

import contextlib
import json
import re
import signal
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from loadtests.figures.load_report import Cut, report_of
from loadtests.generator.plan import WorkerPlan
from loadtests.generator.sample_file import SampleFile
from loadtests.generator.tallies import RequestOutcome, Tally
from loadtests.inputs.spec import LoadSpec
from tests.waiting import PATIENCE_S

SPEC = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=10, duration_s=60)
QUIET = ("--max-send-lag-ms", "60000", "--max-generator-cpu", "1")


@pytest.fixture
def started(raisehand, server, rows, tmp_path):
    """A test of a minute with every output, some seconds into its window."""
    outputs = {name: tmp_path / f"r.{name}" for name in ("json", "html", "junit", "history")}

    @contextlib.contextmanager
    def start(*more, when=generators_of):
        with subprocess.Popen(
            [
                *(raisehand, "loadtest", "--url", server("null"), "--inputs", str(rows)),
                *("--rate", "50", "--duration", "60", "--warmup", "0", "--processes", "2"),
                *(part for name, path in outputs.items() for part in (f"--{name}", str(path))),
                *QUIET,
                *more,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            try:
                yield running, outputs, when(running)
            finally:
                running.kill()

    return start


def begun(running):
    """The generator's processes, as soon as they are there."""
    while len(found := _children_of(running)) < 2:
        time.sleep(0.01)
    return found


def _children_of(running):
    children = psutil.Process(running.pid).children()
    return [c for c in children if any("locustfile" in part for part in c.cmdline())]


def generators_of(running):
    """The generator's processes, once each has counted for two seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = _children_of(running)
        plans = [WorkerPlan(_folder_of(each), worker) for worker, each in enumerate(found)]
        if len(plans) == 2 and all(p.read_tally(1).finished.total() >= 40 for p in plans):
            return found
        time.sleep(0.1)
    raise AssertionError("the load test did not begin to count")


def _folder_of(process):
    return Path(process.environ()["RAISEHAND_LOADTEST_DIRECTORY"])


def check_marked(outputs):
    """Every file is there and says INVALID and how much was measured."""
    told = json.loads(outputs["json"].read_text())
    assert told["verdict"] == "INVALID"
    report = told["report"]
    assert 80 <= report["succeeded"] <= report["scheduled"] < 3000
    assert 1 <= report["cut"]["measured_s"] < 60
    assert report["achieved_rps"] == pytest.approx(
        report["succeeded"] / report["cut"]["measured_s"], rel=0.2
    )
    (line,) = outputs["history"].read_text().splitlines()
    assert json.loads(line)["verdict"] == "INVALID"
    assert "<b>INVALID</b>" in outputs["html"].read_text()
    assert ElementTree.parse(outputs["junit"]).getroot().findall(".//error")
    (reason,) = [r for r in report["invalid_reasons"] if "of 60 s were measured" in r]
    assert "which is incomplete" in reason
    return report


@pytest.mark.e2e
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(started, tmp_path, end):
    """However it is ended: exit 130, all files written as INVALID, and the sentence is true."""
    samples = tmp_path / "samples.jsonl"
    with started("--samples", str(samples)) as (running, outputs, generators):
        running.send_signal(end)
        said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130
    report = check_marked(outputs)
    assert len(samples.read_text().splitlines()) == report["sent"]
    assert "INVALID" in said[0]
    (line,) = said[1].strip().splitlines()
    assert "of 60 s. What was measured is reported, as INVALID" in line
    assert "run it again" in line
    assert not any(each.is_running() for each in generators)


@pytest.mark.e2e
def test_killed_worker(started):
    """A generator process is killed in the middle: exit 1, its number, and what was counted."""
    with started() as (running, outputs, generators):
        generators[1].kill()
        said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1
    check_marked(outputs)
    assert "load generator process 1 was killed by signal 9" in said[1]
    assert "the run does not count, start it again" in said[1]
    assert not any(each.is_running() for each in generators)


@pytest.mark.e2e
@pytest.mark.parametrize("when", [begun, generators_of], ids=["before it began", "in the middle"])
def test_killed_parent(started, when):
    """Whoever has nobody to hand over to ends, also while it waits for the word to begin."""
    with started(when=when) as (running, _, generators):
        running.kill()
        _, alive = psutil.wait_procs(generators, timeout=PATIENCE_S)
        for each in alive:
            each.kill()
    assert alive == []


@pytest.mark.e2e
def test_interrupted_repeat(command, started):
    """Of three runs the first was interrupted: INVALID, and it is said that runs are missing."""
    with started("--repeats", "3") as (running, outputs, _):
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130
    check_marked(outputs)
    assert "1 of 3 runs were made" in said[0]
    assert "1 of 3 runs were made" in outputs["html"].read_text()
    assert "1 of 3 runs were made" in outputs["junit"].read_text()


@pytest.mark.e2e
def test_a_file_that_the_disk_does_not_take(command, server, rows, tmp_path):
    """The disk is full: exit 2 with the file and the cause; the other files are written.

    Whether this machine was quiet enough for a verdict is not asked.
    """
    asked = ("--url", server("null"), "--inputs", str(rows), "--rate", "50", "--duration", "1")
    page = tmp_path / "page.html"
    done = command(*asked, *QUIET, "--warmup", "0", "--json", "/dev/full", "--html", str(page))
    assert done.returncode == 2
    assert "/dev/full cannot be written (No space left on device)" in done.stderr
    [verdict] = re.findall("<b>(PASS|INVALID)</b>", page.read_text())
    assert verdict in done.stdout
    done = command(*asked, *QUIET, "--warmup", "0", "--samples", "/dev/full", "--html", str(page))
    assert done.returncode == 1
    assert "samples could not be written to /dev/full" in " ".join(done.stdout.split())
    assert "<b>INVALID</b>" in page.read_text()


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["knee", "against"])
def test_a_full_disk_costs_a_search_one_file(command, server, rows, tmp_path, kind):
    """A search and a comparison (with itself), too: exit 2 names the file, the page is written."""
    url, page = server("null"), tmp_path / "page.html"
    more = ("--knee", "--most-runs", "2") if kind == "knee" else ("--against", url)
    done = command(
        *("--url", url, "--inputs", str(rows), "--rate", "20", "--duration", "1", "--warmup", "0"),
        *("--json", "/dev/full", "--html", str(page), "--no-null-check", *more, *QUIET),
    )
    assert done.returncode == 2
    assert "/dev/full cannot be written (No space left on device)" in done.stderr
    assert page.read_text().endswith("</html>")


@pytest.mark.e2e
def test_interrupted_turns(raisehand, server, rows, tmp_path):
    """Of two servers in turns those that both had are compared and kept; INVALID, exit 130."""
    out = tmp_path / "both.json"
    asked = (
        *("--url", server("null"), "--against", server("null"), "--inputs", str(rows)),
        *("--rate", "50", "--duration", "3", "--warmup", "0", "--repeats", "30"),
        *("--json", str(out), "--no-null-check", *QUIET),
    )
    with subprocess.Popen([raisehand, "loadtest", *asked], stderr=subprocess.PIPE) as running:
        try:
            seen = set()
            deadline = time.monotonic() + PATIENCE_S
            while len(seen) < 4 and time.monotonic() < deadline:
                with contextlib.suppress(psutil.Error):  # one that ends meanwhile
                    seen.update(each.pid for each in _children_of(running))
                time.sleep(0.05)
            running.send_signal(signal.SIGTERM)
            _, err = running.communicate(timeout=PATIENCE_S)
        finally:
            running.kill()
    assert running.returncode == 130
    assert re.search(rb"Interrupted after \d of 30 turns of both, which are reported", err)
    told = json.loads(out.read_text())
    assert told["comparison"]["verdict"] == "INVALID"
    assert len(told["a"]["repeats"]) == len(told["b"]["repeats"]) > 0


def test_a_file_that_cannot_be_written_is_said_before_the_test(command, rows, tmp_path):
    """A folder in the place of a file, or no folder at all: exit 2 before a request is sent."""
    asked = ("--url", "http://127.0.0.1:9", "--inputs", str(rows))
    done = command(*asked, "--json", str(tmp_path))
    assert done.returncode == 2
    assert "it is a folder" in done.stderr
    done = command(*asked, "--html", str(rows / "page.html"))
    assert done.returncode == 2
    assert "page.html cannot be written" in done.stderr


def test_half_a_line_is_left_out(tmp_path):
    """A worker that dies while it writes loses that line and no other."""
    plan, tally = WorkerPlan(tmp_path), Tally(1.0)
    tally.arrive(0.5)
    plan.write_part(tally)
    plan.write_part(tally)
    with (tmp_path / "tally-0.jsonl").open("a") as file:
        file.write('{"half')
    assert plan.read_tally(1.0).scheduled == {0: 2}


def test_samples_on_a_full_disk_void_the_run_and_lose_no_request():
    """The file takes no more and says why; nothing is raised in a request's way."""
    file = SampleFile(Path("/dev/full"))
    file.write(RequestOutcome(0.1, 0, 0, 0.01, 200, None))
    file.flush()
    assert "No space left on device" in file.trouble
    file.write(RequestOutcome(0.2, 0, 0, 0.01, 200, None))
    tally = Tally(1.0)
    tally.arrive(0.1)
    tally.record(RequestOutcome(0.1, 0, 0, 0.01, 200, None), SPEC)
    tally.troubles.add(file.trouble)
    assert file.trouble in report_of(SPEC, tally).invalid_reasons


def test_rates_are_of_the_seconds_that_were_measured():
    """60 requests in 6 of 60 s are 10 a second, not 1; those in flight are in no figure."""
    tally = Tally(1.0)
    for i in range(62):
        tally.arrive(i / 10)
        if i < 60:
            tally.record(RequestOutcome(i / 10, i, 0, 0.01, 200, None), SPEC)
    report = report_of(SPEC, tally, cut=Cut(why="x", measured_s=6.0, unfinished=tally.settle()))
    assert report.cut.unfinished == 2
    assert (report.scheduled, report.sent) == (60, 60)
    assert report.offered_rps == pytest.approx(10)
    assert len(report.intervals) == 6
    assert not report.valid
