from __future__ import annotations

import stat
from pathlib import Path

import pytest

from genway.config import Config, ConfigError, Security
from genway.vault import Vault, open_vault


def test_what_was_encrypted_comes_back_only_with_the_same_secret() -> None:
    data = Vault(b"a" * 32).encrypt("key_123")
    assert b"key_123" not in data
    assert Vault(b"a" * 32).decrypt(data) == "key_123"
    with pytest.raises(ConfigError, match="has changed"):
        Vault(b"b" * 32).decrypt(data)


def test_the_secret_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path / "data"))
    first = open_vault(config)
    path = tmp_path / "data" / "secret.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_vault(config).hash("k") == first.hash("k")
    assert [item.name for item in path.parent.iterdir()] == ["secret.key"]


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 32 bytes"):
        open_vault(Config(security=Security(secret_key="short")))


def test_different_uses_have_different_keys() -> None:
    vault = Vault(b"a" * 32)
    assert vault.link_key.hex() != vault.hash("")
    assert vault.hash("a") != vault.hash("b")
