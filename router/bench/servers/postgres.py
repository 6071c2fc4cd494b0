"""A real PostgreSQL on a free port, in a folder of its own: to be measured, and killed in tests."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router.bench.process import family_seconds, free_port
from router.errors import BadSettings

if TYPE_CHECKING:
    from psycopg import Connection

PASSWORD = "secret-of-this-server"
START_S = 60.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "Asia/Kathmandu",
}
"""A time zone that is no server's dream: who means UTC has to say so."""


def postgres_binaries() -> Path | None:
    """Return the folder of `initdb` and `postgres`, of the newest version there is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    return Path(path).resolve().parent if path else None


class PostgresServer:
    """One server, as an unprivileged user where this process is root, as it refuses to be root.

    Raises:
        BadSettings: none is installed.
    """

    def __init__(self, **settings: str) -> None:
        binaries = postgres_binaries()
        if binaries is None:
            raise BadSettings("no postgresql is installed here (Debian: apt install postgresql)")
        self._binaries = binaries
        self.port = free_port()
        self._settings = _SETTINGS | {"port": str(self.port)} | settings
        self._folder = Path(tempfile.mkdtemp(prefix="raisehand-postgres-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            owner = names.get("postgres") or names["nobody"]
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        password = self._folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        subprocess.run(
            [
                *(binaries / "initdb", "-D", self._folder / "data", "-U", "raisehand"),
                *("-E", "UTF8", "--locale=C", "--no-sync", "-A", "scram-sha-256"),
                f"--pwfile={password}",
            ],
            check=True,
            capture_output=True,
            cwd=self._folder,
            **self._user,
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> PostgresServer:
        """Start, or start again after a kill or with other settings, and wait until it answers."""
        import psycopg

        self._settings |= settings
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data")]
        pairs = [f"{name}={value}" for name, value in self._settings.items()]
        options = [word for pair in pairs for word in ("-c", pair)]
        give_up_at = time.monotonic() + START_S
        while True:
            if self.process is None or self.process.poll() is not None:
                with (self._folder / "log").open("ab") as log:  # killed: its children may still end
                    self.process = subprocess.Popen[bytes](
                        [*command, *options],
                        stdout=log,
                        stderr=log,
                        cwd=self._folder,
                        **self._user,
                    )
            try:
                self.connect("postgres").close()
                return self
            except psycopg.OperationalError as error:
                if time.monotonic() > give_up_at:
                    log_text = (self._folder / "log").read_text("utf-8")
                    raise BadSettings(f"PostgreSQL does not start ({error}): {log_text}") from None
                time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut would, as far as one process can."""
        assert self.process is not None, "it was started"
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop it and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def cpu_seconds(self) -> float:
        """Return what it has used of the processor so far, with all its children."""
        assert self.process is not None, "it was started"
        return family_seconds(self.process.pid)

    def connect(self, name: str) -> Connection:
        """Connect to one of its databases."""
        import psycopg

        return psycopg.connect(self.url_of(name), autocommit=True, connect_timeout=5)

    def url_of(self, name: str) -> str:
        """Return the address of one of its databases."""
        return f"postgresql://raisehand:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def create(self) -> str:
        """Make an empty database and return its address."""
        name = f"test_{secrets.token_hex(4)}"
        with self.connect("postgres") as connection:
            connection.execute(f"create database {name}")
        return self.url_of(name)
