"""Which version the database's tables have, and how they are brought up to this one's."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from router.database.connection import connect, reading

if TYPE_CHECKING:
    from alembic.config import Config
    from psycopg import Connection

SCHEMA = "raisehand"
VERSIONS = "schema_version"


def migrate(url: str) -> tuple[str | None, str]:
    """Bring the tables up to this version; return the versions before and after.

    Raises:
        BadDatabase: it is away or refuses.
    """
    from alembic import command
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    config = _config()
    with reading(url, "migrate") as connection:
        before = version_of(connection)
        # alembic's connection is one of ours: it reaches whatever `psycopg.connect` reaches
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect(url, "migrate", autocommit=False),
            poolclass=NullPool,
        )
        with engine.connect() as other:
            config.attributes["connection"] = other
            command.upgrade(config, "head")
            other.commit()
        after = version_of(connection)
    assert after is not None, "alembic has just written it"
    return before, after


def version_of(connection: Connection) -> str | None:
    """Return the version of the tables there are; None where there are none."""
    table = f"{SCHEMA}.{VERSIONS}"
    found = connection.execute("select to_regclass(%s)", (table,)).fetchone()
    if found is None or found[0] is None:
        return None
    row = connection.execute(f"select version_num from {SCHEMA}.{VERSIONS}").fetchone()
    return None if row is None else str(row[0])


def is_behind(version: str | None) -> bool:
    """Tell whether tables of that version lack something that this version of raisehand needs.

    A version that is not known was made by a newer raisehand, and newer ones only add.
    """
    return version != newest() and (version is None or version in _known())


@cache
def newest() -> str:
    """Return the version that this raisehand makes."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "there is a first step"
    return head


@cache
def _known() -> frozenset[str]:
    from alembic.script import ScriptDirectory

    return frozenset(s.revision for s in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "router.database:migrations")
    config.set_main_option("path_separator", "os")
    return config
