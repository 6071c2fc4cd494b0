"""Calls read where they are kept: a LiteLLM or Langfuse database, or the API of one. Only read.

Rows come as the exports have them, so that `formats` reads both.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import urlencode, urlsplit

from costmodel.extras import require
from students.errors import BadInputs

Row = dict[str, Any]

DATABASES = ("postgresql", "postgres")
APIS = ("langfuse+http", "langfuse+https", "litellm+http", "litellm+https")
KNOWN = (
    "known are postgresql://… (LiteLLM's or Langfuse's database), langfuse+https://HOST and "
    "litellm+https://HOST"
)
AT_ONCE = 1_000
"""Rows fetched together from a database."""
_PAGE = 100
_ATTEMPTS, _TIMEOUT_S = 5, 60.0
_MOST_WAIT_S = 60.0
_DETAILS_AT_ONCE = 8
_TO_THE_SECOND = "%Y-%m-%d %H:%M:%S"
_TABLES = {
    "LiteLLM_SpendLogs": (
        "startTime",
        "request_id call_type spend prompt_tokens completion_tokens model api_base cache_hit "
        "status messages response proxy_server_request",
    ),
    "observations": (
        "start_time",
        "id trace_id type level input output model prompt_tokens completion_tokens "
        "calculated_total_cost",
    ),
}
"""Time and other columns of the tables that are known; the first that is there is read."""


def is_url(name: str) -> bool:
    """Whether logs are to be read from somewhere else than a file."""
    return "://" in name


def read_url(url: str, since: datetime) -> Iterator[Row]:
    """Yield the calls that a database or an API has of `since` and later, in order of time.

    Raises:
        BadInputs: it is of no known kind, cannot be reached, refuses, or holds no such table.
        NotInstalled: a database needs an extra that is not there.
    """
    scheme = urlsplit(url).scheme
    if scheme in DATABASES:
        yield from _database(url, since)
    elif scheme in APIS:
        kind, _, plain = scheme.partition("+")
        api = _Api(f"{plain}{url[len(scheme) :]}", kind)
        yield from (_langfuse if kind == "langfuse" else _litellm)(api, since)
    else:
        raise BadInputs(f"{_shown(url)} is of no known kind; {KNOWN}")


def _shown(url: str) -> str:
    """A URL without what it may hold of a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _database(url: str, since: datetime) -> Iterator[Row]:
    """Rows of the one table that is known, in a transaction that cannot write."""
    require("postgres")
    import psycopg
    from psycopg import sql
    from psycopg.rows import dict_row

    try:
        with psycopg.connect(url, row_factory=dict_row) as connection:
            connection.read_only = True
            there = {
                row["name"]: row["columns"]
                for row in connection.execute(
                    "SELECT table_name AS name, array_agg(column_name::text) AS columns "
                    "FROM information_schema.columns "
                    "WHERE table_schema = ANY (current_schemas(false)) GROUP BY table_name"
                )
            }
            name = next((table for table in _TABLES if table in there), None)
            if name is None:
                raise BadInputs(
                    f"{_shown(url)} has none of the tables {', '.join(_TABLES)}; {KNOWN}"
                )
            at, others = _TABLES[name]
            wanted = [at, *(one for one in others.split() if one in there[name])]
            query = sql.SQL("SELECT {0} FROM {1} WHERE {2} >= %s ORDER BY {2}").format(
                sql.SQL(", ").join(map(sql.Identifier, wanted)),
                sql.Identifier(name),
                sql.Identifier(at),
            )
            with connection.cursor("calls") as cursor:
                cursor.itersize = AT_ONCE
                # Both kinds write UTC into columns without a zone.
                cursor.execute(query, (since.astimezone(UTC).replace(tzinfo=None),))
                for row in cursor:
                    yield _exported(row)
    except psycopg.Error as error:
        raise BadInputs(f"{_shown(url)} cannot be read: {' '.join(str(error).split())}") from None


