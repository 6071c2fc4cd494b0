"""API keys: who may ask, how fast and for how much. The file holds hashes, never a key.

A key is 32 random bytes, so that a plain SHA-256 cannot be searched; a slow password hash would
only cost the hot path. The hash of a presented key is looked up in a dictionary: the time that
takes tells something of the hash at most, which nobody can turn into a key.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from costmodel.fields import Share
from costmodel.frozen import Frozen
from costmodel.units import DAY_S
from router.clock import Clock
from router.errors import BadSettings, Forbidden, OverQuota, Unauthorized
from router.keys.day_budget import DayBudget, DayBudgets, OwnDay
from router.teacher.token_bucket import TokenBucket

PREFIX = "rh-"
SECRET_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})
"""Where a key may be; taken off a request as soon as it was looked at."""
SCOPE_KEY = "raisehand.key"
"""Where in an ASGI scope the gate leaves the `Key` for those behind it."""
BURST_S = 1.0
_LEARNING_RATE = 0.05
_UNKNOWN = "The API key is missing or not known; send `Authorization: Bearer <key>`."


class KeySpec(Frozen):
    """One key as its file holds it; what is not given is not limited.

    With n worker processes each keeps an n-th of the rates; dollars are shared.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    max_usd_per_day: Annotated[Decimal, Field(ge=0)] | None = None
    """Student and teacher together, by the UTC day; the request that crosses it is answered."""
    priority: int = Field(default=0, ge=0, le=9)
    """0 is served first when the teacher has more callers than slots."""
    teacher_calls_per_second: Annotated[float, Field(gt=0)] | None = None
    """Escalations and calls passed on; beyond it the student answers, marked degraded."""
    max_threshold: Share | None = None
    """How much certainty a request may ask for; 0: no more than the certificate's."""
    student_only: bool = True
    """Whether it may ask the student alone, past certificate and audit."""
    reviewer: bool = False
    """Whether its feedback counts for the answers that other keys got, too."""


class KeyFile(Frozen):
    """The file of keys."""

    keys: tuple[KeySpec, ...]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            if len(set(values)) != len(values):
                raise ValueError(f"two keys have the same {field}; each must be different")
        return self


class Key:
    """One key at work: its limits and what it has used of them."""

    def __init__(
        self, spec: KeySpec, clock: Clock, wall: Clock, day: DayBudget | None = None
    ) -> None:
        self.name = spec.name
        self.priority = spec.priority
        self.student_only = spec.student_only
        self.reviewer = spec.reviewer
        self.day = day or OwnDay(wall)
        self.day.limit = spec.max_usd_per_day
        self._clock = clock
        self._wall = wall
        self._max_threshold = spec.max_threshold
        self._bucket = _bucket(spec.requests_per_second, clock())
        self._teacher = _bucket(spec.teacher_calls_per_second, clock())
        self.asking = 0
        """Calls to the teacher that are not booked yet."""
        self._usual_usd = 0.0

    def admit(self) -> None:
        """Count one request against the limits.

        Raises:
            OverQuota: with the seconds until asking again makes sense.
        """
        now = self._clock()
        if self._bucket.level(now) < 1.0:
            wait_s = self._bucket.seconds_until(1.0, now)
            raise OverQuota("This API key asks too often; wait as Retry-After says.", wait_s)
        if self.day.used_up:
            raise OverQuota(
                "This API key has spent its budget of the day; ask for more, or wait for the "
                "next day (UTC).",
                DAY_S - self._wall() % DAY_S,
            )
        self._bucket.take(1.0)

    def may_ask_the_teacher(self) -> bool:
        """Whether it may ask once more now; if so, it is counted until `was_told`.

        Not beyond its rate, nor when its other calls will probably take all of the day's dollars
        that can be had here now.
        """
        if self._teacher.level(self._clock()) < 1.0:
            return False
        if not self.day.affords(self.asking * self._usual_usd):
            return False
        self._teacher.take(1.0)
        self.asking += 1
        return True

    def was_told(self, usd: Decimal | None) -> None:
        """Count a call to the teacher as done; None when nobody was asked, or it has no price."""
        self.asking = max(0, self.asking - 1)
        if usd is not None:
            rate = _LEARNING_RATE if self._usual_usd else 1.0
            self._usual_usd += rate * (float(usd) - self._usual_usd)

    def check_threshold(self, threshold: float | None) -> None:
        """Check how much certainty a request asks for.

        Raises:
            Forbidden: more than the key may.
        """
        at_most = self._max_threshold
        if threshold is not None and at_most is not None and threshold > at_most:
            raise Forbidden(f"This API key may ask for a threshold of at most {at_most:g}.")

    def count(self, more: int) -> None:
        """Count a request as so many more, which it turned out to be: what is too much is a debt.

        The rate holds all the same: nothing is admitted until the debt is refilled.
        """
        self._bucket.take(float(more))


