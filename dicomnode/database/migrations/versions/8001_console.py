"""Sessions of the console, what checks of destinations said, series by time."""

import sqlalchemy as sa
from alembic import op

from dicomnode.database.tables import UtcDateTime

revision = "8001"
down_revision = "7001"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "console_session",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("seen_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "destination_check",
        sa.Column("destination", sa.String(40), primary_key=True),
        sa.Column("is_ok", sa.Boolean, nullable=False),
        sa.Column("words", sa.String(500), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("series_by_time", "series", ["last_received_at"])
