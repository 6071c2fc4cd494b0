"""The address of a database: checked before it is used, shown without its password."""

from __future__ import annotations

from costmodel.extras import require
from costmodel.inputs.ledger.database import is_database
from router.errors import BadDatabase


def check_url(url: str) -> None:
    """Check the form of an address.

    Raises:
        BadDatabase: it is not one of PostgreSQL's.
        NotInstalled: the extra that speaks to it is missing.
    """
    if not is_database(url):
        raise BadDatabase(
            "a database is named as postgresql://user:password@host:5432/name; found another form"
        )
    _parse(url)


def shown(url: str) -> str:
    """Name a database without its password, for messages."""
    parts = _parse(url)
    host = parts.get("host") or parts.get("hostaddr") or "the local socket"
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"{host}{port}/{parts.get('dbname', '')}"


def password_of(url: str) -> str:
    """Return the password in an address, empty where there is none: the logs leave it out."""
    return str(_parse(url).get("password") or "")


def _parse(url: str) -> dict[str, str]:
    require("postgres")
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except ProgrammingError:  # its text may hold the password
        raise BadDatabase(
            "the database's address cannot be read; give postgresql://user:password@host:5432/name "
            "and write special characters of the password as %XX"
        ) from None
