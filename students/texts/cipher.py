"""The key of the kept texts, and what is done with it: AES-256-GCM, and a keyed hash to find one.

Whoever gets the file without the key learns when how many texts came, and nothing that was said.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from costmodel.extras import require
from students.errors import BadTask
from students.private_file import make_secret
from students.sections import TextsSection

KEY_BYTES = 32
KEY_FILE = "texts.key"
"""In the work_dir, unless the task names another file or a variable."""
_NONCE_BYTES = 12


class TextCipher:
    """Encrypts and recognises texts with one key.

    Raises:
        NotInstalled: the extra `texts` is missing.
    """

    def __init__(self, key: bytes) -> None:
        require("texts")
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aes = AESGCM(key)
        # A key of its own, so that no hash says anything of the one that encrypts.
        self._hash_key = hashlib.blake2b(b"raisehand: recognise a text", key=key).digest()[:32]

    def encrypt(self, payload: bytes, place: str) -> bytes:
        """Encrypt what belongs to a place: anywhere else it cannot be read."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aes.encrypt(nonce, payload, place.encode())

    def decrypt(self, sealed: bytes, place: str) -> bytes:
        """Read it back.

        Raises:
            BadTask: another key, another place, or altered.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._aes.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except InvalidTag:
            raise BadTask(
                "the kept texts cannot be read with this key: restore the key they were stored "
                "with, or remove the file of texts"
            ) from None

    def recognise(self, text: str) -> str:
        """Return what is the same for the same text, and says nothing of it without the key."""
        digest = hashlib.blake2b(
            text.encode("utf-8", "surrogatepass"), key=self._hash_key, digest_size=16
        )
        return digest.hexdigest()


def open_cipher(
    section: TextsSection, work_dir: Path, environment: Mapping[str, str] = os.environ
) -> TextCipher:
    """Take the key of a variable or a file; a file that is not there is made, its owner's only.

    Raises:
        BadTask: there is no such key, or others may read its file.
        NotInstalled: the extra `texts` is missing.
    """
    if section.key_env is not None:
        given = environment.get(section.key_env, "")
        if not given:
            raise BadTask(f"store_texts needs the variable {section.key_env}, which is not set")
        return TextCipher(_decoded(given, f"the variable {section.key_env}"))
    path = section.key_file or work_dir / KEY_FILE
    try:
        if not path.exists():
            make_secret(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        if path.stat().st_mode & 0o077:
            raise BadTask(f"{path} can be read by others; chmod 600 it, or name another key_file")
        return TextCipher(_decoded(path.read_text(encoding="ascii", errors="replace"), str(path)))
    except OSError as error:
        raise BadTask(f"{path} cannot be used as a key ({error.strerror})") from None


def _decoded(words: str, where: str) -> bytes:
    try:
        key = base64.b64decode(words.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise BadTask(
            f"{where} holds no key: {KEY_BYTES} random bytes in base64 are needed, e.g. of "
            "`openssl rand -base64 32`"
        )
    return key
