"""A projection as tables of text: the terminal, Markdown and HTML print the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from costmodel.bill.baselines import BASELINES
from costmodel.bill.feasibility import Feasibility
from costmodel.bill.line import Line
from costmodel.bill.machines import MachineBill
from costmodel.bill.projection import Projection
from costmodel.bill.rails import Rail
from costmodel.inputs.assumptions import Failures
from costmodel.inputs.stated_doubt import Doubt
from costmodel.money.pricing import HOURS_PER_MONTH
from costmodel.uncertainty.draws import INPUTS, Uncertain

RAILS = {
    "teacher_only": "teacher only",
    "student_only": "student only",
    "cascade": "cascade (this)",
    "decision_api": "cheap decision API",
}


@dataclass(frozen=True, slots=True)
class PageTable:
    """A caption, headers, and rows of text that are as wide as the headers."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def usd(value: Decimal | float) -> str:
    """An amount for people: sign first, thousands apart, cents below 1,000 dollars."""
    amount = abs(Decimal(str(value)))
    digits = 0 if amount >= 1000 else 2 if amount >= 1 or amount == 0 else 4
    text = f"{amount:,.{digits}f}"
    sign = "−" if value < 0 and Decimal(text.replace(",", "")) else ""
    return f"{sign}${text}"


def percent(share: float, digits: int = 1) -> str:
    """A share for people, with a true minus sign."""
    return f"{share:.{digits}%}".replace("-", "−")


def ms(seconds: float) -> str:
    """A latency for people."""
    value = seconds * 1000
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def span(months: float) -> str:
    """A time for people: hours, days or months of 730 hours."""
    hours = months * HOURS_PER_MONTH
    if hours < 0.1:
        return "less than 6 minutes"
    if hours < 48:
        return f"{hours:,.1f} hours"
    return f"{hours / 24:,.1f} days" if months < 2 else f"{months:,.1f} months"


def projection_tables(projection: Projection) -> tuple[PageTable, ...]:
    """Everything a projection says, from the headline to the unit prices."""
    return (
        bill_by_rail(projection),
        cascade_lines(projection),
        savings(projection),
        break_even(projection),
        assumptions(projection),
        unit_prices(projection),
    )


def judgement(found: Feasibility) -> PageTable:
    """What users get, beside what may fail and what was promised."""
    limits, promise, band = found.limits, found.promise, found.agreement
    rows = [
        (
            "requests refused",
            percent(found.refused, 3),
            f"at most {percent(limits.most_refused, 2)}",
        ),
        (
            "escalations that the teacher does not answer",
            percent(found.unanswered, 2) + (f", if {found.assumed}" if found.assumed else ""),
            f"at most {percent(limits.most_degraded, 2)}",
        ),
    ]
    if found.deadline_s is not None:
        rows.append(
            (
                f"requests answered after their deadline of {found.deadline_s:g} s",
                percent(found.late, 2),
                f"at most {percent(limits.most_late, 2)}",
            )
        )
    whose = "the student's answers" if promise and promise.promise == "strict" else "all answers"
    rows.append(
        (
            f"{whose} that agree with the teacher",
            f"{percent(band.mid, 2)} ({percent(band.low, 2)} to {percent(band.high, 2)})",
            f"at least {percent(promise.agreement, 2)}" if promise else "nothing is promised",
        )
    )
    if found.unusable:
        means = "kept: disagreements; escalated: unanswered"
        rows.append(("no label was the teacher's answer to", found.unusable, means))
    how = "closed form, at the mean rate"
    if found.requests is not None:
        how = f"{found.requests:,} simulated requests, {found.escalations:,} escalations"
    return PageTable(
        f"Does it answer, and as promised? ({how})", ("", "found", "limit"), tuple(rows)
    )


def failure_costs(failures: Failures, requests: Decimal, saving: Decimal) -> tuple[str, str]:
    """What a failure is said to cost, or that nobody said; and what it may cost."""
    wrong = requests * Decimal(repr(failures.wrong))
    said = " and ".join(
        f"{what} {usd(each)}" if each else f"{what} nothing (nobody said otherwise: {field})"
        for what, each, field in (
            ("a wrong answer costs", failures.wrong_usd, "cost_of_wrong_answer"),
            ("a refusal costs", failures.refused_usd, "cost_of_refusal"),
        )
    )
    if saving > 0 and wrong:
        more = saving / wrong
        said += f"; the saving is gone if each of {wrong:,.0f} wrong answers costs {usd(more)} more"
    return "cost of failure", said


