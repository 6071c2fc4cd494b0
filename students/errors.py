"""What can go wrong between a teacher and a student.

StudentsError
├── BadTask             a task file that names the field, what was found and what is allowed
├── BadInputs           an inputs file that cannot be read or labelled
├── UnknownLabel        a label that is not in the task
├── BadBundle           a bundle that is missing, altered or of another format
├── BudgetReached       labelling would cost more than was allowed
├── NotCertifiable      no threshold keeps the promise; says the feasible best
├── SavesNothing        certified, and it keeps too little to save anything
└── TeacherError        the teacher did not answer the question
    ├── TeacherUnavailable   no connection, time-out, 5xx: asking again may help
    │   ├── TeacherTimeout   it did not answer in time; the call may have been billed
    │   └── TeacherStillAnswering   409: the same call, sent before, has not ended yet
    ├── TeacherThrottled     429; carries retry_after seconds when the teacher said so
    ├── TeacherRejected      4xx: asking again will not help
    │   ├── TeacherRefused   a content filter: this text will not be answered
    │   └── TeacherDenied    key, permission, money, model or address: no text will be answered
    └── TeacherGarbled       a reply that is not in the contract
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from costmodel.money.pricing import NO_USAGE, TokenUsage

if TYPE_CHECKING:
    from students.certificate import NoCertificate


class StudentsError(Exception):
    """Base of every error this package raises on purpose; the message says what to do."""

    exit_code = 2


class BadTask(StudentsError):
    """The task file is wrong."""


class BadInputs(StudentsError):
    """The inputs cannot be used."""


class UnknownLabel(StudentsError):
    """A label that the task does not have."""


class BadBundle(StudentsError):
    """The bundle cannot be trusted."""


class BudgetReached(StudentsError):
    """The next question could cost more than the caller allowed."""

    exit_code = 4


class NotCertifiable(StudentsError):
    """No threshold keeps the promise on these calibration rows.

    `refusal` carries the feasible best as fields, for JSON.
    """

    exit_code = 3

    def __init__(self, message: str, refusal: NoCertificate | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal


class SavesNothing(StudentsError):
    """The bundle is certified, but serving it would cost as much as asking the teacher."""

    exit_code = 5


class TeacherError(StudentsError):
    """The teacher did not answer. `reason` is also the metric label.

    `usage` is what the failed call consumed: NO_USAGE when it surely was not served (refused
    connection, 429, 4xx), the teacher's own count when it said one, None when nobody knows (sent,
    and the reply was lost or unreadable), so that the ledger books an estimate.
    """

    reason = "teacher_error"
    usage: TokenUsage | None = None
    kept = False
    """Whether the teacher may repeat this failure for as long as it is asked under the same key."""

    def __init__(self, message: str, *, usage: TokenUsage | None = None) -> None:
        super().__init__(message)
        if usage is not None:
            self.usage = usage


class TeacherUnavailable(TeacherError):
    """No connection, a time-out or a 5xx."""

    reason = "teacher_unavailable"


class TeacherTimeout(TeacherUnavailable):
    """No answer in time."""

    reason = "teacher_timeout"


class TeacherStillAnswering(TeacherUnavailable):
    """An attempt before this one, under the same idempotency key, is not answered yet."""


class TeacherThrottled(TeacherError):
    """The teacher said 429."""

    reason = "teacher_throttled"
    usage = NO_USAGE

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TeacherRejected(TeacherError):
    """The teacher refused the request: asking again will not help."""

    reason = "teacher_rejected"
    usage = NO_USAGE


class TeacherRefused(TeacherRejected):
    """The provider's filter would not let the teacher see this text."""

    reason = "teacher_refused"


class TeacherDenied(TeacherRejected):
    """The account or the address is refused, whatever the text: 401, 402, 403, 404, no quota."""


class TeacherGarbled(TeacherError):
    """The teacher's reply is not in the contract."""

    reason = "teacher_garbled"
