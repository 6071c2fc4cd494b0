"""The demo's last act: gather what every step measured, and show it on a screen and on a page.

Nothing here is typed in by hand: every figure is read from the bundle, from the labelling record,
from the load test's report and samples, or projected from them by `costmodel`.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from costmodel.bill.baselines import BASELINES
from costmodel.bill.projection import Projection
from costmodel.inputs.taskfile import read_deployment
from costmodel.report.figures import break_even_figure, cost_by_rail_figure, new_figure
from costmodel.report.page import Headline, Page
from costmodel.report.tables import RAILS, percent, projection_tables, usd
from costmodel.whatif import project_deployment, verdict
from students.certificate import Certificate
from students.certify.scoring import macro_f1
from students.evaluation import Evaluation, Paired
from students.label.record import load_labels
from students.report import reliability_figure, risk_coverage_figure
from students.runtime.bundle import Bundle, find_bundle
from students.task import load_task

VERSIONS = ("raisehand", "torch", "transformers", "fastapi", "locust", "genai-prices", "numba")


@dataclass(frozen=True)
class Served:
    """What the router answered over HTTP in the load test, compared with teacher and gold."""

    answers: int
    agreed: int
    right: int
    with_gold: int
    macro_f1: float
    latency_ms: dict[str, list[float]]
    """By route, milliseconds from the scheduled instant."""


@dataclass(frozen=True)
class Results:
    """Everything the demo shows."""

    bundle: Bundle
    evaluation: Evaluation
    certificate: Certificate
    projection: Projection
    verdict: str
    load: dict[str, Any]
    served: Served
    figures: dict[str, Any]
    """The content of demo.json."""


def collect(task_path: Path, load_path: Path, samples_path: Path) -> Results:
    """Read what the steps left behind and compute what the demo reports."""
    task = load_task(task_path)
    bundle = find_bundle(task.work_dir)
    manifest = bundle.manifest
    evaluation, certificate = manifest.evaluation, manifest.certificate
    assert evaluation is not None
    assert certificate is not None
    load = json.loads(load_path.read_text(encoding="utf-8"))["report"]
    served = _served(task_path, samples_path)
    deployment = read_deployment(task_path, bundle.id)
    projection = project_deployment(deployment)
    figures = {
        "task": task.name,
        "teacher": {
            "accuracy": evaluation.teacher.accuracy,
            "macro_f1": evaluation.teacher.macro_f1,
            "self_agreement": evaluation.self_agreement and evaluation.self_agreement.rate,
            "minus_student": evaluation.teacher_minus_student
            and evaluation.teacher_minus_student.model_dump(),
        },
        "student": {
            "agreement": evaluation.agreement.rate,
            "accuracy": evaluation.student.accuracy,
            "macro_f1": evaluation.student.macro_f1,
        },
        "cascade": {
            "agreement": evaluation.cascade_agreement.rate,
            "agreement_n": evaluation.cascade_agreement.n,
            "agreement_lower_bound": certificate.agreement_lower_bound,
            "promise": certificate.promise,
            "promised_agreement": certificate.agreement,
            "confidence": certificate.confidence,
            "n_calibration": certificate.n_calibration,
            "accuracy": evaluation.cascade.accuracy,
            "macro_f1": evaluation.cascade.macro_f1,
            "served_agreement": served.agreed / served.answers,
            "served_answers": served.answers,
            "served_accuracy": served.right / served.with_gold,
            "served_macro_f1": served.macro_f1,
        },
        "escalation_rate": evaluation.escalation.rate,
        "audit_rate": task.audit_rate,
        "cost_per_1k_usd": {
            rail: float(projection.rail(rail).usd_per_1k)
            for rail in ("teacher_only", "student_only", "cascade")
        },
        "cost_ratio": projection.cost_ratio.mid,
        "monthly_savings_usd": json.loads(projection.savings.model_dump_json()),
        "baselines": [json.loads(b.model_dump_json()) for b in projection.baselines],
        "monthly_requests": projection.requests_per_month,
        "unit_prices": dict(projection.unit_prices),
        "latency_ms": {
            f"{name}_{q}": load["latency_ms"].get(route, {}).get(q)
            for name, route in (("student", "student"), ("escalated", "teacher"))
            for q in ("p50", "p99")
        },
        "load": {
            "offered_rps": load["offered_rps"],
            "achieved_rps": load["achieved_rps"],
            "failures": load["failed"],
            "valid": load["valid"],
            "invalid_reasons": load["invalid_reasons"],
            "routes": load["routes"],
        },
        "bundle": bundle.id,
        "statement": certificate.statement,
        "verdict": verdict(deployment, projection).sentence,
        "versions": {name: version(name) for name in VERSIONS}
        | {"python": platform.python_version()},
    }
    return Results(
        bundle,
        evaluation,
        certificate,
        projection,
        figures["verdict"],
        load,
        served,
        figures,
    )


def write_results(results: Results, reports: Path, console: Console) -> None:
    """Write demo.json and demo.html, and end with one screen."""
    reports.mkdir(parents=True, exist_ok=True)
    content = json.dumps(results.figures, indent=2) + "\n"
    (reports / "demo.json").write_text(content, encoding="utf-8")
    (reports / "demo.html").write_text(page(results).html(), encoding="utf-8")
    _screen(results, console)
    console.print(f"\nThe page: {reports / 'demo.html'}\nThe figures: {reports / 'demo.json'}")


def page(results: Results) -> Page:
    """Build the demo's report: self-contained, with plots."""
    e, c, p = results.evaluation, results.certificate, results.projection
    built = Page(
        "Urgent or not: a certified student in front of its teacher",
        f"bundle {results.bundle.id} · {e.n:,} held-out messages · every figure is from this run",
    )
    built.headlines(
        [
            Headline(percent(1 - e.escalation.rate), "answered by the student"),
            Headline(
                percent(e.cascade_agreement.rate),
                "agreement with the teacher",
                f"certified at least {c.agreement_lower_bound:.2%} from {c.n_calibration:,} rows",
                tone="good" if e.cascade_agreement.rate >= c.agreement else "bad",
            ),
            Headline(
                percent(p.cost_ratio.mid),
                "of the teacher-only bill",
                f"{percent(p.cost_ratio.low)} to {percent(p.cost_ratio.high)}",
            ),
            Headline(
                usd(p.savings.mid),
                "saved per month",
                f"{usd(p.savings.low)} to {usd(p.savings.high)} at "
                f"{p.requests_per_day:,.0f} requests a day",
                tone="good" if p.savings.low > 0 else "bad",
            ),
        ]
    )
    built.paragraph(c.statement)
    built.paragraph(_teacher_sentence(e))
    for heading, rows in _rows(results).items():
        built.heading(heading)
        built.table(("", ""), rows)
    built.heading("Quality")
    built.figure(
        risk_coverage_figure(e),
        "Share of traffic kept by the student against the share of it that disagrees.",
        "risk against coverage, with the chosen point",
    )
    built.figure(
        reliability_figure(e),
        "How often the student agrees with its teacher, by how sure it is.",
        "reliability diagram",
    )
    built.heading("Money")
    for table in projection_tables(p):
        built.table(table.headers, table.rows, table.caption)
    built.figure(cost_by_rail_figure(p), "Monthly bill by rail.", "bars: cost by rail")
    built.figure(break_even_figure(p), "When labelling and training are earned back.", "break-even")
    built.paragraph(results.verdict)
    built.heading("Load")
    built.figure(
        latency_figure(results.served.latency_ms),
        "Latency by who answered, from the instant each request was due.",
        "histogram of latency by route",
    )
    return built


