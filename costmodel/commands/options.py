"""Options that several questions have: each is said once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click


class Number(click.FloatRange):
    """A number within a range: a range alone lets nan through, which nothing is above or below."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Refuse what is no finite number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


FILE = click.Path(path_type=Path)

PRICES = click.option("--prices", type=FILE, help="Prices of one's own: agreements, currency, tax.")
SEED = click.option("--seed", default=0, show_default=True, help="Of every random draw.")
SEEDS = click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Runs with other draws: their spread is the interval.",
)
WORKERS = click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
MARKDOWN = click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
