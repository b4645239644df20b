"""The schema, for SQLite and PostgreSQL alike.

Times are Unix seconds (float). Money is an integer of millionths of the account's currency. `mode` is `live` or `test`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
)

metadata = MetaData(
    naming_convention={"ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("currency", String, nullable=False),
    Column("credit_limit", BigInteger),  # how far below zero the balance may go; null: without limit
    Column("callback_secret", LargeBinary, nullable=False),  # encrypted
    Column("created_at", Double, nullable=False),
    Column("disabled_at", Double),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("hash", String, nullable=False, unique=True),
    Column("hint", String, nullable=False),  # the last four characters
    Column("mode", String, nullable=False),
    Column("admin", Boolean, nullable=False, default=False),
    Column("budget", BigInteger),  # the most this key may spend; null: without limit
    Column("held", BigInteger, nullable=False, default=0),
    Column("spent", BigInteger, nullable=False, default=0),
    Column("active_tasks", Integer, nullable=False, default=0),
    Column("requests_per_minute", Integer),
    Column("concurrent_tasks", Integer),
    Column("tokens_per_minute", Integer),
    Column("concurrent_streams", Integer),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

channels = Table(
    "channels",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("provider", String, nullable=False),
    Column("base_url", String, nullable=False, default=""),
    Column("secret", LargeBinary, nullable=False),  # encrypted
    Column("models", Text, nullable=False, default="{}"),  # JSON: our name → the vendor's; empty: the provider's own
    Column("options", Text, nullable=False, default="{}"),  # JSON
    Column("priority", Integer, nullable=False, default=0),
    Column("weight", Integer, nullable=False, default=1),
    Column("concurrency", Integer, nullable=False, default=0),  # 0: without limit
    Column("timeout", Double, nullable=False, default=60),
    Column("created_at", Double, nullable=False),
    Column("disabled_at", Double),
    Column("version", Integer, nullable=False, default=1),
)

prices = Table(
    "prices",
    metadata,
    Column("id", String, primary_key=True),
    Column("model", String, nullable=False),  # a qualified name, or a pattern: runway/*
    Column("operation", String, nullable=False, default="*"),
    Column("unit", String, nullable=False),  # call, second, image, character, token
    Column("amount", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("retired_at", Double),
    Index("ix_prices_current", "retired_at", "model"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("dialect", String, nullable=False),  # the wire format that asked, and that renders the task: runway.pro
    Column("operation", String, nullable=False),  # the operation's kind
    Column("model", String, nullable=False),
    Column("request", Text, nullable=False),  # the operation, JSON
    Column("context", Text, nullable=False, default="{}"),  # JSON: what the dialect needs to render the task again
    Column("base_url", String, nullable=False, default=""),
    Column("request_id", String, nullable=False, default=""),
    Column("callback_url", Text),
    Column("state", String, nullable=False),
    Column("progress", Double, nullable=False, default=0),
    Column("local", Boolean, nullable=False, default=False),  # admitted for the built-in provider
    Column("channel_id", String),
    Column("provider", String),
    Column("vendor_id", String),
    Column("attempt", Integer, nullable=False, default=0),
    Column("tried", Text, nullable=False, default="[]"),  # JSON: channels that refused
    Column("vendor_files", Text),  # JSON: what the vendor answered, before it is stored
    Column("results", Text),  # JSON: what is stored
    Column("details", Text, nullable=False, default="{}"),  # JSON
    Column("warnings", Text, nullable=False, default="[]"),  # JSON
    Column("quote", Text, nullable=False, default="{}"),  # JSON: the lines of the price
    Column("held", BigInteger, nullable=False, default=0),
    Column("charged", BigInteger, nullable=False, default=0),
    Column("error_code", String),
    Column("error_message", Text),
    Column("owner", String),  # the process that works on it
    Column("lease_until", Double),
    Column("next_at", Double, nullable=False),
    Column("deadline_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("deleted_at", Double),
    Column("stop_at", Double),  # when its vendor is to be told to stop, after it has ended; null: nothing to tell
)
Index("ix_tasks_account", tasks.c.account_id, tasks.c.created_at)
Index(
    "ix_tasks_channel",
    tasks.c.channel_id,
    tasks.c.state,
    sqlite_where=tasks.c.finished_at.is_(None),
    postgresql_where=tasks.c.finished_at.is_(None),
)
Index(
    "ix_tasks_open",
    tasks.c.next_at,
    sqlite_where=tasks.c.finished_at.is_(None),
    postgresql_where=tasks.c.finished_at.is_(None),
)
Index(
    "ix_tasks_stop",
    tasks.c.stop_at,
    sqlite_where=tasks.c.stop_at.is_not(None),
    postgresql_where=tasks.c.stop_at.is_not(None),
)

task_events = Table(
    "task_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("task_id", String, nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("before", String),
    Column("after", String, nullable=False),
    Column("reason", Text, nullable=False, default=""),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("token", String, primary_key=True),
    Column("fingerprint", String, nullable=False),  # of route, body and callback
    Column("task_id", String, nullable=False),
    Column("created_at", Double, nullable=False, index=True),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("account_id", String, nullable=False, index=True),
    Column("mode", String, nullable=False),
    Column("kind", String, nullable=False),  # topup, hold, settle, release
    Column("phase", String, nullable=False),  # hold opens what settle or release closes: each once a task
    Column("task_id", String),
    Column("amount", BigInteger, nullable=False),
    Column("memo", Text, nullable=False, default=""),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("task_id", "phase"),
)

entries = Table(
    "entries",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("transfer_id", BigInteger, nullable=False, index=True),
    Column("book", String, nullable=False, index=True),
    Column("amount", BigInteger, nullable=False),
)

balances = Table(
    "balances",
    metadata,
    Column("book", String, primary_key=True),
    Column("amount", BigInteger, nullable=False),
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", String, primary_key=True),
    Column("task_id", String, nullable=False, index=True),
    Column("account_id", String, nullable=False),
    Column("url", Text, nullable=False),
    Column("host", String, nullable=False),  # host:port of the url; deliveries are fair between hosts
    Column("event", String, nullable=False),  # the task's state that it tells
    Column("state", String, nullable=False),  # waiting, delivered, dead
    Column("attempts", Integer, nullable=False, default=0),
    Column("lose", Integer, nullable=False, default=0),  # tries to lose on purpose, for test keys
    Column("next_at", Double, nullable=False),
    Column("give_up_at", Double, nullable=False),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("owner", String),
    Column("lease_until", Double),
    Column("created_at", Double, nullable=False),
    Column("delivered_at", Double),
    UniqueConstraint("task_id", "event"),
)
# Written out, for a query whose state is a parameter cannot be seen to be about the rows that an index has.
WAITING = callbacks.c.state == literal_column("'waiting'")
FIRST_TRY = and_(WAITING, callbacks.c.attempts == literal_column("0"))
Index("ix_callbacks_waiting", callbacks.c.next_at, sqlite_where=WAITING, postgresql_where=WAITING)
Index(
    "ix_callbacks_host",
    callbacks.c.host,
    callbacks.c.next_at,
    callbacks.c.id,
    sqlite_where=WAITING,
    postgresql_where=WAITING,
)
Index(
    "ix_callbacks_first",
    callbacks.c.host,
    callbacks.c.next_at,
    callbacks.c.id,
    sqlite_where=FIRST_TRY,
    postgresql_where=FIRST_TRY,
)

media = Table(
    "media",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, nullable=False, index=True),
    Column("task_id", String, index=True),
    Column("role", String, nullable=False),  # video, image, audio, poster, last_frame, input, upload
    Column("path", String, nullable=False),  # in the object store
    Column("content_type", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("seconds", Double),
    Column("created_at", Double, nullable=False),
    Column("deleted_at", Double),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("filename", String, nullable=False),
    Column("media_id", String),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

# A slice of an account's money that one process may spend without asking: a hold like a task's, closed like one.
leases = Table(
    "leases",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("account_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False, default=0),
    Column("until", Double, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("closed_at", Double),
)
_OPEN = leases.c.closed_at.is_(None)
Index("ix_leases_open", leases.c.owner, sqlite_where=_OPEN, postgresql_where=_OPEN)

# One relayed call that cost or could have cost something. Never changed.
calls = Table(
    "calls",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("account_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("model", String, nullable=False),  # as the client named it
    Column("vendor_model", String, nullable=False),
    Column("channel_id", String, nullable=False),
    Column("lease_id", String),
    Column("status", Integer, nullable=False),
    Column("outcome", String, nullable=False),  # done, client_gone, broken_off
    Column("attempts", Integer, nullable=False),
    Column("milliseconds", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("used", Text, nullable=False),  # JSON, every class apart
    Column("estimated", Boolean, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("request_id", String, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_calls_account", calls.c.account_id, calls.c.created_at)

# What a vendor keeps under an id of its own (a response, a file, a batch): whose it is, and which channel has it.
objects = Table(
    "objects",
    metadata,
    # Two vendors may give the same id, so it is one account's name for a thing and no more.
    Column("account_id", String, primary_key=True),
    Column("mode", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("kind", String, nullable=False),  # `relay.objects.Sort`
    Column("channel_id", String, nullable=False),
    Column("credential", String, nullable=False, default=""),  # which of the channel's keys: the start of its hash
    Column("model", String, nullable=False, default=""),
    Column("body", Text, nullable=False),  # as last told by the vendor
    Column("about", Text, nullable=False, default="{}"),  # JSON: what else must be known of it (`relay/objects.py`)
    Column("held", BigInteger, nullable=False, default=0),  # set aside for what it will have cost
    Column("created_at", Double, nullable=False),
    Column("next_at", Double),  # when its vendor is asked whether it has ended; null: nothing to ask
    Column("ended_at", Double),  # when it was seen to have ended and was charged
    Column("deleted_at", Double),
)
Index("ix_objects_account", objects.c.account_id, objects.c.kind, objects.c.created_at)
Index(
    "ix_objects_next",
    objects.c.next_at,
    sqlite_where=objects.c.next_at.is_not(None),
    postgresql_where=objects.c.next_at.is_not(None),
)
