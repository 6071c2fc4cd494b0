"""Options that several benches have: each is said once."""

from __future__ import annotations

import click

CONNECTIONS = click.option(
    "--connections", default=64, show_default=True, type=click.IntRange(1), help="Kept open."
)
CORE = click.option("--core", default=0, show_default=True, help="Core of what is measured.")
CLIENT_CORE = click.option(
    "--client-core", default=1, show_default=True, help="Core of the load and of all else."
)
