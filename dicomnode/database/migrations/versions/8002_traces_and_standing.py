"""Trace contexts of series and jobs; deliveries found by their state."""

import sqlalchemy as sa
from alembic import op

revision = "8002"
down_revision = "5002"


def upgrade() -> None:
    """Add the columns and the index."""
    for name in ("series", "job"):
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("traceparent", sa.String(55)))
    op.create_index("delivery_state", "delivery", ["state"])
