"""The page of `raisehand bench certificate`: drawn from its JSON, so that no figure is typed."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
"""A cell or a pile of the JSON."""


def page_of(report: Row) -> str:
    """Draw the Markdown page of a report as the command writes it."""
    versions = report["versions"]
    made = f"seed {report['seed']}, Python {versions['python']}, numpy {versions['numpy']}"
    alone, whole = report["standard_error"], report["pile_standard_error"]
    limit, pile_limit = report["delta"] + 3 * alone, report["delta"] + 3 * whole
    return f"""# How often a certificate is broken

Written by `raisehand bench certificate --out docs/benchmarks` on {report["date"]}, drawn from
[certificate.json](certificate.json): {report["seconds"]:,.0f} s of one core, {made}.
The command ends with exit code 1 where a promise of the product is broken in more than δ + 3
standard errors of the deployments. [The certificate](../certificate.md) says what is promised.

Every promise: {report["agreement"]:.0%} agreement, δ = {report["delta"]:.0%}, spent whole.
Each cell: share of deployments that broke their promise / mean coverage. **Bold**: over the limit.

## Over the whole way

Piles are written as files, read, split, looked at and certified as `raisehand label` and
`raisehand distill` do it, and the risk is looked up in the population that rows were drawn from.
{report["pile_deployments"]:,} deployments a pile, standard error {_share(whole)},
limit {_share(pile_limit)}; worst of the product: **{_worst(report["piles"])}**.
Beside each stands a usual way of taking calibration rows from the same files, which promises
nothing.

{_piles(report["piles"], pile_limit)}

A template is one text with another number each time, half (10 %) or a fifth (30 %) of which the
student gets wrong. Copies are 30 texts, five of them always wrong; learnt by heart, what was
trained on is right, in calibration as in service. "New template half-way" names `inputs.time` and
is judged on the traffic as it is at the end; a change *after* the calibration rows breaks any
promise, and audits are there to see it. "Customers" names `inputs.group`: a tenth of them write 40
texts that are right or wrong together, one row of each counts. "Ten looks" certifies ten students
on a pile that grows by 5 % each time, and counts a deployment as broken if any look was.

## Thresholds alone

Calibration rows drawn at random from students whose truth is an integral:
{report["deployments"]:,} deployments a cell, standard error {_share(alone)}, limit {_share(limit)};
worst of the product: **{_worst(report["cells"])}**. The columns on the right promise nothing: they
are the usual ways to choose a threshold for the strict promise.

{_curves(report["cells"], limit)}

On the first three curves no coverage keeps the strict promise, and it refuses. On the shallow and
the good ranking 75 % coverage would just keep it.
"""


def _worst(rows: list[Row]) -> str:
    return _share(max(row["broken"] for row in rows if row["guaranteed"]))


def _share(value: float) -> str:
    """Show a share as statisticians write it: .043, and 0 for none."""
    return f"{value:.3f}".removeprefix("0") if 0 < value < 1 else f"{value:.0f}"


def _rates(row: Row, limit: float) -> str:
    broken = _share(row["broken"])
    shown = f"**{broken}**" if row["broken"] > limit else broken
    return f"{shown} / {row['coverage']:.2f}".replace(" / 0.", " / .")


def _piles(rows: list[Row], limit: float) -> str:
    """One line a pile: both promises of the product, then both of the usual way."""
    lines = [
        "| pile | calibration rows | system | strict | the usual way | system | strict |",
        "|---|---|---|---|---|---|---|",
    ]
    for pile in dict.fromkeys(row["pile"] for row in rows):
        mine = [row for row in rows if row["pile"] == pile]
        ours = {row["promise"]: row for row in mine if row["guaranteed"]}
        usual = {row["promise"]: row for row in mine if not row["guaranteed"]}
        cells = [_rates(ours[kind], limit) for kind in ("system", "strict")]
        way = next((row["way"] for row in usual.values()), "")
        others = [_rates(usual[kind], limit) if usual else "" for kind in ("system", "strict")]
        rows_used = f"{ours['system']['n_calibration']:.0f}"
        lines.append("| " + " | ".join([pile, rows_used, *cells, way, *others]) + " |")
    return "\n".join(lines)


def _curves(cells: list[Row], limit: float) -> str:
    """One line a curve and size, one column a procedure."""
    procedures = list(dict.fromkeys(cell["procedure"] for cell in cells))
    lines = [
        f"| true agreement | n | {' | '.join(procedures)} |",
        "|---|---|" + "---|" * len(procedures),
    ]
    found = {(cell["curve"], cell["n_calibration"], cell["procedure"]): cell for cell in cells}
    for curve, n in dict.fromkeys((cell["curve"], cell["n_calibration"]) for cell in cells):
        shown = [_rates(found[curve, n, procedure], limit) for procedure in procedures]
        lines.append(f"| {curve} | {n:,} | {' | '.join(shown)} |")
    return "\n".join(lines)