def latency_figure(latency_ms: dict[str, list[float]]) -> Figure:
    """Draw latencies by route on a logarithmic axis of milliseconds."""
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure, axes = new_figure()
    every = [ms for values in latency_ms.values() for ms in values]
    bins = np.geomspace(max(min(every), 0.1), max(every) * 1.01, 60)
    for route, values in sorted(latency_ms.items()):
        axes.hist(values, bins=bins, alpha=0.7, label=f"{route} ({len(values):,})")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("latency from the scheduled instant [ms]")
    axes.set_ylabel("requests")
    axes.legend()
    return figure


def _served(task_path: Path, samples_path: Path) -> Served:
    task = load_task(task_path)
    labelled, record = load_labels(task.work_dir)
    names = labelled.schema.names
    test = record.split_rows()["test"]
    rows = {labelled.texts[i]: i for i in test}
    texts = _column(task_path.parent / "test.csv", "text")
    said, teacher, gold = [], [], []
    latency: dict[str, list[float]] = {}
    for line in samples_path.read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)
        if sample["failure"] is not None:
            continue
        latency.setdefault(sample["route"], []).append(sample["latency_ms"])
        row = rows.get(texts[sample["row"]])
        if row is not None:  # a copy of another row was asked, but labelled once
            said.append(names.index(sample["label"]))
            teacher.append(int(labelled.teacher[row]))
            gold.append(int(labelled.gold[row]))
    answers, reference, truth = np.array(said), np.array(teacher), np.array(gold)
    known = truth >= 0
    return Served(
        answers=len(answers),
        agreed=int((answers == reference).sum()),
        right=int((answers == truth)[known].sum()),
        with_gold=int(known.sum()),
        macro_f1=macro_f1(truth[known], answers[known]),
        latency_ms=latency,
    )


def _column(path: Path, name: str) -> list[str]:
    import csv

    with path.open(encoding="utf-8", newline="") as stream:
        return [line[name] for line in csv.DictReader(stream)]


def _teacher_sentence(e: Evaluation) -> str:
    pair: Paired | None = e.teacher_minus_student
    assert pair is not None
    f1 = pair.macro_f1
    interval = f"{f1.estimate:+.3f} macro-F1, 95 % interval {f1.low:+.3f} to {f1.high:+.3f}"
    if f1.low > 0:
        return f"On gold the teacher is better than the student alone ({interval})."
    return (
        f"On gold this teacher is not measurably better than the student alone ({interval}): the "
        "promise of agreement with it is kept, but escalating buys agreement, not accuracy."
    )


