"""A file encrypted with a passphrase, written and read as a stream.

Format: MAGIC, a salt of 16 bytes, then chunks: their length in 4 bytes, and AES-256-GCM of up to CHUNK bytes. A chunk's
nonce is its number; the last chunk is marked in its associated data, so that a shortened file is noticed.
"""

import io
import os
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from whatsapp_agent.errors import InvalidInput

MAGIC = b"WAGENT-SEALED-1\n"
CHUNK = 1024 * 1024
SALT_BYTES = 16
TAG_BYTES = 16


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(passphrase.encode()))


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _mark(is_last: bool) -> bytes:
    return b"last" if is_last else b"more"


class SealedWriter(io.RawIOBase):
    """Encrypts what is written into `file`. Call `close` at the end: without it the file is not valid."""

    def __init__(self, file: IO[bytes], passphrase: str) -> None:
        salt = os.urandom(SALT_BYTES)
        self._file, self._cipher = file, _cipher(passphrase, salt)
        self._waiting, self._number = bytearray(), 0
        file.write(MAGIC + salt)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._waiting += data
        while len(self._waiting) > CHUNK:
            self._seal(bytes(self._waiting[:CHUNK]), is_last=False)
            del self._waiting[:CHUNK]
        return len(data)

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number), chunk, _mark(is_last))
        self._file.write(len(sealed).to_bytes(4, "big") + sealed)
        self._number += 1

    def finish(self) -> None:
        """Write the last chunk."""
        self._seal(bytes(self._waiting), is_last=True)
        self._waiting.clear()


class SealedReader(io.RawIOBase):
    """Decrypts `file`, positioned behind MAGIC. Raises InvalidInput for a wrong passphrase or a changed file."""

    def __init__(self, file: IO[bytes], passphrase: str) -> None:
        self._file, self._cipher = file, _cipher(passphrase, file.read(SALT_BYTES))
        self._waiting, self._number, self._is_done = bytearray(), 0, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._waiting and not self._is_done:
            self._open()
        count = min(len(buffer), len(self._waiting))
        buffer[:count] = self._waiting[:count]
        del self._waiting[:count]
        return count

    def _open(self) -> None:
        size = int.from_bytes(self._file.read(4), "big")
        sealed = self._file.read(size) if TAG_BYTES <= size <= CHUNK + TAG_BYTES else b""
        for is_last in (False, True):
            try:
                self._waiting += self._cipher.decrypt(_nonce(self._number), sealed, _mark(is_last))
            except (InvalidTag, ValueError):
                continue
            self._number += 1
            self._is_done = is_last
            return
        if self._number == 0:
            raise InvalidInput("The passphrase is wrong, or the file is damaged.")
        raise InvalidInput("The file is not whole, or was changed.")