def _exported(row: Row) -> Row:
    """A row of a database as an export has it: times as text, Langfuse's tokens as its usage."""
    found = {
        name: value.replace(tzinfo=UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }
    if "calculated_total_cost" in found:
        found["total_cost"] = found.pop("calculated_total_cost")
        found["usage"] = {
            name: found.pop(name, 0) for name in ("prompt_tokens", "completion_tokens")
        }
    return found


class _Api:
    """An API that is only read. Raises BadInputs where it cannot be."""

    def __init__(self, base: str, kind: str) -> None:
        self.base = base.rstrip("/")
        if kind == "langfuse":
            pair = f"{_secret('LANGFUSE_PUBLIC_KEY')}:{_secret('LANGFUSE_SECRET_KEY')}"
            said = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            said = f"Bearer {_secret('LITELLM_API_KEY')}"
        self._headers = {"authorization": said, "accept": "application/json"}

    def get(self, path: str, query: Mapping[str, object]) -> Row | None:
        """Ask; wait where too much was asked, and again where the server fails. None: a 404."""
        request = urllib.request.Request(
            f"{self.base}{path}?{urlencode(query)}", headers=self._headers
        )
        said = ""
        for attempt in range(_ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                    return self._content(answer.read())
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                said = f"{error.code} {error.reason}"
                if error.code != 429 and error.code < 500:
                    break
                asked = error.headers.get("retry-after") or ""
                wait = float(asked) if asked.isdigit() else 2.0**attempt
            except OSError as error:
                said, wait = str(error), 2.0**attempt
            if attempt + 1 < _ATTEMPTS:
                time.sleep(min(wait, _MOST_WAIT_S))
        raise BadInputs(f"{self.base} cannot be read: {said}; check the address and the key")

    def page(self, path: str, query: Mapping[str, object]) -> Row | None:
        """Ask for rows, under `data`. None: there is no such path."""
        found = self.get(path, query)
        if found is not None and not isinstance(found.get("data"), list):
            raise self._other()
        return found

    def _content(self, body: bytes) -> Row:
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._other()
        return found

    def _other(self) -> BadInputs:
        return BadInputs(f"{self.base} does not answer as this API does; check the address")


def _secret(name: str) -> str:
    found = os.environ.get(name)
    if not found:
        raise BadInputs(f"{name} is not set; its value may read the calls")
    return found


def _langfuse(api: _Api, since: datetime) -> Iterator[Row]:
    """Generations, by the cursor of version 2 of the API, or by the pages of version 1."""
    query: Row = {"type": "GENERATION", "fromStartTime": since.isoformat()}
    new = query | {"limit": AT_ONCE, "fields": "core,basic,time,io,model,usage,metrics"}
    found = api.page("/api/public/v2/observations", new)
    if found is None:
        query["limit"] = _PAGE
        yield from _pages(api, ["/api/public/observations"], query, ("meta", "totalPages"))
        return
    yield from found["data"]
    while cursor := (found.get("meta") or {}).get("cursor"):
        found = api.page("/api/public/v2/observations", new | {"cursor": cursor}) or {"data": []}
        yield from found["data"]


def _litellm(api: _Api, since: datetime) -> Iterator[Row]:
    """Spend logs page by page; a list leaves prompts out, so each row is asked for its own."""
    first = f"{since.astimezone(UTC):{_TO_THE_SECOND}}"
    query: Row = {
        "start_date": first,
        "end_date": f"{datetime.now(UTC):{_TO_THE_SECOND}}",
        "page_size": _PAGE,
        "sort_by": "startTime",
        "sort_order": "asc",
    }
    rows = _pages(api, ["/spend/logs/v2", "/spend/logs/ui"], query, ("total_pages",))
    with ThreadPoolExecutor(_DETAILS_AT_ONCE) as pool:
        while some := list(islice(rows, _PAGE)):
            yield from pool.map(partial(_with_words, api, first), some)


def _pages(api: _Api, paths: Sequence[str], query: Row, total: Sequence[str]) -> Iterator[Row]:
    """Rows of every page, of the first path that there is; `total` says where their number is."""
    for path in paths:
        found, page = api.page(path, query | {"page": 1}), 1
        while found is not None:
            yield from found["data"]
            last: Any = found
            for name in total:
                last = (last or {}).get(name)
            if page >= int(last or 0):
                return
            page += 1
            found = api.page(path, query | {"page": page})
    raise BadInputs(f"{api.base} has none of {', '.join(paths)}; check the address")


def _with_words(api: _Api, since: str, row: Row) -> Row:
    if row.get("messages") or row.get("proxy_server_request"):
        return row
    return row | (api.get(f"/spend/logs/ui/{row['request_id']}", {"start_date": since}) or {})
