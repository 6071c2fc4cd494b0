"""The HTTP client of every remote teacher: one POST in, JSON or a named error out. No retries."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from costmodel.money.pricing import NO_USAGE, TokenUsage
from students.errors import (
    BadTask,
    TeacherDenied,
    TeacherError,
    TeacherGarbled,
    TeacherRefused,
    TeacherRejected,
    TeacherStillAnswering,
    TeacherThrottled,
    TeacherTimeout,
    TeacherUnavailable,
)
from students.sections import TeacherSection
from students.teachers.idempotency import KEYS

MAX_REPLY_BYTES = 16 * 2**20
MAX_FILE_BYTES = 1 << 30
FILE_TIMEOUT_S = 600.0
_SHOWN = 300
_SEARCHED = 4096
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
"""No proxy reaches it."""
_OF_A_TEXT = (400, 413, 422, 451)
"""Statuses that may say something of the text; every other 4xx is of the account or the route."""
_FLAGGED = (b"content_filter", b"content_policy", b"moderation", b"input was flagged")
_NO_ACCOUNT = (
    b"insufficient_quota", b"insufficient balance", b"insufficient_balance", b"credit balance is",
    b"billing_hard_limit", b"billing_not_active", b"invalid_api_key", b"api_key_invalid",
    b"api key not valid", b"account_deactivated", b"model_not_found",
)  # fmt: skip
"""What no waiting and no other text cures, whatever status it comes with."""
_NO_QUOTA = b"exceeded your current quota"
"""For good, unless the server says when to come back (Gemini says this of a minute's quota)."""


_PARAMETER = re.compile(
    rb"unsupported[ _](parameter|value)|unknown (name|parameter|field)|unrecognized|extra_forbidden"
    rb"|logprobs? (is|are) not|does not support|not supported"
)
_TAKE_OUT = (
    "if that is a field of the request, take it out with null in teacher.extra_body, e.g. "
    "{temperature: null} or {max_tokens: null, max_completion_tokens: 16}; a model without "
    "log-probabilities is asked in teacher.mode: text"
)


def server_url(section: TeacherSection, path: str) -> str:
    """Address of a route beside the OpenAI surface, e.g. vLLM's `/classify`."""
    base = urlsplit(str(section.base_url))
    return _at(base, base.path.rstrip("/").removesuffix("/v1") + path)


def openai_url(section: TeacherSection, path: str) -> str:
    """Address of an OpenAI route; `/v1` is added to a base URL that has no path of its own."""
    base = urlsplit(str(section.base_url))
    return _at(base, (base.path.rstrip("/") or "/v1") + path)


def _at(base: SplitResult, path: str) -> str:
    """Another path at the same place; a query stays behind it (Azure's api-version)."""
    return urlunsplit(base._replace(path=path, fragment=""))


def api_headers(section: TeacherSection) -> dict[str, str]:
    """The header that authenticates, if any.

    Raises:
        BadTask: the environment variable that should hold the key is not set.
    """
    if section.api_key_env is None:
        return {}
    key = os.environ.get(section.api_key_env, "")
    if not key:
        raise BadTask(
            f"teacher.api_key_env names {section.api_key_env}, which is not set; export it first"
        )
    name = section.api_key_header
    return {name: f"Bearer {key}" if name.lower() == "authorization" else key}


def open_session(section: TeacherSection, **options: Any) -> aiohttp.ClientSession:
    """Open a connection pool to a teacher, whoever asks it and however.

    Raises:
        BadTask: the environment names a proxy that is none.
    """
    # Callers cap their own concurrency; a second, hidden cap here would only add waiting.
    # Idle connections go before uvicorn's 5 seconds are over, or a question could be sent
    # into one that the server is just closing.
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=4)
    proxy = proxy_of(str(section.base_url))
    return aiohttp.ClientSession(connector=connector, proxy=proxy, **options)


def proxy_of(url: str) -> str | None:
    """Return the proxy, HTTPS_PROXY or HTTP_PROXY, through which an address is reached, if any.

    aiohttp can read it by itself (`trust_env`), and does more: for every request it reads the
    environment and ~/.netrc, on two threads, and what it finds there for a host or as `default`
    is sent to it, or fails a request that has a key. Keys are headers of requests and not of a
    session: a session's go to the proxy, too.

    Raises:
        BadTask: the environment's proxy is no address.
    """
    parts = urlsplit(url)
    found = getproxies().get(parts.scheme)
    host = parts.netloc.rpartition("@")[2]
    if not found or parts.hostname in _THIS_MACHINE or proxy_bypass(host):
        return None
    proxy = found if "://" in found else f"http://{found}"
    try:
        if urlsplit(proxy).hostname and urlsplit(proxy).port != 0:
            return proxy
    except ValueError:
        pass
    raise BadTask(f"{parts.scheme.upper()}_PROXY in the environment is no address")


_NO_KEY: Mapping[str, str] = {}
MAX_NAME_CHARS = 200
"""Of a model's name that a server gives itself; no supplier's is half as long."""
TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")
"""Goes with every request of this context, where it is set: see W3C Trace Context."""


ANSWERED_AS: ContextVar[list[str] | None] = ContextVar("answered_as", default=None)
"""Collects, where somebody put a list there, the models that answers say they are of."""


