"""What the ledger keeps of a text: enough to find a text again, too little to guess one.

A plain hash of a short text is found by trying texts. So it is keyed with a secret of the
installation, in a file of its own beside the ledger: whoever gets a copy of the ledger alone learns
nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from router.errors import BadLedger
from students.private_file import make_secret

FILE = "text_hash.key"
SECRET_BYTES = 32


class TextHash:
    """BLAKE2b keyed with the installation's secret (RFC 7693); without one, with this process's.

    A quarter of HMAC-SHA-256's time, and each row of the ledger has one.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._keyed = hashlib.blake2b(
            key=secret or secrets.token_bytes(SECRET_BYTES), digest_size=32
        )

    def __call__(self, text: str) -> str:
        """Return the hash of a text, in hex."""
        digest = self._keyed.copy()
        digest.update(text.encode())
        return digest.hexdigest()


def open_text_hash(folder: Path) -> TextHash:
    """Take the secret of an installation, made by whoever comes first, readable by its owner only.

    Raises:
        BadLedger: it can neither be read nor made.
    """
    path = folder / FILE
    try:
        if not path.exists():
            make_secret(path, secrets.token_bytes(SECRET_BYTES))
        secret = path.read_bytes()
    except OSError as error:
        raise BadLedger(
            f"{path} cannot be used ({error}); give the ledger a folder of yours"
        ) from None
    if len(secret) != SECRET_BYTES:
        raise BadLedger(
            f"{path} has {len(secret)} bytes instead of {SECRET_BYTES}; restore it, or remove it "
            "to begin with a new secret (texts of before are then not found again)"
        )
    return TextHash(secret)
