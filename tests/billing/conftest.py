from __future__ import annotations

import pytest

from genway.access import store as access
from genway.db import Database
from genway.vault import Vault


@pytest.fixture
def vault() -> Vault:
    return Vault(b"x" * 32)


@pytest.fixture
def account(database: Database, vault: Vault) -> str:
    """An account without credit and without money."""
    return database.write_now(
        lambda connection: access.create_account(connection, vault, "acme", currency="USD", credit_limit=0, now=1.0)
    ).id
