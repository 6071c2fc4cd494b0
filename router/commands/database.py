"""`raisehand database`: the tables that several hosts share."""

from __future__ import annotations

import click

from router.database.connection import reading
from router.database.migrate import is_behind, newest, version_of
from router.database.migrate import migrate as bring_up
from router.database.url import shown
from router.errors import BadDatabase
from router.ledger.shipping.days import wrong_days

URL = "RAISEHAND_DATABASE_URL"


_url = click.argument("url", envvar=URL, metavar=f"[{URL}]")


@click.group(epilog="Example: raisehand database migrate postgresql://user@host/name")
def database() -> None:
    """Look after the PostgreSQL that RAISEHAND_DATABASE_URL names.

    An address given on the command line is seen by everybody on this machine; prefer the variable.
    """


@database.command(epilog="Example: raisehand database migrate")
@_url
def migrate(url: str) -> None:
    """Make the tables, or bring them up to this version; run it before the routers are upgraded.

    Routers of the version before go on: a step only adds.
    """
    before, after = bring_up(url)
    done = "has this version already" if before == after else f"was {before or 'empty'}"
    click.echo(f"{shown(url)}: {done}; its tables are {after}.")


@database.command(epilog="Example: raisehand database check --books")
@_url
@click.option("--books", is_flag=True, help="Add up every day's rows and compare with its sums.")
def check(url: str, books: bool) -> None:
    """Say whether the tables are there; exit code 2 when they are not or the database is away.

    With --books, every row of the ledger is read: of ten million some seconds.
    """
    with reading(url, "check") as connection:
        version = version_of(connection)
        if is_behind(version):
            raise BadDatabase(
                f"the tables of {shown(url)} are {version or 'missing'}, this version needs "
                f"{newest()}; run `raisehand database migrate`"
            )
        wrong = wrong_days(connection) if books else []
    if wrong:
        raise BadDatabase(
            f"rows and sums of {', '.join(map(str, wrong))} differ: somebody changed one of them; "
            "correct raisehand.ledger_sums from the rows of raisehand.decisions"
        )
    click.echo(
        f"{shown(url)}: its tables are {version}, as this version needs"
        + ("; rows and sums of every day agree." if books else ".")
    )
