"""TLS over bytes in memory, so that a connection needs no socket that waits for whole records."""

from __future__ import annotations

import ssl

import gevent.socket

RECORD = 65536


class TlsLayer:
    """One connection's encryption."""

    __slots__ = ("_incoming", "_object", "_outgoing")

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def shake_hands(self, connection: gevent.socket.socket) -> None:
        """Agree on keys, waiting for the server where that is needed.

        Raises:
            OSError: the server cannot be trusted, wants another client, or went away.
        """
        while True:
            try:
                self._object.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(self._outgoing.read())
                data = connection.recv(RECORD)
                if not data:
                    raise ConnectionResetError("the server closed within the handshake") from None
                self._incoming.write(data)
        connection.sendall(self._outgoing.read())

    def encrypt(self, data: bytes) -> bytes:
        """Return what is to be sent."""
        self._object.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes | None:
        """Return what the server said; None for a part of a record, b"" when it said good-bye.

        Raises:
            ssl.SSLError: it is no TLS.
        """
        self._incoming.write(data)
        parts: list[bytes] = []
        while True:
            try:
                part = self._object.read(RECORD)
            except ssl.SSLWantReadError:
                return b"".join(parts) or None
            except ssl.SSLZeroReturnError:
                return b"".join(parts)
            if not part:
                return b"".join(parts)
            parts.append(part)
