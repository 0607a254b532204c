"""Delivery attempts, storage commitment, pace of destinations, runners."""

import sqlalchemy as sa
from alembic import op

from dicomnode.database.tables import UtcDateTime

revision = "7001"
down_revision = "3001"


def upgrade() -> None:
    """Add the tables and columns."""
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("runner", sa.String(40)))
    with op.batch_alter_table("delivery") as table:
        table.add_column(
            sa.Column("attempts_before", sa.Integer, nullable=False, server_default="0")
        )
    op.create_table(
        "delivery_attempt",
        sa.Column("job_id", sa.String(200), primary_key=True),
        sa.Column("destination", sa.String(40), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("outcome", sa.String(12), nullable=False),
        sa.Column("words", sa.String(500)),
        sa.Column("objects", sa.JSON, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "destination"],
            ["delivery.job_id", "delivery.destination"],
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "commitment_request",
        sa.Column("transaction_uid", sa.String(64), primary_key=True),
        sa.Column("job_id", sa.String(200), nullable=False),
        sa.Column("destination", sa.String(40), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("sop_instance_uids", sa.JSON, nullable=False),
        sa.Column("missing", sa.JSON, nullable=False),
        sa.Column("asked_at", UtcDateTime, nullable=False),
        sa.Column("answered_at", UtcDateTime),
        sa.Index("commitment_request_of_job", "job_id"),
    )
    op.create_table(
        "pace",
        sa.Column("destination", sa.String(40), primary_key=True),
        sa.Column("next_at", UtcDateTime, nullable=False),
    )