class KeyRing:
    """Every known key."""

    def __init__(
        self,
        specs: Iterable[KeySpec],
        *,
        days: DayBudgets | None = None,
        clock: Clock = time.monotonic,
        wall: Clock = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._days: DayBudgets = days or (lambda key: OwnDay(wall))
        self._by_name: dict[str, Key] = {}
        self._by_digest: dict[bytes, Key] = {}
        self.replace(specs)

    def replace(self, specs: Iterable[KeySpec]) -> None:
        """Know these keys and no others; what a key of the same name has spent still counts."""
        keys = {}
        for spec in specs:
            before = self._by_name.get(spec.name)
            day = self._days(spec.name) if before is None else before.day
            keys[bytes.fromhex(spec.sha256)] = Key(spec, self._clock, self._wall, day)
        self._by_digest, self._by_name = keys, {key.name: key for key in keys.values()}

    def identify(self, headers: Sequence[tuple[bytes, bytes]]) -> Key:
        """Return the key that a request presents.

        In `Authorization` (Bearer, Basic), `x-api-key`, or Azure's `api-key`.

        Basic is what a browser can send: the key is its password, the user name does not matter.

        Raises:
            Unauthorized: none, more than one, or one that is not known: all in the same words.
        """
        presented = [value for name, value in headers if name in SECRET_HEADERS]
        secret = presented[0] if len(presented) == 1 else b""
        if secret[:7].lower() == b"bearer ":
            secret = secret[7:].strip()
        elif secret[:6].lower() == b"basic ":
            secret = _password(secret[6:])
        found = self._by_digest.get(hashlib.sha256(secret).digest())
        if found is None or len(presented) != 1:
            raise Unauthorized(_UNKNOWN)
        return found

    def was_told(self, name: str, usd: Decimal | None) -> None:
        """Count a key's call to the teacher as done, and what it cost, if it is known."""
        key = self._by_name.get(name)
        if key is not None:
            key.was_told(usd)

    def spend(self, name: str, usd: Decimal | None) -> None:
        """Count what an answer for a key cost; unpriced answers cannot be counted."""
        key = self._by_name.get(name)
        if key is not None and usd is not None:
            key.day.spend(usd)


def _bucket(rate: float | None, now: float) -> TokenBucket:
    """At least one request fits in the bucket, also at one an hour."""
    burst_s = BURST_S if rate is None else max(BURST_S, 1.0 / rate)
    return TokenBucket(rate, burst_s, now)


def _password(basic: bytes) -> bytes:
    try:
        return base64.b64decode(basic, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def load_keys(path: Path) -> tuple[KeySpec, ...]:
    """Read a file of keys.

    Raises:
        BadSettings: it is missing, unreadable or breaks a rule; no hash is repeated.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return KeyFile.model_validate(raw).keys
    except FileNotFoundError:
        raise BadSettings(
            f"the key file {path} does not exist; make one with `raisehand keys add NAME`"
        ) from None
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise BadSettings(f"the key file {path}: {faults}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadSettings(f"the key file {path} cannot be read ({type(error).__name__})") from None


def save_keys(path: Path, specs: Iterable[KeySpec]) -> None:
    """Write a file of keys in one step, readable by its owner only."""
    document = {"keys": [s.model_dump(mode="json", exclude_defaults=True) for s in specs]}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        yaml.safe_dump(document, file, sort_keys=False)
    draft.replace(path)


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Let nobody else change a file of keys meanwhile: of two who add, both are in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def new_secret() -> str:
    """Return a fresh key, to be shown once."""
    return PREFIX + secrets.token_urlsafe(32)


def sha256_of(secret: str) -> str:
    """Return what the file holds of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()
