"""What one load test is: target, inputs, arrivals, length, and the rules that make it count."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from costmodel.faults import every_fault
from costmodel.fields import NotNegative, Positive, Share
from costmodel.frozen import Frozen
from loadtests.errors import BadLoadSpec
from loadtests.inputs.route import check_files
from loadtests.inputs.shape import RateShape

Surface = Literal["classify", "chat", "chat-stream", "systemone", "batch"]
ClientWay = Literal["whole", "apart", "fresh"]
"""How a client brings a request, each the way of many: head and body in one write (aiohttp, curl);
the body in a write of its own (openai, httpx, requests, Java, Go, node); a connection for each."""


class LoadSpec(Frozen):
    """One load test, open loop but for `closed_loop`.

    Requests leave at instants fixed in advance from `rate`, `arrivals` and `seed`, however slow
    the target is. The measured window of `duration_s` follows `warmup_s` at the same rate.
    """

    url: str
    inputs: Path
    text: str = "text"
    """Column of the inputs that holds the text."""
    encoding: str = "utf-8"
    delimiter: str | None = None
    """Of .csv and .tsv; None: whichever finds the column in the header."""
    order: Literal["sequential", "shuffled"] = "shuffled"
    """How rows are taken; all rows are used before any is repeated."""
    hard_share: Share | None = None
    """So many requests take one of the tenth of the inputs that the student is least sure of; None
    takes the inputs as they are."""
    surface: Surface = "classify"
    student_only: bool = False
    """classify, batch: ask a raisehand router for its student's answer alone: no teacher is asked,
    or paid, whatever the student is sure of."""
    ask_within_ms: Positive | None = None
    """classify, batch: the deadline that the request itself gives a raisehand router."""
    model: str = "raisehand"
    """Chat: the `model` field of the request."""
    system: str = ""
    user: str = "{text}"
    """Chat: the messages that the application sends; `{text}` stands for the input. System one:
    `user` is the state and `system` the instructions."""
    labels: tuple[str, ...] = ()
    """System one: the options of the question."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the bearer key."""
    ca: Path | None = None
    """https: the authority that signed the target's certificate, PEM; None: the system's."""
    client_cert: Path | None = None
    client_key: Path | None = None
    """https: what the client shows; the key may stand in the certificate's file."""
    insecure: bool = False
    """https: take any certificate. For a target of one's own alone."""
    rate: Positive
    """Requests per second, all processes together; `shape` multiplies it."""
    arrivals: Literal["constant", "poisson", "gamma", "replay", "log"] = "poisson"
    cv: Annotated[float, Field(gt=0, le=20)] = 2.0
    """gamma: coefficient of variation of the gaps; 1 is Poisson, 2 is vLLM's burstiness 0.25."""
    trace: Path | None = None
    """replay: a CSV like the Azure LLM traces, stretched to `rate`."""
    time: str | None = None
    """log: column of the inputs that holds when each came, as seconds or as a date and time. The
    inputs are sent in that order at those instants, stretched to `rate`."""
    shape: RateShape = RateShape()
    duration_s: Positive = 20.0
    warmup_s: NotNegative = 2.0
    seed: int = Field(default=0, ge=0)
    timeout_s: Positive = 10.0
    deadline_ms: Positive = 1000.0
    """An answer later than this after its instant is no goodput."""
    processes: int = Field(default=1, ge=1, le=64)
    concurrency: int = Field(default=2000, ge=1, le=50_000)
    """Requests in flight per process beyond which an arrival is dropped, which voids the run."""
    client: ClientWay = "whole"
    closed_loop: int | None = Field(default=None, ge=1, le=50_000)
    """So many clients, all processes together, ask again as soon as they are answered; `rate`,
    `arrivals` and `shape` are then of no use. It finds the most a target answers; its latencies
    judge nothing, because a slow target is asked less."""
    locust: tuple[str, ...] = ()
    """Handed to Locust as they are, e.g. --csv=run or --html=run.html."""
    samples: Path | None = None
    """Where to write one JSON line per measured request; None writes none."""
    allow_remote: bool = False
    max_send_lag_ms: Positive = 5.0
    """The run is void when 1 % of the requests left later than this after their instant."""
    max_generator_cpu: Annotated[float, Field(gt=0, le=1)] = 0.7
    """The run is void when a generator process used more than this share of a core."""
    min_offered_share: Annotated[float, Field(gt=0, le=1)] = 0.99
    """The run is void when less than this share of the arrivals was sent."""
    abort: Literal["never", "dead", "lost"] = "dead"
    """End the run early: never; when the target answers nothing any more; or also when a limit of
    the SLO is broken whatever follows."""

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme == "unix":
            if parts.netloc or not parts.path:
                raise ValueError("a Unix socket is unix:// and its path, e.g. unix:///run/r.sock")
            return value
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                "an http://, https:// or unix:// URL is needed, e.g. http://127.0.0.1:8080"
            )
        if parts.query or parts.fragment or parts.username:
            raise ValueError("give scheme, host and port only, e.g. http://127.0.0.1:8080")
        return value.rstrip("/")

    @field_validator("user")
    @classmethod
    def _text_once(cls, value: str) -> str:
        if value.count("{text}") != 1:
            raise ValueError(f"{{text}} occurs {value.count('{text}')} times; it must occur once")
        return value

    @model_validator(mode="after")
    def _options_for_systemone(self) -> Self:
        if self.surface == "systemone" and len(self.labels) < 2:
            raise ValueError("surface systemone asks a choice question; give at least 2 labels")
        return self

    @model_validator(mode="after")
    def _student_where_it_can_be_asked(self) -> Self:
        for name in ("student_only", "ask_within_ms"):
            if getattr(self, name) and self.surface not in ("classify", "batch"):
                raise ValueError(f"{name} is of surface classify or batch, not of {self.surface}")
        return self

    @model_validator(mode="after")
    def _trace_with_replay(self) -> Self:
        if (self.arrivals == "replay") != (self.trace is not None):
            raise ValueError("arrivals: replay and trace: belong together; give both or neither")
        return self

    @model_validator(mode="after")
    def _time_with_log(self) -> Self:
        if (self.arrivals == "log") != (self.time is not None):
            raise ValueError("arrivals: log and time: belong together; give both or neither")
        if self.arrivals != "log":
            return self
        if self.shape.kind != "steady":
            raise ValueError(f"a log has a shape of its own; leave out {self.shape.kind}")
        if self.hard_share is not None:
            raise ValueError("a log says which text comes when; leave out hard_share")
        return self

    @model_validator(mode="after")
    def _locust_alone(self) -> Self:
        if self.locust and self.processes > 1:
            raise ValueError(
                "locust: each process would write the same files; give --processes 1, or run "
                "locust -f loadtests/locustfile.py --processes N yourself"
            )
        return self

    @model_validator(mode="after")
    def _clients_for_all(self) -> Self:
        clients = self.closed_loop
        if clients is None:
            return self
        if clients < self.processes or clients > self.concurrency * self.processes:
            raise ValueError(
                f"closed_loop: {clients} clients in {self.processes} processes; each needs one and "
                f"has at most {self.concurrency} (concurrency)"
            )
        timed = self.arrivals in ("replay", "log") or self.shape.kind != "steady"
        if timed or self.abort == "lost":
            raise ValueError(
                "closed_loop: answers decide when the next request leaves; leave out arrivals, "
                "trace, time, shape, stages and abort lost"
            )
        return self

    @model_validator(mode="after")
    def _tls_with_https(self) -> Self:
        given = [
            name for name in ("ca", "client_cert", "client_key", "insecure") if getattr(self, name)
        ]
        if given and urlsplit(self.url).scheme != "https":
            raise ValueError(f"{', '.join(given)}: the target is not https; leave it out")
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key belongs to a client_cert; give both")
        check_files(self.ca, self.client_cert, self.client_key)
        return self

    @model_validator(mode="after")
    def _loopback_unless_allowed(self) -> Self:
        if urlsplit(self.url).scheme == "unix":
            return self
        host = urlsplit(self.url).hostname or ""
        if not self.allow_remote and not _is_loopback(host):
            raise ValueError(
                f"{host} is not this machine; load tests go to loopback unless --allow-remote "
                "says that the target is yours to load"
            )
        return self

    @property
    def expected_requests(self) -> int:
        """Arrivals of the measured window, on average."""
        return max(1, round(self.requested_rps * self.duration_s))

    @property
    def requested_rps(self) -> float:
        """The mean rate of the measured window, with the shape in it."""
        return self.rate * self.shape.mean_factor(self.duration_s)


def load_spec(**settings: object) -> LoadSpec:
    """Build a spec from settings of unknown quality.

    Raises:
        BadLoadSpec: names each field, what was found and what is allowed.
    """
    try:
        return LoadSpec.model_validate(settings)
    except ValidationError as error:
        raise BadLoadSpec(every_fault(error)) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
