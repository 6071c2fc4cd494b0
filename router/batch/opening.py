"""From what is asked for to a job: everything is checked here, before a row is answered or paid."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from costmodel.money.pricebook import price_of
from costmodel.money.pricing import Price
from router.batch.estimate import BatchEstimate, estimate_batch
from router.batch.journal import JobJournal
from router.batch.on_ray.engine import ray_engine
from router.batch.on_ray.pool import RayPool
from router.batch.output import Output
from router.batch.run import BatchJob
from router.batch.scoring import LocalEngine, ScoringEngine
from router.batch.summary import BatchSummary, summary_of
from router.batch.tables.chunk import Spelling
from router.batch.tables.sources import Source, open_source
from router.batch.watching import JobWatch
from router.ledger.chunks import ChunkLedger
from router.ledger.schema import LEDGER_FILE
from router.ledger.shipping.opening import open_carrier  # psycopg is an extra
from router.ledger.shipping.shipper import Shipper
from router.process.compose import usd_per_answer
from router.process.load_model import check_fits
from router.shared.sqlite_store import STORE_FILE, SqliteStore
from students.certificate import Certificate
from students.label.cache import ReplyCache
from students.runtime.bundle import Bundle, find_bundle
from students.runtime.cores import cores
from students.runtime.load import load_student
from students.runtime.protocol import Student
from students.task import Task
from students.teachers import make_teacher
from students.teachers.deferred import deferred_price, make_deferred
from students.teachers.deferred.client import BatchState
from students.teachers.protocol import Teacher

CACHE = "replies.sqlite"
AT_ONCE = 65_536
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What was asked for on the command line."""

    source: str
    out: str
    bundle: str | None = None
    column: str | None = None
    prefix: str = ""
    max_usd: Decimal | None = None
    seed: int = 0
    at_once: int = AT_ONCE
    threads: int | None = None
    ledger: Path | None = None
    deferred: bool = False
    """Ask the teacher through its Batch API."""
    told: Callable[[BatchState], None] | None = None
    """Hears of each batch there."""
    pool: RayPool | None = None
    """Let students on a Ray cluster answer, and not threads of this process."""
    database_url: str | None = None
    """Where the ledgers of all hosts come together."""


class BatchOpening:
    """A job that is checked and not begun.

    Raises:
        BadTable, BadSettings, BadBundle, BadTask, UnknownPrice: what keeps it from beginning.
    """

    def __init__(self, task: Task, options: BatchOptions) -> None:
        section = task.teacher.model_copy(update={"batch": options.deferred})
        self.task = task = task.model_copy(update={"teacher": section})
        self.options = options
        self.column = options.column or task.inputs.text
        self.bundle: Bundle = find_bundle(task.work_dir, options.bundle)
        check_fits(task, self.bundle)
        self.price: Price = deferred_price(section) if section.batch else price_of(section.price)
        self.student_usd = usd_per_answer(price_of(task.student.price))
        self.teacher: Teacher = (
            make_deferred(task, told=options.told) if section.batch else make_teacher(task)
        )
        self._room = task.work_dir / "batch" / f"fetched-{os.getpid()}"
        spelling = Spelling(task.inputs.encoding, task.inputs.delimiter)
        self.source: Source = open_source(
            options.source, self.column, options.prefix, self._room, spelling
        )
        self.output = Output(options.out, self.source, options.prefix, task.work_dir)
        self._store = SqliteStore(task.work_dir / STORE_FILE)
        self.watch = JobWatch(
            task, self.bundle.id, self.certificate, task.audit_rate, self._store, time.time
        )
        self.watch.begin()
        self.student: Student = load_student(self.bundle)

    @property
    def certificate(self) -> Certificate:
        """What was proved about the student."""
        certificate = self.bundle.manifest.certificate
        assert certificate is not None, "checked by check_fits"
        return certificate

    def estimate(self) -> BatchEstimate:
        """Price the whole table, as if nothing of it were answered."""
        with ReplyCache(self.task.work_dir / CACHE, self.teacher.descriptor) as cache:
            return estimate_batch(
                self.task,
                self.source,
                self.student,
                self.bundle.manifest.thresholds,
                cache,
                self.price,
                column=self.column,
                rate=self.task.audit_rate,
                seed=self.options.seed,
                watch=self.watch,
                room=self._room,
            )

    @contextmanager
    def job(self) -> Iterator[BatchJob]:
        """Begin the job, or go on with it.

        Raises:
            BadSettings: OUT holds an unfinished job about something else.
            BadLedger: the ledger cannot be used.
            LostCluster: there is no Ray cluster where one was asked for.
            BadDatabase: the address of the database is wrong; one that is away is no fault.
        """
        task, options = self.task, self.options
        ledger = ChunkLedger(options.ledger or task.work_dir / LEDGER_FILE)
        journal = JobJournal(self.output.folder, self._facts(), self.watch.ruling)
        self.watch.ruling = journal.ruling
        with (
            _shipping(ledger.path, options.database_url),
            closing(journal),
            closing(self._store),
            self._engine() as engine,
        ):
            yield BatchJob(
                task=task,
                source=self.source,
                output=self.output,
                journal=journal,
                ledger=ledger,
                engine=engine,
                bundle=self.bundle.id,
                thresholds=self.bundle.manifest.thresholds,
                watch=self.watch,
                teacher=self.teacher,
                price=self.price,
                student_usd=self.student_usd,
                column=self.column,
                at_once=options.at_once,
                max_usd=options.max_usd,
                rate=task.audit_rate,
                seed=options.seed,
                cache_path=task.work_dir / CACHE,
            )

    def summary(self, job: BatchJob) -> BatchSummary:
        """Add up what was done."""
        return summary_of(
            job.journal.done,
            out=self.options.out,
            bundle=self.bundle.id,
            statement=self.certificate.statement,
            price=self.price.words,
            alarmed=self.watch.alarmed,
        )

    @contextmanager
    def _engine(self) -> Iterator[ScoringEngine]:
        options = self.options
        if options.pool is None:
            threads = options.threads or cores()
            yield LocalEngine(self.student, threads)
            return
        with ray_engine(
            options.pool, self.bundle, self.source, self.column, options.at_once
        ) as engine:
            yield engine

    def _facts(self) -> dict[str, str]:
        options, files = self.options, self.source.files
        listed = "\n".join(f"{file.name}\0{file.size}\0{file.version}" for file in files)
        return {
            "IN": options.source,
            "what is in it (names, sizes, times)": hashlib.sha256(listed.encode()).hexdigest()[:12],
            "the column of texts": self.column,
            "the task": self.task.name,
            "the bundle": self.bundle.id,
            "teacher.on_failure": self.task.teacher.on_failure,
            "audit_rate": repr(self.task.audit_rate),
            "--prefix": repr(options.prefix),
            "--seed": str(options.seed),
            "--rows-per-part": str(options.at_once),
        }


@contextmanager
def _shipping(path: Path, url: str | None) -> Iterator[None]:
    """Bring what a job books to the database of all hosts, where there is one."""
    if url is None:
        yield
        return

    shipper = Shipper(open_carrier(path, url))
    try:
        yield
    finally:
        if not shipper.close():
            log.warning(
                "not everything of this job is in the database yet: it waits in %s, and goes there "
                "with the next job or router that books in that file",
                path,
            )
