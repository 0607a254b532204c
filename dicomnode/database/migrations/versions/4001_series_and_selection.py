"""Selection decisions, open associations of all receivers, faults of instances."""

import sqlalchemy as sa
from alembic import op

from dicomnode.database.tables import UtcDateTime

revision = "4001"
down_revision = "0001"


def upgrade() -> None:
    """Add them.  Written out: a migration must not change when `tables` does."""
    op.add_column("instance", sa.Column("fault", sa.String(200)))
    op.create_table(
        "decision",
        sa.Column("pipeline", sa.String(40), primary_key=True),
        sa.Column("series_instance_uid", sa.String(64), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("is_selected", sa.Boolean, nullable=False),
        sa.Column("outcomes", sa.JSON, nullable=False),
        sa.Column("rank", sa.JSON, nullable=False),
        sa.Column("decided_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "touch",
        sa.Column("association_id", sa.String(40), primary_key=True),
        sa.Column("pipeline", sa.String(40), primary_key=True),
        sa.Column("series_instance_uid", sa.String(64), primary_key=True),
        sa.Column("receiver", sa.String(80), nullable=False, index=True),
        sa.Index("touch_of_series", "pipeline", "series_instance_uid"),
    )