def bill_by_rail(projection: Projection) -> PageTable:
    """What a month and 1,000 requests cost on each rail."""
    return rails_table(projection.rails)


def rails_table(rails: Sequence[Rail]) -> PageTable:
    """The same for any rails."""
    rows = [
        (
            RAILS[rail.name],
            usd(rail.usd_per_1k),
            usd(rail.usd_per_month),
            percent(rail.ratio),
        )
        for rail in rails
    ]
    return PageTable(
        "Bill by rail (a month is 730 hours)",
        ("rail", "per 1,000 requests", "per month", "of teacher only"),
        tuple(rows),
    )


def cascade_lines(projection: Projection) -> PageTable:
    """The cascade's month, line by line."""
    return lines_table(projection.rail("cascade").lines)


def lines_table(lines: Sequence[Line]) -> PageTable:
    """The same for any lines."""
    rows = [(line.name, usd(line.usd), line.detail) for line in lines]
    return PageTable("The cascade, line by line", ("line", "per month", "how"), tuple(rows))


def savings(projection: Projection) -> PageTable:
    """Signed savings against every baseline."""
    rows = [
        (
            BASELINES[baseline.name],
            usd(baseline.usd_per_month),
            usd(baseline.saving.low),
            usd(baseline.saving.mid),
            usd(baseline.saving.high),
            percent(baseline.saving_share.mid),
        )
        for baseline in projection.baselines
    ]
    return PageTable(
        f"Monthly saving of the cascade, with the 95 % interval that {projection.n:,} evaluated "
        "rows give (negative: it costs more)",
        ("against", "costs per month", "saving, low", "saving", "saving, high", "share"),
        tuple(rows),
    )


def break_even(projection: Projection) -> PageTable:
    """When labelling and training are earned back."""
    got = projection.break_even
    if got.months is None:
        when = "never at this traffic: the cascade saves nothing"
    elif not got.one_off_usd:
        when = "nothing to earn back: nothing is stated as paid once"
    else:
        late = span(got.months.late) if got.months.late is not None else "never"
        when = f"{span(got.months.mid)} ({span(got.months.early)} to {late}), on {got.date}"
    least = got.minimum_requests_per_day
    limit = got.escalation_rate
    rows = [
        ("paid once: " + (", ".join(got.counted) or "nothing stated"), usd(got.one_off_usd)),
        ("earned back after", when),
        ("requests answered until then", f"{got.requests:,.0f}" if got.requests else "–"),
        (
            "least traffic that pays",
            f"{least:,.0f} requests a day" if least is not None else "no traffic pays",
        ),
        ("saving is 0 at an escalation rate of", _limit(limit, saves=got.months is not None)),
    ]
    if got.not_counted:
        rows.insert(1, ("not counted: nobody stated", ", ".join(got.not_counted)))
    return PageTable("Break-even", ("", "value"), tuple(rows))


def assumptions(projection: Projection) -> PageTable:
    """What the figures rest on."""
    e, agreement = projection.escalation, projection.agreement
    student, kept = projection.student, projection.kept_agreement
    rows = [
        ("requests a day", f"{projection.requests_per_day:,.0f}"),
        ("requests a month (730 h)", f"{projection.requests_per_month:,.0f}"),
        ("month begins", projection.starts),
        ("evaluated rows", f"{projection.n:,}"),
        ("escalated", f"{percent(e.mid, 2)} ({percent(e.low, 2)} to {percent(e.high, 2)})"),
        (
            "agreement with the teacher, all answers",
            f"{percent(agreement.mid, 2)} ({percent(agreement.low, 2)} to "
            f"{percent(agreement.high, 2)})",
        ),
        (
            "answers a month that differ from the teacher's",
            f"{(1 - agreement.mid) * projection.requests_per_month:,.0f}",
        ),
        ("agreement, kept answers", percent(kept, 2) if kept is not None else "–"),
        ("audited, of kept answers", percent(projection.audit_rate, 2)),
        ("billed teacher calls per escalation", f"{projection.attempts:g}"),
        ("teacher cost of an escalated request", f"{projection.escalated_cost_factor:.2f} × mean"),
        *_machine_rows("student", student),
        *_machine_rows("teacher, asked everything", projection.teacher_machines),
        *_machine_rows("teacher, asked what escalates", projection.asked_machines),
    ]
    return PageTable("Assumptions", ("", "value"), tuple(rows))