class TeacherClient:
    """A connection pool to one teacher, opened by the first call in the running loop."""

    def __init__(self, section: TeacherSection) -> None:
        self._section = section
        self._headers = {**section.headers, **api_headers(section)}
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: Any, timeout_s: float | None = None) -> dict[str, Any]:
        """Send JSON and return the JSON object of a 200.

        Raises:
            TeacherUnavailable, TeacherThrottled, TeacherRejected, TeacherGarbled.
        """
        keys, header = KEYS.get(), self._section.idempotency_header
        key = {header: keys.key(url, json.dumps(body).encode())} if keys and header else {}
        answer = _object(url, await self._send("POST", url, timeout_s, key, json=body))
        names, model = ANSWERED_AS.get(), answer.get("model")
        if names is not None and isinstance(model, str):
            names.append(model[:MAX_NAME_CHARS])
        return answer

    async def get(self, url: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Fetch a JSON object; same errors as `post`."""
        return _object(url, await self._send("GET", url, timeout_s))

    async def upload(self, url: str, name: str, content: bytes, **fields: str) -> dict[str, Any]:
        """Send a file with further fields of a form, and return the JSON object that came back."""
        form = aiohttp.FormData()
        for field, value in fields.items():
            form.add_field(field, value)
        form.add_field("file", content, filename=name, content_type="application/jsonl")
        return _object(url, await self._send("POST", url, FILE_TIMEOUT_S, data=form))

    async def download(self, url: str) -> bytes:
        """Fetch a file as it is."""
        return await self._send("GET", url, FILE_TIMEOUT_S, most=MAX_FILE_BYTES)

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(
        self,
        method: str,
        url: str,
        timeout_s: float | None,
        key: Mapping[str, str] = _NO_KEY,
        *,
        most: int = MAX_REPLY_BYTES,
        **sent: Any,
    ) -> bytes:
        limit = self._section.timeout_s if timeout_s is None else timeout_s
        trace = TRACEPARENT.get()
        heads = {**self._headers, **key, **({"traceparent": trace} if trace else {})}
        try:
            async with (
                asyncio.timeout(limit),
                self._open().request(
                    method, url, headers=heads, allow_redirects=False, **sent
                ) as response,
            ):
                parts, size = [], 0
                while size <= most and (part := await response.content.read(most + 1)):
                    parts.append(part)
                    size += len(part)
                content = b"".join(parts)
                status, headers = response.status, response.headers
        except TimeoutError:
            raise TeacherTimeout(f"{url} did not answer within {limit:g} s") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise TeacherDenied(f"{url} is not an address; check teacher.base_url") from None
        except (aiohttp.ClientError, OSError) as error:
            never_sent = isinstance(error, aiohttp.ClientConnectorError)
            raise TeacherUnavailable(
                f"{url} cannot be reached ({error or type(error).__name__}); is it running?",
                usage=NO_USAGE if never_sent else None,
            ) from None
        if status == 409 and key:
            raise TeacherStillAnswering(f"{url} answered 409: {_words(content)}")
        if status != 200:
            raise refusal_of(url, status, content, headers.get("Retry-After"))
        if len(content) > most:
            raise TeacherGarbled(f"{url} answered more than {most >> 20} MB")
        return content

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(self._section, timeout=aiohttp.ClientTimeout(total=None))
        return self._session


@contextmanager
def billed(usage: TokenUsage) -> Iterator[None]:
    """Put the usage of a 200 on whatever error its content raises: it was served, so it is paid."""
    try:
        yield
    except TeacherError as error:
        error.usage = usage
        raise


def retry_after_s(header: str | None, now: datetime | None = None) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date; None if absent or unreadable."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def refusal_of(
    url: str, status: int, content: bytes, retry_after: str | None
) -> TeacherUnavailable | TeacherThrottled | TeacherRejected:
    """Return the error that a status other than 200 stands for."""
    said = f"{url} answered {status}: {_words(content)}"
    if status in (400, 422) and _PARAMETER.search(content[:_SEARCHED].lower()):
        said += f"; {_TAKE_OUT}"
    words = content[:_SEARCHED].lower()
    if status in (*_OF_A_TEXT, 403) and any(word in words for word in _FLAGGED):
        return TeacherRefused(said)
    later = retry_after is not None or b"retrydelay" in words
    if 400 <= status < 500 and (
        any(word in words for word in _NO_ACCOUNT) or (_NO_QUOTA in words and not later)
    ):
        return TeacherDenied(said)
    if status == 429:
        return TeacherThrottled(said, retry_after_s(retry_after))
    if (status >= 500 and status != 501) or status == 408:
        failed = TeacherUnavailable(said, usage=NO_USAGE)
        failed.kept = status == 500  # what stands between says 502 to 504, and keeps nothing
        return failed
    return TeacherRejected(said) if status in _OF_A_TEXT else TeacherDenied(said)


def _words(content: bytes) -> str:
    """What the server said, whether in OpenAI's error shape, FastAPI's or as text."""
    try:
        body = json.loads(content)
    except ValueError:
        return content[:_SHOWN].decode("utf-8", "replace").strip() or "nothing"
    if isinstance(body, list) and len(body) == 1:
        body = body[0]  # Gemini's way
    if isinstance(body, dict):
        error = body.get("error", body)
        if isinstance(error, dict):
            error = error.get("message") or error.get("detail") or error
        return str(error)[:_SHOWN]
    return str(body)[:_SHOWN]


def _object(url: str, content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        raise TeacherGarbled(
            f"{url} answered 200 with something that is not JSON: {_words(content)}"
        ) from None
    if not isinstance(body, dict):
        raise TeacherGarbled(f"{url} answered a JSON {type(body).__name__}, not an object")
    return body
