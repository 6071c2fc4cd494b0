"""What `raisehand label` says in the end: a table of the labels, their price and their doubts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from students.label.labelling import Labelling
    from students.label.record import LabellingRecord
    from students.task import Task


def print_labels(task: Task, record: LabellingRecord, labelling: Labelling) -> None:
    """Print the record of a labelling for people, and what comes next."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Labels of {task.name} by {record.teacher.model}", show_header=False)
    for name, value in _lines(record, labelling):
        table.add_row(name, value)
    Console().print(table)
    click.echo(f"Wrote {task.work_dir / 'labels.npz'} and labels.json. Next: raisehand distill")


def _lines(record: LabellingRecord, labelling: Labelling) -> Iterator[tuple[str, str]]:
    from students.label.summary import by_size, rare

    yield "labelled", f"{record.n:,} ({record.asked:,} asked now, {record.cached:,} known)"
    yield "answers", by_size(record.answers)
    if few := rare(record.answers):
        yield "hardly any answer", few
    if record.unusable:
        yield "without a usable answer", _unusable(record, labelling)
    if labelling.left:
        shown = ", ".join(repr(_short(labelling, i)) for i in labelling.left[:3])
        yield "never answered", shown + (", …" if len(labelling.left) > 3 else "")
    yield "cost in all", f"${record.usd:.4f} at {record.price}"
    if record.estimated:
        yield "billed by estimate", f"{record.estimated:,} answers did not say what they consumed"
    if record.unconfirmed_usd:
        yield "possibly billed beyond that", f"at most ${record.unconfirmed_usd:.4f}"
    yield "tokens", f"{record.usage.input_tokens:,} in, {record.usage.output_tokens:,} out"
    again = record.self_agreement
    if again.n:
        yield "self-agreement", f"{again.agreed / again.n:.1%} of {again.n} asked twice"
    if record.order_agreement is not None:
        turned = record.order_agreement
        kept = f"{turned.agreed / turned.n:.1%} of {turned.n}" if turned.n else "none asked"
        yield "same label with the options reversed", kept
    most = max(record.label_mass) or 1
    bars = "".join("▁▂▃▄▅▆▇█"[-(-7 * count // most)] for count in record.label_mass)
    yield "label mass, from 0 to 1", f"{bars} ({record.label_mass[-1] / record.n:.0%} above 0.9)"
    yield "a label missing from the top-k", f"{record.truncated:,}"
    if record.gold is not None:
        yield "accuracy on gold", f"{record.gold.agreed / record.gold.n:.1%} of {record.gold.n:,}"
    yield "splits", ", ".join(f"{name} {len(rows):,}" for name, rows in record.splits.items())


def _short(labelling: Labelling, row: int) -> str:
    """A text that is named on the screen, cut."""
    text = labelling.labelled.texts[labelling.rows.searchsorted(row)]
    return text if len(text) <= 60 else text[:59] + "…"


def _unusable(record: LabellingRecord, labelling: Labelling) -> str:
    """Say how many answers mean no label, and why: nothing is learnt from them."""
    kinds = (
        (record.unsure, "no label on top"),
        (record.refused, "refused by the teacher"),
        (record.rejected, f"turned away or never answered, first: {labelling.rejection}"),
    )
    parts = [f"{count:,} {why}" for count, why in kinds if count]
    return f"{record.unusable:,} of {record.n:,}: {'; '.join(parts)}"
