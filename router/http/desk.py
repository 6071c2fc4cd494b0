"""Where requests get their ids, and what went wrong its words: JSON that repeats nothing sent."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
from collections.abc import Callable, Mapping

import msgspec

from router.errors import ClientGone, Refusal
from router.http.hot_route import Reply
from router.provenance import cost_words

log = logging.getLogger(__name__)
CLOSE = b"connection: close\r\n"
REQUEST_ID = re.compile(rb"[A-Za-z0-9-]{1,64}")
NATIVE = frozenset({"/v1/classify", "/v1/feedback", "/v1/systemone"})
"""Surfaces of our own among those of OpenAI."""
ErrorBody = Callable[[Refusal], bytes]


class Desk:
    """Gives requests their ids and words what went wrong.

    Args:
        turned_away: told the kind of every refusal that no task has booked.
    """

    def __init__(self, turned_away: Callable[[str], None]) -> None:
        self._turned_away = turned_away
        self._ids = map(f"{secrets.token_hex(8)}-{{:x}}".format, itertools.count())

    def request_id(self, headers: Mapping[bytes, bytes]) -> str:
        """Return the id a request brings, when it is harmless, or a new one."""
        given = headers.get(b"x-request-id")
        if given is not None and REQUEST_ID.fullmatch(given):
            return given.decode("ascii")
        return next(self._ids)

    def shut_out(self) -> None:
        """Count a connection that nobody listened to."""
        self._turned_away("too_many_connections")

    def apology(self, fault: BaseException, error_body: ErrorBody, request_id: str) -> Reply | None:
        """Count and word what went wrong; None when nobody is there to read it."""
        if isinstance(fault, ClientGone):
            return None
        if not isinstance(fault, Refusal):
            log.error(
                "a request failed in a way nobody foresaw",
                exc_info=fault,
                extra={"request_id": request_id},
            )
            fault = _UNFORESEEN
        if not fault.reason:  # those with a reason are counted where they are booked
            self._turned_away(fault.kind)
        return refused(fault, error_body)


def reply_fields(reply: Reply, request_id: str) -> bytes:
    """Return the header lines of a reply."""
    return b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b" % (
        reply.content_type,
        len(reply.body),
        request_id.encode("ascii"),
        reply.fields,
    )


def refused(refusal: Refusal, error_body: ErrorBody) -> Reply:
    """Word a refusal; when to come back and why are in the headers too."""
    fields = b""
    if refusal.retry_after_s is not None:
        fields += b"retry-after: %d\r\n" % max(1, round(refusal.retry_after_s))
    if refusal.reason:
        fields += b"x-raisehand-route: refused\r\n"
        fields += b"x-raisehand-reason: %b\r\n" % refusal.reason.encode("ascii")
    if refusal.bundle:
        fields += b"x-raisehand-bundle: %b\r\n" % refusal.bundle.encode("ascii")
        fields += b"x-raisehand-cost-usd: %b\r\n" % cost_words(refusal.usd)
    if refusal.final:
        fields += b"x-should-retry: false\r\n"
    if refusal.status == 405:
        fields += b"allow: POST\r\n"
    if refusal.status == 415:
        fields += b"accept-encoding: gzip, identity\r\n"
    return Reply(error_body(refusal), refusal.status, fields=fields)


def error_body_of(path: str) -> ErrorBody:
    """Return how a refusal is worded at a path: as OpenAI does under /v1/, but for our own."""
    openai = path.startswith("/v1/") and path not in NATIVE
    return openai_error if openai else native_error


def native_error(refusal: Refusal) -> bytes:
    """Error body of the native surfaces."""
    return msgspec.json.encode({"error": {"type": refusal.kind, "message": str(refusal)}})


def openai_error(refusal: Refusal) -> bytes:
    """Error body of the OpenAI surface."""
    code = refusal.reason or None
    return msgspec.json.encode(
        {
            "error": {
                "message": str(refusal),
                "type": refusal.kind,
                "param": None,
                "code": code,
            }
        }
    )


_UNFORESEEN = Refusal("The router failed on this request; its log says why.")
