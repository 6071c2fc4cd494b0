"""The HTTP server: uvicorn with uvloop and connections of our own, and a drain that loses nothing.

SIGTERM: unready at once, still accepting for `drain_delay_s` (so that a load balancer notices)
while every answer closes its connection; then no new connections, in-flight requests finish, the
ledger is stored, exit code 0. A second signal leaves now; the ledger is stored all the same.
SIGHUP: the API keys are read again.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from types import FrameType
from typing import cast

import uvicorn

from router.errors import BadSettings
from router.http.admission import Admission
from router.http.cors import Cors
from router.http.desk import Desk
from router.http.edge import App
from router.http.lane import Express
from router.http.observer import Observer
from router.http.wire.connection import HttpConnection
from router.http.wire.head import Heads
from router.process.app import hot_routes
from router.service.service import Service
from router.settings import Settings
from router.telemetry.metrics import Reading

BACKLOG = 2_048
OWN_DESCRIPTORS = 200
"""Files, and connections to teachers, that clients must leave room for."""


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains before it stops and exits with 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        on_started: Callable[[], None] | None = None,
        admin: Admin | None = None,
    ) -> None:
        super().__init__(config)
        self._service = service
        self._admin = admin
        self._on_started = on_started
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signalled = False
        """A router that an operator drains is not one that was told to stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does; remember the loop for the signal handler; say so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            self._loop.add_signal_handler(signal.SIGHUP, self._service.reload_keys)
        gc.collect()
        gc.freeze()  # what was imported stays: looking it through again stops everything for 100 ms
        if self._admin is not None and self.started:
            self._admin.start()
        if self._on_started is not None and self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does, the admin port last."""
        await super().shutdown(sockets)
        if self._admin is not None:
            await self._admin.stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; on a second signal leave now."""
        if self._loop is None or self._signalled:
            self.force_exit = self.should_exit = True
        else:
            self._signalled = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._service.draining = True
        self.config.encoded_headers.append((b"connection", b"close"))
        self.server_state.default_headers = [
            *self.server_state.default_headers, (b"connection", b"close"),
        ]  # fmt: skip
        assert self._loop is not None
        self._loop.call_later(self._service.settings.drain_delay_s, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


class Admin(uvicorn.Server):
    """The admin port: in the same loop, without signals of its own."""

    def __init__(
        self,
        app: App,
        listener: socket.socket,
        settings: Settings,
        express: Express | None = None,
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._on_stop = on_stop
        super().__init__(
            uvicorn.Config(
                app, http=_http(settings, express=express), ws="none", lifespan="off",
                access_log=False, log_config=None, server_header=False, proxy_headers=False,
            )
        )  # fmt: skip
        self._listener = listener
        self._running: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the main server."""
        yield

    def start(self) -> None:
        """Begin to listen, at once: who connects before the first tick waits for it."""
        self._listener.listen(BACKLOG)
        self._running = asyncio.create_task(self.serve(sockets=[self._listener]))

    async def stop(self) -> None:
        """Stop listening, and end what would never end by itself."""
        self.should_exit = True
        if self._on_stop is not None:
            await self._on_stop()
        if self._running is not None:
            await self._running


def _http(
    settings: Settings,
    turned_away: Callable[[str], None] = lambda kind: None,
    express: Express | None = None,
    cors: Cors | None = None,
    observers: Sequence[Observer] = (),
    count: Callable[[int], None] = lambda status: None,
) -> type[asyncio.Protocol]:
    # uvicorn's annotation asks for a class; it only ever calls what it is given.
    protocol = partial(
        HttpConnection,
        settings=settings,
        desk=Desk(turned_away),
        heads=Heads(),
        express=express,
        cors=cors,
        observers=observers,
        count=count,
    )
    return cast("type[asyncio.Protocol]", protocol)


def express_lane(service: Service) -> Express:
    """Build the express lane of a service."""
    door = Admission(service.settings.max_in_work, service.waiting_for_teachers, service.clock)
    service.metrics.watch(
        [
            Reading(
                "raisehand_turned_away_unread_total",
                "Requests refused before they were parsed: too many were in work.",
                lambda: door.refused,
                counter=True,
            )
        ]
    )
    return Express(
        hot_routes(service),
        Desk(service.metrics.turned_away),
        door,
        service.clock,
        keys=service.keys,
    )


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Open the listening socket; `shared` lets several workers listen on the same port.

    Raises:
        BadSettings: the address cannot be had.
    """
    try:
        if not host:
            raise socket.gaierror("no name")
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except (socket.gaierror, UnicodeError) as error:
        raise BadSettings(
            f"{host!r} is no address to listen on ({error}); give one of this machine's as --host, "
            "0.0.0.0 or :: for all of them, or --uds for a Unix socket"
        ) from None
    except (OSError, OverflowError) as error:
        raise BadSettings(
            f"cannot listen on {host}:{port} ({error}); free the port or give another --port, or "
            "an address of this machine as --host"
        ) from None
    listener.setblocking(False)
    return listener


def within_descriptors(settings: Settings) -> Settings:
    """Allow as many connections as this process may open files, a few for itself aside.

    The soft limit is raised to the hard one first: it is there for programs that use `select`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return settings
    most = max(1, hard - OWN_DESCRIPTORS)
    return settings.model_copy(update={"max_connections": min(settings.max_connections, most)})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; a name that is not known reaches none.

    A host that cannot be looked up is left to `bind`, which says so.
    """
    try:
        found = socket.getaddrinfo(host or None, None, flags=socket.AI_PASSIVE)
    except OSError:
        return True
    return all(ip_address(address[4][0]).is_loopback for address in found)


def address_of(listener: socket.socket) -> str:
    """Return the URL that reaches a listening socket, or the path of a Unix one."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve(
    app: App,
    service: Service,
    listener: socket.socket,
    *,
    on_started: Callable[[], None] | None = None,
    admin: Admin | None = None,
    observers: Sequence[Observer] = (),
) -> None:
    """Serve until a signal says stop; the ledger is stored whatever happens."""
    settings = within_descriptors(service.settings)
    if not any(served.passthrough for served in service.tasks.values()):
        settings = settings.without_passing()
    express = express_lane(service)
    cors = Cors(settings.cors_origins) if settings.cors_origins else None
    config = uvicorn.Config(
        app,
        http=_http(
            settings,
            service.metrics.turned_away,
            express,
            cors,
            observers,
            service.metrics.status,
        ),
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,  # above the idle time of common client pools: no reset races
        timeout_graceful_shutdown=int(settings.drain_timeout_s) or 1,
    )
    server = DrainingServer(config, service, on_started, admin)
    try:
        server.run(sockets=[listener])
    finally:
        service.ledger.close()
    if not server.started:
        raise BadSettings("the router could not start; the log above says why")
