from __future__ import annotations

import pytest

from genway.access import store as access
from genway.access.model import Caller
from genway.access.store import Account
from genway.db import Database
from genway.errors import BudgetExceeded, Conflict, NotFound, RateLimited, Unauthenticated
from genway.vault import Vault

VAULT = Vault(b"x" * 32)


@pytest.fixture
def account(database: Database) -> Account:
    return database.write_now(lambda c: access.create_account(c, VAULT, "acme", currency="USD", credit_limit=0, now=1.0))


def new_key(database: Database, account: Account, **options: object) -> tuple[access.Key, str]:
    return database.write_now(
        lambda c: access.create_key(c, VAULT, account.id, name="ci", now=1.0, **options)  # type: ignore[arg-type]
    )


def who(database: Database, secret: str, now: float = 2.0) -> Caller:
    return database.read_now(lambda connection: access.authenticate(connection, VAULT.hash(secret), now))


def test_a_key_opens_its_account_and_its_secret_is_stored_nowhere(database: Database, account: Account) -> None:
    key, secret = new_key(database, account)
    assert secret.startswith("gw_live_")
    assert who(database, secret).account_id == account.id
    rows = database.read_now(lambda c: str(c.exec_driver_sql("SELECT * FROM keys").all()))
    assert secret not in rows
    assert key.hint == secret[-4:]


def test_a_test_key_says_so(database: Database, account: Account) -> None:
    _, secret = new_key(database, account, mode="test")
    assert secret.startswith("gw_test_")
    assert who(database, secret).mode == "test"


def test_an_unknown_key_is_refused(database: Database, account: Account) -> None:
    with pytest.raises(Unauthenticated):
        who(database, "gw_live_nonsense")


def test_a_revoked_key_is_refused_at_once(database: Database, account: Account) -> None:
    key, secret = new_key(database, account)
    caller = who(database, secret)
    database.write_now(lambda connection: access.revoke_key(connection, key.id, 3.0))
    with pytest.raises(Unauthenticated, match="revoked"):
        who(database, secret)
    with pytest.raises(Unauthenticated, match="revoked"):
        database.write_now(lambda connection: access.admit(connection, caller, 1, 0, 4.0))


def test_an_expired_key_is_refused(database: Database, account: Account) -> None:
    _, secret = new_key(database, account, expires_at=10.0)
    assert who(database, secret, now=9.0)
    with pytest.raises(Unauthenticated, match="expired"):
        who(database, secret, now=10.0)


def test_a_budget_is_never_exceeded_and_what_was_held_comes_back(database: Database, account: Account) -> None:
    key, secret = new_key(database, account, budget=100)
    caller = who(database, secret)
    database.write_now(lambda connection: access.admit(connection, caller, 60, 0, 2.0))
    with pytest.raises(BudgetExceeded, match=r"0\.00004 left"):
        database.write_now(lambda connection: access.admit(connection, caller, 41, 0, 2.0))
    database.write_now(lambda connection: access.leave(connection, key.id, 60, 0))
    database.write_now(lambda connection: access.admit(connection, caller, 100, 0, 2.0))
    database.write_now(lambda connection: access.leave(connection, key.id, 100, 100))
    with pytest.raises(BudgetExceeded):
        database.write_now(lambda connection: access.admit(connection, caller, 1, 0, 2.0))
    now = database.read_now(lambda connection: access.get_key(connection, key.id))
    assert (now.held, now.spent, now.active_tasks) == (0, 100, 0)


def test_a_key_has_no_more_tasks_at_once_than_allowed(database: Database, account: Account) -> None:
    key, secret = new_key(database, account)
    caller = who(database, secret)
    for _ in range(2):
        database.write_now(lambda connection: access.admit(connection, caller, 1, 2, 2.0))
    with pytest.raises(RateLimited) as refused:
        database.write_now(lambda connection: access.admit(connection, caller, 1, 2, 2.0))
    assert refused.value.retry_after
    database.write_now(lambda connection: access.leave(connection, key.id, 1, 1))
    database.write_now(lambda connection: access.admit(connection, caller, 1, 2, 2.0))


def test_names_are_taken_once(database: Database, account: Account) -> None:
    with pytest.raises(Conflict, match="already"):
        database.write_now(lambda c: access.create_account(c, VAULT, "acme", currency="USD", credit_limit=0, now=1.0))
    with pytest.raises(NotFound):
        database.read_now(lambda connection: access.get_account(connection, "nobody"))


def test_a_secret_of_our_own_choice_has_eight_characters_and_is_used_once(database: Database, account: Account) -> None:
    new_key(database, account, secret="my-own-secret")
    with pytest.raises(Conflict, match="exists"):
        new_key(database, account, secret="my-own-secret")
    with pytest.raises(Conflict, match="8 characters"):
        new_key(database, account, secret="short")


def test_the_callback_secret_is_encrypted_and_comes_back(database: Database, account: Account) -> None:
    secret = database.read_now(lambda connection: access.callback_secret(connection, VAULT, account.id))
    assert secret.startswith("whsec_")
    rows = database.read_now(lambda c: repr(c.exec_driver_sql("SELECT * FROM accounts").all()))
    assert secret not in rows
