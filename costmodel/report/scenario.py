"""The report of a scenario: what its month costs, why, how sure that is, what would break it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from costmodel.bill.simulated import failures_of
from costmodel.plan.spread import records, spread
from costmodel.plan.study import Study, chosen_point
from costmodel.report.figures import (
    break_even_figure,
    day_figure,
    pareto_figure,
    rails_figure,
    tornado_figure,
)
from costmodel.report.page import Drawn, Headline, Page
from costmodel.report.paid import paid_json, paid_tables
from costmodel.report.spread import seeds_table
from costmodel.report.tables import (
    RAILS,
    PageTable,
    break_even,
    doubt_words,
    doubts,
    failure_costs,
    judgement,
    limits,
    lines_table,
    ms,
    percent,
    rails_table,
    usd,
)
from costmodel.uncertainty.draws import INPUTS


def study_tables(study: Study) -> tuple[PageTable, ...]:
    """Everything a study says, from the bill to the unit prices."""
    cascade = next(rail for rail in study.bill.rails if rail.name == "cascade")
    return (
        judgement(study.feasibility),
        rails_table(study.bill.rails),
        *paid_tables(study.bill.rails, study.scenario.prices),
        lines_table(cascade.lines),
        savings(study),
        break_even(study.projection),
        *seeds_table(study),
        service(study),
        doubts(study.uncertain),
        limits(study.uncertain),
        averages(study),
        assumptions(study),
        unit_prices(study),
    )


def savings(study: Study) -> PageTable:
    """Signed savings against everything else one could do."""
    rows = [
        (
            one.against,
            usd(one.usd_per_month),
            usd(one.low),
            usd(one.mid),
            usd(one.high),
            percent(one.mid / float(one.usd_per_month)) if one.usd_per_month else "–",
        )
        for one in study.savings
    ]
    return PageTable(
        "Monthly saving of the cascade (negative: it costs more); P10 and P90 from "
        f"{study.uncertain.draws:,} draws",
        ("against", "costs per month", "P10", "saving", "P90", "share"),
        tuple(rows),
    )


def service(study: Study) -> PageTable:
    """What users see: over all arrivals, refusals included; of the first seed."""
    result = study.result
    everyone, student, teacher = (result.routes[name] for name in ("all", "student", "teacher"))
    rows = [
        ("answered by the student", percent(result.counts["student"] / _n(study))),
        ("answered by the teacher", percent(result.counts["teacher"] / _n(study))),
        ("degraded answers", percent(result.degraded_rate, 3)),
        ("refused", percent(result.refused_rate, 3)),
        ("agreement with the teacher", percent(result.agreement, 2)),
        ("p50 / p99, all answers", f"{ms(everyone.p50_s)} / {ms(everyone.p99_s)}"),
        ("p50 / p99, student", f"{ms(student.p50_s)} / {ms(student.p99_s)}"),
        ("p50 / p99, teacher", f"{ms(teacher.p50_s)} / {ms(teacher.p99_s)}"),
        ("student busy", percent(result.student_utilisation)),
        ("teacher busy", percent(result.teacher_utilisation)),
        ("calls throttled by the teacher", f"{result.counts['calls_throttled']:,}"),
    ]
    if result.scenario.teacher.kind == "hosted":
        first, gap = result.stages["first_token"], result.stages["token_gap"]
        rows += [
            ("p50 / p99, first token of the teacher", f"{ms(first.p50_s)} / {ms(first.p99_s)}"),
            ("p50 / p99, between its tokens", f"{ms(gap.p50_s)} / {ms(gap.p99_s)}"),
            ("calls preempted", f"{result.counts['preemptions']:,}"),
        ]
    return PageTable("Service over the simulated time", ("", "value"), tuple(rows))


def averages(study: Study) -> PageTable:
    """The simulated bill beside the closed form that knows only means."""
    closed = study.projection
    rows = []
    for rail in study.bill.rails:
        mean = float(closed.rail(rail.name).usd_per_month)
        simulated = float(rail.usd_per_month)
        rows.append(
            (
                rail.name.replace("_", " "),
                usd(simulated),
                usd(mean),
                percent(simulated / mean - 1, 2),
            )
        )
    return PageTable(
        "Simulated month beside the closed form: what averages hide",
        ("rail", "simulated", "closed form", "difference"),
        tuple(rows),
    )


def assumptions(study: Study) -> PageTable:
    """What the figures rest on."""
    scenario, result = study.scenario, study.result
    policy = scenario.policy
    rule = (
        f"threshold {policy.threshold:g}"
        if policy.threshold is not None
        else f"escalate {percent(policy.escalation_rate or 0.0)}"
    )
    once = scenario.one_off
    rows = [
        ("simulated", f"{scenario.days:g} days, {_n(study):,} requests, {_seeds(study)}"),
        ("month", f"730 hours, {float(study.bill.requests):,.0f} requests"),
        ("begins", f"{scenario.start:%Y-%m-%d %H:%M} UTC"),
        (
            "answers a month that differ from the teacher's",
            f"{(1 - result.agreement) * float(study.bill.requests):,.0f}",
        ),
        ("policy", f"{rule}, audits {percent(policy.audit_rate, 2)} of kept answers"),
        ("escalated, by request / by token", f"{percent(result.escalation_rate, 2)} / "
         f"{percent(result.token_weighted_escalation, 2)}"),
        ("evaluated rows behind the quality", f"{scenario.quality.rows:,}"),
        ("student machines", f"{study.bill.student.machines}, on average"),
        ("paid once", f"{once.labelled_texts:,} labelled texts, training {usd(once.training_usd)}, "
         f"other {usd(once.other_usd)}"),
        failure_costs(
            failures_of(result),
            study.bill.requests,
            study.bill.teacher_only - study.bill.cascade,
        ),
        ("doubts", doubt_words(scenario.doubt)),
    ]  # fmt: skip
    return PageTable("Assumptions", ("", "value"), tuple(rows))


def unit_prices(study: Study) -> PageTable:
    """Every unit price in words."""
    rows = [
        ("teacher", study.projection.unit_prices["teacher"]),
        ("student", study.prices.student.words),
        ("teacher, best known terms", study.projection.baselines[1].words),
        *((name, price.words) for name, price in study.prices.baselines.items()),
    ]
    return PageTable("Unit prices", ("who", "price"), tuple(rows))


def comparison(studies: Sequence[Study]) -> PageTable:
    """One row per scenario of a sweep."""
    rows = [
        (
            one.scenario.name.rpartition("[")[2].rstrip("]"),
            usd(one.bill.cascade),
            usd(one.savings[0].mid),
            percent(one.cost_ratio),
            percent(one.mean(lambda run: run.escalation_rate)),
            percent(one.mean(lambda run: run.agreement), 2),
            ms(one.mean(lambda run: run.routes["all"].p99_s)),
            percent(one.mean(lambda run: run.degraded_rate + run.refused_rate), 2),
            one.verdict.brief,
        )
        for one in studies
    ]
    return PageTable(
        "Scenarios side by side, same traffic",
        ("scenario", "cascade per month", "saving", "of teacher", "escalated", "agreement",
         "p99", "degraded or refused", "verdict"),
        tuple(rows),
    )  # fmt: skip


def study_json(study: Study) -> dict[str, object]:
    """Everything of a study as plain JSON values."""
    result = study.result
    return {
        "scenario": study.scenario.model_dump(mode="json", exclude_unset=True),
        "verdict": study.verdict.sentence,
        **study.verdict.flags,
        "warnings": list(study.warnings),
        "feasibility": study.feasibility.model_dump(mode="json"),
        "figures": records([study])[0],
        "rails": [rail.model_dump(mode="json") for rail in study.bill.rails],
        "as_paid": paid_json(study.bill.rails, study.scenario.prices),
        "savings": [
            {
                "against": one.against,
                "usd_per_month": round(float(one.usd_per_month), 6),
                "p10": one.low,
                "mid": one.mid,
                "p90": one.high,
                "words": one.words,
            }
            for one in study.savings
        ],
        "spread": {
            name: dict(zip(("mean", "lowest", "highest"), values, strict=True))
            for name, values in spread(study).items()
        },
        "counts": {name: sum(run.counts[name] for run in study.results) for name in result.counts},
        "latency_s": {name: asdict(route) for name, route in result.routes.items()},
        "stages_s": {name: asdict(stage) for name, stage in result.stages.items()},
        "pareto": [asdict(point) for point in study.pareto],
        "uncertain": study.uncertain.model_dump(mode="json"),
        "projection": study.projection.model_dump(mode="json"),
    }


def study_page(studies: Sequence[Study]) -> Page:
    """One page: the first scenario in full, the others of a sweep side by side."""
    study = studies[0]
    found = study.verdict
    page = Page(
        f"What if: {study.scenario.name}",
        f"A month of 730 hours from {study.scenario.start:%Y-%m-%d}, simulated request by request",
    )
    page.paragraph(found.sentence, found.tone)
    for warning in study.warnings:
        page.paragraph(f"Warning: {warning}", "bad")
    page.headlines(_headlines(study))
    if len(studies) > 1:
        table = comparison(studies)
        page.table(table.headers, table.rows, table.caption)
    figures = study_figures(study)
    for name, (figure, caption, alt) in figures.items():
        if name == "day":
            page.heading("Over the simulated time")
        page.figure(figure, caption, alt)
    page.heading("The figures")
    for table in study_tables(study):
        page.table(table.headers, table.rows, table.caption)
    return page


def study_figures(study: Study) -> dict[str, tuple[Drawn, str, str]]:
    """Every figure by name: the figure, its caption, and what it shows in words."""
    rails = ", ".join(f"{RAILS[r.name]} {usd(r.usd_per_month)}" for r in study.bill.rails)
    found: dict[str, tuple[Drawn, str, str]] = {
        "rails": (
            lambda narrow: rails_figure(study.bill.rails, narrow=narrow),
            "The bill by rail",
            f"Monthly bill: {rails}.",
        ),
        "break-even": (
            lambda narrow: break_even_figure(study.projection, narrow=narrow),
            "Break-even",
            "Cumulative cost of teacher-only and of the cascade.",
        ),
        "tornado": (
            lambda narrow: tornado_figure(study.uncertain, narrow=narrow),
            "What moves the saving",
            "Widest first: " + ", ".join(INPUTS[s.input] for s in study.uncertain.tornado) + ".",
        ),
    }
    if study.pareto:
        chosen = chosen_point(study)
        found["pareto"] = (
            lambda narrow: pareto_figure(study.pareto, chosen, narrow=narrow),
            "Cost against quality",
            f"Chosen: {percent(chosen.agreement, 2)} agreement at {percent(chosen.cost_ratio)} of "
            "the teacher's cost.",
        )
    found["day"] = (
        lambda narrow: day_figure(study.result, narrow=narrow),
        "Traffic, latency and utilisation",
        f"p99 of all answers {ms(study.result.routes['all'].p99_s)}; student busy "
        f"{percent(study.result.student_utilisation)} on average.",
    )
    return found


def write_figures(study: Study, folder: Path) -> list[Path]:
    """Write each figure as an SVG file on white paper, the same bytes for the same study."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (figure, _, _) in study_figures(study).items():
        path = folder / f"{name}.svg"
        with mpl.rc_context({"svg.hashsalt": name}):
            figure(False).savefig(path, facecolor="white", metadata={"Date": None})
        written.append(path)
    return written


def _headlines(study: Study) -> list[Headline]:
    saving, over = study.savings[0], spread(study)
    found = study.verdict
    return [
        Headline(
            usd(saving.mid),
            found.saved,
            f"P10 {usd(saving.low)}, P90 {usd(saving.high)}",
            found.tone,
        ),
        Headline(
            percent(study.cost_ratio),
            "of the teacher-only bill",
            f"{usd(study.bill.cascade)} a month",
        ),
        Headline(
            percent(over["agreement"][0], 2),
            "of answers agree with the teacher",
            f"{percent(over['escalation_rate'][0])} escalate",
        ),
        Headline(
            ms(over["p99_s"][0]),
            "p99 of all answers",
            f"{percent(over['refused_rate'][0] + over['degraded_rate'][0], 2)} refused or degraded",
        ),
    ]


def _seeds(study: Study) -> str:
    first, n = study.result.seed, len(study.results)
    if n == 1:
        return f"seed {first} alone: its chances are in no band"
    return f"in each of the seeds {first} to {first + n - 1}"


def _n(study: Study) -> int:
    return study.result.counts["requests"]