def _rows(results: Results) -> dict[str, list[tuple[str, str]]]:
    e, c, load, served = (
        results.evaluation,
        results.certificate,
        results.load,
        results.served,
    )
    latency = results.figures["latency_ms"]

    def quality(accuracy: float | None, macro_f1: float | None) -> str:
        return f"accuracy {accuracy:.3f} · macro-F1 {macro_f1:.3f}"

    return {
        "Who answers": [
            ("student", percent(1 - e.escalation.rate)),
            ("teacher (escalated)", percent(e.escalation.rate)),
            ("… interval", f"{percent(e.escalation.low)} to {percent(e.escalation.high)}"),
        ],
        "Agreement with the teacher": [
            ("student alone", f"{e.agreement.rate:.2%} of {e.agreement.n:,}"),
            ("cascade", f"{e.cascade_agreement.rate:.2%} of {e.cascade_agreement.n:,}"),
            (
                "cascade, as served over HTTP",
                f"{served.agreed / served.answers:.2%} of {served.answers:,}",
            ),
            (
                "certified",
                f"≥ {c.agreement_lower_bound:.2%} ({c.confidence:.0%} confidence, n = "
                f"{c.n_calibration:,}, promise {c.agreement:.1%} {c.promise})",
            ),
            (
                "the teacher with itself",
                f"{e.self_agreement.rate:.2%} of {e.self_agreement.n:,}"
                if e.self_agreement
                else "not measured",
            ),
        ],
        "Against gold": [
            ("teacher", quality(e.teacher.accuracy, e.teacher.macro_f1)),
            ("student alone", quality(e.student.accuracy, e.student.macro_f1)),
            ("cascade", quality(e.cascade.accuracy, e.cascade.macro_f1)),
            ("cascade, as served", quality(served.right / served.with_gold, served.macro_f1)),
            ("always “not urgent”", quality(e.majority.accuracy, e.majority.macro_f1)),
        ],
        "Load test (open loop)": [
            ("offered · achieved", f"{load['offered_rps']:.1f} · {load['achieved_rps']:.1f} rps"),
            ("failures", str(load["failed"])),
            ("student p50 · p99", _milliseconds(latency, "student")),
            ("escalated p50 · p99", _milliseconds(latency, "escalated")),
            (
                "does the run count?",
                "yes" if load["valid"] else "NO: " + "; ".join(load["invalid_reasons"]),
            ),
        ],
    }


def _milliseconds(latency: dict[str, float | None], name: str) -> str:
    p50, p99 = latency[f"{name}_p50"], latency[f"{name}_p99"]
    if p50 is None:
        return "too few answers"
    return f"{p50:.1f} · " + ("too few for a p99" if p99 is None else f"{p99:.1f} ms")


def _screen(results: Results, console: Console) -> None:
    """End with what one must know; everything else stands on the page."""
    table = Table(title="raisehand: urgent or not", title_style="bold", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, words in _summary(results):
        table.add_row(name, words)
    console.print(table)
    console.print(f"[bold]{results.verdict}")


def _summary(results: Results) -> list[tuple[str, str]]:
    e, c, p = results.evaluation, results.certificate, results.projection
    load, latency, served = results.load, results.figures["latency_ms"], results.served
    gold = {"teacher": e.teacher, "student alone": e.student, "both": e.cascade}
    per_1k = {RAILS[name]: p.rail(name).usd_per_1k for name in RAILS if _has_rail(p, name)}
    verdict = "PASS" if load["valid"] else "INVALID: " + "; ".join(load["invalid_reasons"])
    return [
        (
            "who answers",
            f"student {percent(1 - e.escalation.rate)}, teacher {percent(e.escalation.rate)} "
            f"({percent(e.escalation.low)} to {percent(e.escalation.high)})",
        ),
        (
            "agreement",
            f"{percent(e.cascade_agreement.rate, 2)} of {e.cascade_agreement.n:,}; served over "
            f"HTTP {percent(served.agreed / served.answers, 2)}",
        ),
        (
            "certified",
            f"at least {percent(c.agreement_lower_bound, 2)} with {c.confidence:.0%} confidence "
            f"(promised: {percent(c.agreement)})",
        ),
        (
            "accuracy on gold",
            ", ".join(f"{who} {percent(of.accuracy or 0)}" for who, of in gold.items()),
        ),
        (
            "1,000 requests",
            ", ".join(f"{rail} {usd(amount)}" for rail, amount in per_1k.items()),
        ),
        *(
            (
                f"saves a month: {BASELINES[b.name]}",
                f"{usd(b.saving.mid)} ({usd(b.saving.low)} to {usd(b.saving.high)})",
            )
            for b in p.baselines
        ),
        (
            "latency, p50 · p99",
            f"student {_milliseconds(latency, 'student')}; "
            f"escalated {_milliseconds(latency, 'escalated')}",
        ),
        (
            "load test",
            f"{load['achieved_rps']:.0f} of {load['offered_rps']:.0f} requests/s, "
            f"{load['failed']} failed: {verdict}",
        ),
    ]


def _has_rail(projection: Projection, name: str) -> bool:
    return any(rail.name == name for rail in projection.rails)
