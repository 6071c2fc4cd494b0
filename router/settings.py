"""Limits of the router: read once at the edge, frozen afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from costmodel.lifeline import LIFELINE
from router.errors import BadSettings

MIN_TOKEN_CHARS = 16
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?")
PREFIX = "RAISEHAND_"
WORKER_FOLDER = "RAISEHAND_WORKER_FOLDER"
"""Tells a worker where the sockets of its share are."""
_OWN = (WORKER_FOLDER, LIFELINE)
_SERVICE_LINKS = re.compile(
    r"RAISEHAND_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes tells every process of a service named raisehand; nobody has written it."""

_SECRET = ("admin_token", "database_url")


PASSED_PATHS = frozenset(
    f"/v1/{name}" for name in ("chat/completions", "completions", "embeddings", "responses")
)
"""Where what is no task's question goes to a teacher."""


class Settings(BaseSettings):
    """Every limit, with a default; `RAISEHAND_<NAME>` in the environment changes one."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    """Counted on the bytes that arrive, not on what Content-Length claims."""
    max_passed_body_bytes: int = Field(default=33_554_432, ge=1_024)
    """The same where a call may be passed on to a teacher: pictures and long documents go there."""
    max_text_chars: int = Field(default=32_768, ge=1)
    """A longer text is a 400: reading time grows with the raw text, whatever the student keeps."""
    max_items: int = Field(default=64, ge=1)
    """Texts in one /v1/classify request."""
    max_connections: int = Field(default=10_000, ge=1)
    """Open in one process; one more is closed at once. Fewer where it may open fewer files."""
    head_timeout_s: float = Field(default=10.0, gt=0)
    """A connection whose request line and headers are not there by then is closed."""
    body_timeout_s: float = Field(default=10.0, gt=0)
    """A body that has not arrived by then is a 408."""
    answer_timeout_s: float = Field(default=30.0, gt=0)
    """A client that takes nothing of its answer for so long is cut off."""
    max_queue: int = Field(default=1_024, ge=1)
    """Texts waiting for a student; one more is a 429."""
    max_in_work: int = Field(default=256, ge=1)
    """Requests read and not yet answered, those that wait for a teacher aside; more is a 429."""
    max_batch_texts: int = Field(default=256, ge=1)
    max_batch_tokens: int = Field(default=16_384, ge=1)
    deadline_ms: float = Field(default=15_000.0, gt=0)
    """One request, from its first byte to its answer, when it does not say otherwise."""
    min_deadline_ms: float = Field(default=1.0, gt=0)
    max_deadline_ms: float = Field(default=60_000.0, gt=0)
    passthrough_first_byte_s: float = Field(default=600.0, gt=0)
    """A call that is passed on to the teacher is a 504 when no answer has begun by then."""
    passthrough_pause_s: float = Field(default=300.0, gt=0)
    """Between two parts of such an answer."""
    stall_s: float = Field(default=10.0, gt=0)
    """A batch that takes longer means the student hangs: liveness fails."""
    probe_timeout_s: float = Field(default=1.0, gt=0)
    """/readyz fails when its own inference takes longer."""
    ledger_keep_days: int = Field(default=30, ge=0)
    """Rows of days that ended so long ago become sums of their day; 0 keeps all."""
    bundle_store: str | None = None
    """Where bundles are fetched from that are asked for by id and not here: any fsspec URL."""
    database_url: SecretStr | None = None
    """PostgreSQL of all hosts: ledger rows go there, audits and verdicts are there; may be away."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may ask from a browser, with blanks or commas between; `*` is any."""
    admin_token: SecretStr | None = None
    """What the admin port asks for; at least 16 characters."""
    access_log: float = Field(default=0.0, ge=0, le=1)
    """Share of the requests that get a line in the log each; 0: none."""
    drain_delay_s: float = Field(default=0.0, ge=0)
    """After SIGTERM: unready, but still accepting, for the load balancer to notice."""
    drain_timeout_s: float = Field(default=30.0, gt=0)
    """After that: in-flight requests may take this long."""

    def body_limit(self, path: str) -> int:
        """Return how many bytes a body may have."""
        return self.max_passed_body_bytes if path in PASSED_PATHS else self.max_body_bytes

    def without_passing(self) -> Settings:
        """Return the settings of a router that passes nothing on: its bodies are small."""
        return self.model_copy(update={"max_passed_body_bytes": self.max_body_bytes})

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, origins: object) -> object:
        return origins.replace(",", " ").split() if isinstance(origins, str) else origins

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError("an origin is like https://app.example.com, without a path, or *")
        return origins

    @field_validator("admin_token")
    @classmethod
    def _long_enough(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and len(token.get_secret_value()) < MIN_TOKEN_CHARS:
            raise ValueError(f"it is shorter than {MIN_TOKEN_CHARS} characters; make a longer one")
        return token


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        BadSettings: a variable has a value that is not allowed; one sentence for each.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = (
            f"RAISEHAND_{field.upper()}: {fault['msg']}"
            + ("" if field in _SECRET else f" (found {fault['input']!r})")
            for fault in error.errors()
            for field in [str(fault["loc"][0])]
        )
        raise BadSettings("; ".join(faults)) from None


def check_names(also: Collection[str] = (), environment: Mapping[str, str] = os.environ) -> None:
    """Refuse variables that look like the router's and that nobody reads.

    A limit that is misspelt is a limit that does not hold, and nobody would notice.

    Args:
        also: names that are read elsewhere, e.g. of a teacher's key.
        environment: what is set.

    Raises:
        BadSettings: names them, and for each the setting that was probably meant.
    """
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    unread = [
        name
        for name in sorted(environment)
        if name.upper().startswith(PREFIX)
        and name.upper() not in (*known, *_OWN)
        and name not in also
        and not _SERVICE_LINKS.fullmatch(name)
    ]
    if unread:
        raise BadSettings("; ".join(_word(name, known) for name in unread))


def _word(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name.upper(), known, n=1, cutoff=0.75)
    if near:
        return f"there is no setting {name}; did you mean {near[0]}?"
    return f"there is no setting {name}; unset it, or see docs/operations.md for those there are"
