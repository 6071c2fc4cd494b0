"""The findings as a page: what was carried, beside the bare model, and what limited it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from costmodel.report.page import Headline, Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def page_of(findings: Mapping[str, Any]) -> Page:
    """Lay the findings out."""
    machine, settings = findings["machine"], findings["settings"]
    where = machine.get("card") or machine["processor"]
    page = Page(
        f"Encoder students on {where}",
        f"The router with one engine on {settings['device']}, open loop (Poisson), and the bare "
        f"model beside it: the highest rate at a p99 of {settings['p99_ms']:g} ms. Measured at "
        f"{machine['at']} in {findings['spent_s']:.0f} s.",
    )
    _headlines(page, findings)
    for name, why in findings["failed"].items():
        page.paragraph(f"Failed: {name}: {why}", "bad")
    if findings["cut"]:
        page.paragraph(f"Cut for lack of time: {'; '.join(findings['cut'])}.", "bad")
    _served(page, findings)
    _bare(page, findings)
    _conditions(page, findings)
    return page


def _headlines(page: Page, findings: Mapping[str, Any]) -> None:
    carried = [row for row in findings["served"] if row["texts_per_s"]]
    if not carried:
        page.paragraph("No rate that was tried kept the limit behind the router.", "bad")
        return
    most = max(carried, key=lambda row: row["texts_per_s"])
    tokens = max(carried, key=lambda row: row["tokens_per_s"])
    page.headlines(
        [
            Headline(
                f"{most['texts_per_s']:,.0f} texts/s",
                most["model"],
                f"{most['length']} tokens, p99 {most['p99_ms']:.1f} ms, {most['workers']} workers",
            ),
            Headline(
                f"{tokens['tokens_per_s']:,.0f} tokens/s",
                tokens["model"],
                f"{tokens['length']} tokens, p99 {tokens['p99_ms']:.1f} ms",
            ),
        ]
    )


def _served(page: Page, findings: Mapping[str, Any]) -> None:
    rows = findings["served"]
    if not rows:
        return
    page.heading("Behind the router")
    bare = {(row["model"], row["length"]): row["texts_per_s"] for row in findings["bare"]}
    page.table(
        (
            *("model", "tokens", "asked", "workers", "texts/s", "tokens/s", "p50, ms", "p99, ms"),
            *("n", "of the bare model", "GPU busy", "of the roofline", "USD per million"),
            *("server cores", "ended by"),
        ),
        [
            (
                row["model"],
                row["length"],
                "singly" if row["surface"] == "classify" else "16 at once",
                row["workers"],
                _rounded(row["texts_per_s"]),
                _rounded(row["tokens_per_s"]),
                row["p50_ms"],
                row["p99_ms"],
                row["samples"],
                _share(_ratio(row["texts_per_s"], bare.get((row["model"], row["length"])))),
                _share(row["utilisation"]),
                _share(row["roofline_share"]),
                row["usd_per_million"],
                row["server_cores"],
                row["ended_by"],
            )
            for row in rows
        ],
        "The highest rate that held. An empty rate: none that was tried did; the latency is that "
        "of the last one.",
    )
    page.figure(
        _by_length(rows, findings["bare"]),
        "Texts a second that were carried, by length; hollow: the bare model.",
        "Texts a second by length and model.",
    )
    page.figure(
        _latency_by_rate(rows, findings["settings"]["p99_ms"]),
        "p99 at each rate that was tried; the line is the limit.",
        "p99 against texts a second.",
    )
    for row in rows:
        if row["texts_per_s"] is None:
            page.paragraph(f"{row['model']}, {row['length']} tokens: {row['why']}", "bad")


def _bare(page: Page, findings: Mapping[str, Any]) -> None:
    if not findings["bare"]:
        return
    page.heading("The bare model")
    page.table(
        (
            *("model", "tokens", "texts/s", "tokens/s", "p99, ms", "n", "mean batch", "GPU busy"),
            *("of the roofline", "USD per million", "full batches/s", "with tokenizing"),
        ),
        [
            (
                row["model"],
                row["length"],
                _rounded(row["texts_per_s"]),
                _rounded(row["tokens_per_s"]),
                row["p99_ms"],
                row["samples"],
                row["mean_batch"],
                _share(row["utilisation"]),
                _share(row["roofline_share"]),
                row["usd_per_million"],
                f"{row['most_texts_per_s']:,.0f} ({row['best_batch']})",
                _rounded(row["with_tokenizing_per_s"]),
            )
            for row in findings["bare"]
        ],
        "The network alone in one process, at the same p99; then texts a second in full batches of "
        "the best size, and the same with tokenizing in one thread.",
    )


def _conditions(page: Page, findings: Mapping[str, Any]) -> None:
    page.heading("Conditions")
    peak = findings["matrix_flops"]
    rows: list[tuple[str, object]] = [*findings["machine"].items()]
    if peak:
        rows.append(("a large matrix product", f"{peak / 1e12:,.2f} TFLOP/s: the roofline"))
    usd = findings["usd_per_hour"]
    rows.append(("dollars an hour", "–" if usd is None else f"{usd:g} ({findings['price']})"))
    rows += [(name, str(value)) for name, value in findings["settings"].items()]
    page.table(("", ""), rows, "The weights are random unless a real model is named.")


def _by_length(rows: Sequence[Mapping[str, Any]], bare: Sequence[Mapping[str, Any]]) -> Figure:
    from costmodel.report.figures import new_figure

    figure, axes = new_figure()
    best = max(row["workers"] for row in rows)
    for k, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
        singly = [
            (row["length"], row["texts_per_s"])
            for row in rows
            if row["model"] == model and row["surface"] == "classify" and row["workers"] == best
        ]
        alone = [(row["length"], row["texts_per_s"]) for row in bare if row["model"] == model]
        for points, filled in ((singly, True), (alone, False)):
            known = [(length, rate) for length, rate in points if rate]
            axes.plot(
                [length for length, _ in known],
                [rate for _, rate in known],
                "o-" if filled else "o--",
                color=f"C{k}",
                markerfacecolor=f"C{k}" if filled else "none",
                label=model if filled else None,
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens of a text")
    axes.set_ylabel("texts per second")
    axes.legend(frameon=False)
    return figure


def _latency_by_rate(rows: Sequence[Mapping[str, Any]], limit_ms: float) -> Figure:
    from costmodel.report.figures import new_figure

    figure, axes = new_figure()
    for row in rows:
        tried = sorted((rate, p99) for rate, p99, _ in row["tried"] if p99 is not None)
        if tried:
            label = f"{row['model']}, {row['length']}, {row['workers']} w"
            axes.plot([r for r, _ in tried], [p for _, p in tried], "o-", ms=3, label=label)
    axes.axhline(limit_ms, ls="--", color="black", lw=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("texts per second, asked for")
    axes.set_ylabel("p99, ms")
    axes.legend(frameon=False, fontsize=7)
    return figure


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part and whole else None
