"""The server's own secret: what keys are hashed with and credentials are encrypted with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from functools import cached_property
from typing import TYPE_CHECKING

from genway.config import Config, ConfigError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

KEY_FILE = "secret.key"
LEAST_BYTES = 32


class Vault:
    """Hashes API keys and encrypts credentials; each use has a key of its own, derived from the one secret."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < LEAST_BYTES:
            raise ConfigError(f"security.secret_key: at least {LEAST_BYTES} bytes, got {len(secret)}")
        self._hash_key = self._derive(secret, "key-hash")
        self._credentials_key = base64.urlsafe_b64encode(self._derive(secret, "credentials"))
        self.link_key = self._derive(secret, "links")

    @cached_property
    def _fernet(self) -> Fernet:
        from cryptography.fernet import Fernet  # noqa: PLC0415 - slow to import, and only credentials need it

        return Fernet(self._credentials_key)

    def hash(self, key: str) -> str:
        """What is stored of an API key: 64 hexadecimal digits."""
        return hmac.new(self._hash_key, key.encode(), hashlib.sha256).hexdigest()

    def sign(self, text: str) -> str:
        """A signature of our own, for addresses that nobody else can make up."""
        return hmac.new(self.link_key, text.encode(), hashlib.sha256).hexdigest()[:32]

    def signed(self, text: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(text).encode(), signature.encode())

    def encrypt(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def decrypt(self, data: bytes) -> str:
        """Raises ConfigError when the data was encrypted with another secret."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            return self._fernet.decrypt(bytes(data)).decode()
        except InvalidToken:
            raise ConfigError(
                "a stored credential cannot be decrypted: security.secret_key (or secret.key in the data folder) has changed"
            ) from None

    @staticmethod
    def _derive(secret: bytes, use: str) -> bytes:
        return hmac.new(secret, f"genway:{use}".encode(), hashlib.sha256).digest()


def open_vault(config: Config) -> Vault:
    """The vault of a server; makes the secret file, readable by its owner alone, when there is none."""
    if config.security.secret_key:
        return Vault(config.security.secret_key.encode())
    path = config.data_dir / KEY_FILE
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first; its secret counts
        finally:
            fresh.unlink()
    return Vault(path.read_text("ascii").strip().encode())
