"""What the router says no with.

RouterError
├── BadSettings         a setting or a file that stops the start; names it and what is allowed
├── BadLedger           a ledger file that cannot be used
├── BadDatabase         a database that cannot be used; names it without its password
└── Refusal             one request is turned away: `status`, `kind` and `retry_after_s` say how
    ├── BadRequest      400  the body is not what the surface takes
    ├── Unauthorized    401  no API key, or one that is not known
    ├── Forbidden       403  the API key may not ask this
    ├── UnknownModel    404  no task and no teacher of that name
    ├── WrongMethod     405  the path takes POST
    ├── Conflict        409  the router's state does not allow it now (admin)
    ├── BodyTooLarge    413  more bytes than allowed
    ├── SlowBody        408  the body did not arrive in time
    ├── UnknownEncoding 415  a Content-Encoding that this server does not decode
    ├── HeadTooLarge    431  more header bytes than allowed
    ├── UnknownCoding   501  a Transfer-Encoding that this server does not know
    ├── UnknownVersion  505  a major version of HTTP that this server does not speak
    ├── OverQuota       429  the API key's own rate or budget is used up
    ├── Overloaded      429  the queue is full; come back in a moment
    ├── ClientGone      499  the client hung up before there was an answer
    ├── Unavailable     503  nobody could answer, or the router is draining
    └── DeadlinePassed  504  there was no time left
"""

from __future__ import annotations

from decimal import Decimal


class RouterError(Exception):
    """Base of every error this package raises on purpose; the message says what to do."""

    exit_code = 2


class BadSettings(RouterError):
    """The router cannot start like this."""


class BadLedger(RouterError):
    """The ledger file cannot be used."""


class BadDatabase(RouterError):
    """The database cannot be used."""


class Refusal(RouterError):
    """A request that gets no answer.

    `kind` is the machine-readable type in the error body; the message never repeats user input.
    """

    status = 500
    kind = "internal_error"
    retry_after_s: float | None = None
    reason: str = ""
    """Why, in the words of `router.policy.Reason`, where the pipeline refused."""
    final = False
    """Asking again would cost again and not help: clients that retry by themselves are told so."""
    bundle: str = ""
    usd: Decimal | None = Decimal(0)
    """Whose threshold decided and what was paid all the same, where the pipeline refused."""


class BadRequest(Refusal):
    """The body is not what the surface takes."""

    status = 400
    kind = "invalid_request_error"


class Unauthorized(Refusal):
    """No API key, or one that is not known; the words do not say which."""

    status = 401
    kind = "authentication_error"


class Forbidden(Refusal):
    """The API key is known and may not ask this."""

    status = 403
    kind = "permission_error"


class UnknownEncoding(Refusal):
    """A Content-Encoding that this server does not decode."""

    status = 415
    kind = "invalid_request_error"


class HeadTooLarge(Refusal):
    """More header bytes than allowed."""

    status = 431
    kind = "request_too_large"


class UnknownCoding(Refusal):
    """A Transfer-Encoding that this server does not know."""

    status = 501
    kind = "invalid_request_error"


class UnknownVersion(Refusal):
    """A major version of HTTP that this server does not speak."""

    status = 505
    kind = "invalid_request_error"


class OverQuota(Refusal):
    """The API key's own limit is reached."""

    status = 429
    kind = "rate_limit_error"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnknownModel(Refusal):
    """No task and no teacher of that name."""

    status = 404
    kind = "not_found_error"


class WrongMethod(Refusal):
    """The path takes another method."""

    status = 405
    kind = "method_not_allowed"


class Conflict(Refusal):
    """What an operator asked for cannot be done to this router now."""

    status = 409
    kind = "conflict"


class BodyTooLarge(Refusal):
    """More bytes than allowed."""

    status = 413
    kind = "request_too_large"


class SlowBody(Refusal):
    """The body did not arrive in time."""

    status = 408
    kind = "request_timeout"


class Overloaded(Refusal):
    """The queue is full."""

    status = 429
    kind = "overloaded_error"
    retry_after_s = 1.0


class ClientGone(Refusal):
    """The client hung up: nobody is left to answer."""

    status = 499
    kind = "client_closed_request"


class Unavailable(Refusal):
    """Nobody can answer now."""

    status = 503
    kind = "unavailable_error"
    retry_after_s = 1.0


class DeadlinePassed(Refusal):
    """There was no time left."""

    status = 504
    kind = "deadline_exceeded"
