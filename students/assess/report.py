"""What was found in a log, for people and for machines: one screen, one page, one JSON object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from costmodel.bill.baselines import BASELINES
from costmodel.report.page import Headline, Page
from costmodel.report.tables import percent, usd
from students.assess.jobs import LEAST_CALLS
from students.assess.judge import AtPromise, Judged
from students.assess.log import Log
from students.report import risk_coverage_figure

if TYPE_CHECKING:
    from costmodel.report.page import Page

WORDS = {
    "pays": "pays",
    "idle": "certified, but saves nothing",
    "refused": "no promise can be certified",
    "bad fit": "bad fit",
}
SCREEN = 8
"""Jobs that are told at length on the screen; the page has all."""


def summary(log: Log, lost: int) -> str:
    """Say what was read, and what of it cannot be learnt from."""
    kinds = ", ".join(f"{n:,} rows of {kind}" for kind, n in log.kinds.most_common())
    passed = "; ".join(f"{n:,} {why}" for why, n in log.passed.most_common())
    days = f" over {log.days:,.1f} days" if log.days is not None else ""
    return (
        f"{kinds}: {len(log.calls):,} calls{days}."
        + (f" Passed over: {passed}." if passed else "")
        + (f" {lost:,} calls are of no group of {LEAST_CALLS} or more." if lost else "")
    )


def overview(judged: Sequence[Judged]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and a row for each job."""
    headers: tuple[str, ...] = (
        "job", "verdict", "saves a month", "costs a month", "calls a day", "kept", "answers",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for one in judged:
        best = one.best
        monthly = one.money.usd_per_month
        rows.append(
            (
                one.job.name,
                WORDS[one.verdict],
                usd(best.projection.savings.mid) if best and best.projection else "–",
                "?" if monthly is None else usd(monthly),
                f"{one.money.per_day:,.0f}",
                percent(_kept_share(best)) if best else "–",
                f"{one.job.answers:,}",
            )
        )
    return headers, rows


def sentences(one: Judged) -> list[str]:
    """Say what stands behind a job's verdict, and what would help."""
    said = []
    if len(one.job.models) > 1:
        told = ", then ".join(f"{n:,} by {model}" for model, n in one.job.models)
        said.append(
            f"Several teachers answered ({told}); only the {len(one.job.latest):,} answers of "
            f"{one.job.latest[0].model} count: another model is another teacher."
        )
    if one.why_not is not None:
        return [*said, f"Bad fit: {one.why_not}."]
    said += [_sentence(kept) for kept in one.kept]
    said.append(
        f"Priced {one.money.words}. The latest calls judge; a log that was sampled, filtered or "
        "freed of copies is no traffic, and then none of this holds."
    )
    if one.masked:
        said.append("Masked: " + ", ".join(f"{n:,} {kind}" for kind, n in one.masked if n) + ".")
    if one.folder is not None:
        said.append(f"Go on with: raisehand distill --task {one.folder / 'task.yaml'}")
    return said


def _sentence(kept: AtPromise) -> str:
    if kept.projection is None:
        refusal = kept.distilled.refusal
        return f"At {percent(kept.agreement)}: {refusal.statement if refusal else ''}."
    baselines = "; ".join(
        f"{usd(b.saving.mid)} ({usd(b.saving.low)} to {usd(b.saving.high)}) against "
        f"{BASELINES[b.name]}"
        for b in kept.projection.baselines
    )
    return (
        f"At {percent(kept.agreement)} agreement: keeps {percent(_kept_share(kept))} of the "
        f"traffic; saves a month {baselines}."
    )


def _kept_share(kept: AtPromise) -> float:
    evaluation = kept.distilled.bundle.manifest.evaluation
    return 1 - evaluation.escalation.rate if evaluation else 0.0


def as_json(log: Log, lost: int, judged: Sequence[Judged]) -> dict[str, Any]:
    """Every figure, exact."""
    return {
        "rows": dict(log.kinds),
        "calls": len(log.calls),
        "days": log.days,
        "passed_over": dict(log.passed),
        "in_no_job": lost,
        "jobs": [_job_json(one) for one in judged],
    }


def _job_json(one: Judged) -> dict[str, Any]:
    return {
        "name": one.job.name,
        "system": one.job.system,
        "user": f"{one.job.before}{{text}}{one.job.after}",
        "labels": list(one.job.labels.values()),
        "answers": one.job.answers,
        "models": dict(one.job.models),
        "calls": len(one.job.calls),
        "calls_per_day": one.money.per_day,
        "usd_per_month": one.money.usd_per_month,
        "price": one.money.words,
        "verdict": one.verdict,
        "why_not": one.why_not,
        "folder": str(one.folder) if one.folder else None,
        "masked": dict(one.masked),
        "promises": [_kept_json(kept) for kept in one.kept],
    }


def _kept_json(kept: AtPromise) -> dict[str, Any]:

    manifest = kept.distilled.bundle.manifest
    return {
        "agreement": kept.agreement,
        "certified": kept.projection is not None,
        "bundle": kept.distilled.bundle.id,
        "statement": manifest.certificate.statement
        if manifest.certificate
        else kept.distilled.refusal and kept.distilled.refusal.statement,
        "kept": _kept_share(kept),
        "baselines": [json.loads(b.model_dump_json()) for b in kept.projection.baselines]
        if kept.projection
        else [],
    }


def page(log: Log, lost: int, judged: Sequence[Judged]) -> Page:
    """Build the page that a manager reads."""
    built = Page("What a student could keep of this log", summary(log, lost))
    saved = sum(
        one.best.projection.savings.mid for one in judged if one.best and one.best.projection
    )
    spent = sum(one.money.usd_per_month or 0.0 for one in judged)
    paying = sum(one.verdict == "pays" for one in judged)
    built.headlines(
        [
            Headline(usd(saved), "saved a month", "against the price paid now",
                     "good" if saved > 0 else "plain"),
            Headline(usd(spent), "a month for these jobs now"),
            Headline(f"{paying} of {len(judged)}", "jobs pay"),
        ]
    )  # fmt: skip
    built.table(*overview(judged))
    for one in judged:
        built.heading(one.job.name)
        prompt = f"{one.job.system} {one.job.before}…{one.job.after}".strip()
        built.paragraph("Prompt: " + (prompt if len(prompt) < 400 else prompt[:400] + " …"))
        labels = list(one.job.labels.values())
        built.paragraph("Answers: " + ", ".join(labels[:20]) + (" …" if len(labels) > 20 else ""))
        for sentence in sentences(one):
            built.paragraph(sentence, "bad" if sentence.startswith("Bad fit") else "plain")
        for kept in one.kept[:1]:
            evaluation = kept.distilled.bundle.manifest.evaluation
            if evaluation is not None:
                built.figure(
                    risk_coverage_figure(evaluation),
                    "Share of traffic kept by the student against the share of it that disagrees.",
                    "risk against coverage, with the chosen point",
                )
    return built
