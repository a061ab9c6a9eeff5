"""The secret key, and the keyed hashes that stand for patients, series and files.

A key is HMAC-SHA256 over fields, each prefixed by its length, the first of which names what the
others identify; so ("ab", "c") and ("a", "bc") differ, and a patient's key is never a series' key.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from medssl.errors import KeyFileError

MIN_KEY_BYTES = 32
_HEX_DIGITS = 32
_ENVIRONMENT = "MEDSSL_KEY_FILE"


@dataclass(frozen=True)
class Key:
    """A secret in memory; its text form does not show it."""

    secret: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """Twelve hex digits that tell keys apart and say nothing of the secret."""
        return self.hmac("key id")[:12]

    def hmac(self, *fields: str) -> str:
        """32 hex digits over length-prefixed fields; the first says what the others identify."""
        parts = [text.encode("utf-8", "surrogateescape") for text in fields]
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self.secret, message, "sha256").hex()[:_HEX_DIGITS]


@dataclass(frozen=True)
class RecordingKey(Key):
    """A key that remembers what it hashed: what a linkage file needs for another key to take over.

    `preimages` maps each hash to its fields. They identify patients.
    """

    preimages: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)

    def hmac(self, *fields: str) -> str:
        digest = super().hmac(*fields)
        self.preimages[digest] = fields
        return digest

    def forget(self, digest: str) -> None:
        """Drop what is not needed again, so that memory does not grow with the archive."""
        self.preimages.pop(digest, None)


def default_key_file() -> Path:
    """Where the key is looked for when no --key-file is given."""
    return Path(os.environ.get(_ENVIRONMENT) or Path.home() / ".config" / "medssl" / "key")


def load_key(path: Path) -> Key:
    """Read a key file.

    Raises:
        KeyFileError: it is missing, shorter than 32 bytes, or open to other users.
    """
    try:
        mode = path.stat().st_mode
        secret = path.read_bytes() if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        raise KeyFileError(
            f"no key file at {path}; `medssl keygen {path}` makes one, then keep a copy in a safe "
            f"place (or name yours by --key-file or ${_ENVIRONMENT})"
        ) from None
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise KeyFileError(f"other users can read the key file {path}; run: chmod 600 {path}")
    if len(secret) < MIN_KEY_BYTES:
        raise KeyFileError(
            f"the key file {path} has {len(secret)} bytes, at least {MIN_KEY_BYTES} are needed; "
            "`medssl keygen` makes a good one"
        )
    return Key(secret)


def make_key_file(path: Path) -> Key:
    """Write a new random key with mode 0600; a file that exists is never replaced.

    Raises:
        KeyFileError: the file exists or cannot be written.
    """
    secret = secrets.token_bytes(2 * MIN_KEY_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(
            f"{path} exists and is kept: a store can only grow under the key that made it"
        ) from None
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(secret)
    return Key(secret)
