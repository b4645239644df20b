"""Callbacks are found host by host; what a vendor is to be told after a cancel outlives the process."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

WAITING = sa.text("state = 'waiting'")
FIRST_TRY = sa.text("state = 'waiting' AND attempts = 0")
TO_STOP = sa.text("stop_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("tasks", sa.Column("stop_at", sa.Double()))
    op.create_index("ix_tasks_stop", "tasks", ["stop_at"], sqlite_where=TO_STOP, postgresql_where=TO_STOP)
    for name, which in (("ix_callbacks_host", WAITING), ("ix_callbacks_first", FIRST_TRY)):
        op.create_index(name, "callbacks", ["host", "next_at", "id"], sqlite_where=which, postgresql_where=which)


def downgrade() -> None:
    op.drop_index("ix_callbacks_first", "callbacks")
    op.drop_index("ix_callbacks_host", "callbacks")
    op.drop_index("ix_tasks_stop", "tasks")
    op.drop_column("tasks", "stop_at")