def _machine_rows(who: str, bill: MachineBill | None) -> list[tuple[str, str]]:
    """Machines of one's own both ways: what is used, and what is paid."""
    if bill is None or not bill.machines:
        return []
    used = (
        f"{usd(bill.marginal_usd)} / {usd(bill.provisioned_usd)} a month; the bill has the latter"
    )
    return [
        (f"{who}: machines, busy", f"{bill.machines}, {percent(bill.utilisation)}"),
        (f"{who}: busy share only / as provisioned", used),
    ]


def unit_prices(projection: Projection) -> PageTable:
    """Every unit price in words."""
    rows = [(name.replace("_", " "), words) for name, words in projection.unit_prices.items()]
    for baseline in projection.baselines:
        if baseline.name == "teacher_best_terms":
            rows.append(("teacher, best known terms", baseline.words))
    return PageTable("Unit prices", ("who", "price"), tuple(rows))


def doubts(uncertain: Uncertain) -> PageTable:
    """What moves the saving."""
    rows = [
        (
            INPUTS[swing.input],
            f"{swing.low:.4g} to {swing.high:.4g}",
            usd(swing.saving_at_low),
            usd(swing.saving_at_high),
        )
        for swing in uncertain.tornado
    ]
    return PageTable(
        "What moves the saving (each input alone, others as projected; prices, lengths and "
        "traffic are factors)",
        ("input", "P10 to P90", "saving at P10", "saving at P90"),
        tuple(rows),
    )


def limits(uncertain: Uncertain) -> PageTable:
    """What would have to be true for the cascade not to pay."""
    rows = []
    for one in uncertain.limits:
        beyond = "no value does that" if one.limit is None else _side(one.now, one.limit)
        chance = percent(one.probability, 2) if one.limit is not None else "–"
        rows.append((INPUTS[one.input], f"{one.now:.4g}", beyond, chance))
    return PageTable(
        "What would have to be true for this not to pay (against the teacher as priced); overall "
        f"probability of a loss {percent(uncertain.probability_of_loss, 2)}",
        ("input", "now", "saving is 0 at", "share of draws beyond"),
        tuple(rows),
    )


def markdown(tables: Sequence[PageTable]) -> str:
    """The tables as GitHub Markdown."""
    parts = []
    for table in tables:
        lines = [
            f"**{table.caption}**",
            "",
            _row(table.headers),
            _row(["---"] * len(table.headers)),
        ]
        lines += [_row(row) for row in table.rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def doubt_words(doubt: Doubt) -> str:
    """The stated doubts in one line."""
    factors = [("teacher's price", doubt.teacher_price), ("student's price", doubt.student_price)]
    prices = [
        f"{who} × {f.low:g} to {f.high:g}" if f.low < f.high else f"{who} exact"
        for who, f in factors
    ]
    return (
        f"traffic ±{percent(doubt.traffic, 0)}, lengths ±{percent(doubt.lengths, 0)}, cost of "
        f"escalated requests ±{percent(doubt.escalated_factor, 0)}, drift of the escalation rate "
        f"±{percent(doubt.escalation_drift, 0)} (one standard deviation each), {', '.join(prices)}"
    )


def _side(now: float, limit: float) -> str:
    return f"{'above' if limit > now else 'below'} {limit:.4g}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _limit(rate: float | None, *, saves: bool) -> str:
    if rate is not None and 0 <= rate <= 1:
        return percent(rate, 2)
    if saves:
        return "none: it pays even if everything escalates"
    return "none: it does not pay even if nothing escalates"
