"""How often the inference server ended while it was asked about a job."""

import sqlalchemy as sa
from alembic import op

revision = "5002"
down_revision = "3002"


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("interruptions", sa.Integer, nullable=False, server_default="0"))
