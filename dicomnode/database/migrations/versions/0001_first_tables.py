"""First tables: series, instance, job, delivery, sent."""

import sqlalchemy as sa
from alembic import op

from dicomnode.database.tables import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables.  Written out: a migration must not change when `tables` does."""
    op.create_table(
        "series",
        sa.Column("pipeline", sa.String(40), primary_key=True),
        sa.Column("series_instance_uid", sa.String(64), primary_key=True),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(16)),
        sa.Column("closed_because", sa.String(20)),
        sa.Column("instance_count", sa.Integer, nullable=False),
        sa.Column("first_received_at", UtcDateTime, nullable=False),
        sa.Column("last_received_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "instance",
        sa.Column("pipeline", sa.String(40), primary_key=True),
        sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Index("instance_of_series", "pipeline", "series_instance_uid"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("pipeline", sa.String(40), nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(16), nullable=False),
        sa.Column("state", sa.String(12), nullable=False, index=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(20)),
        sa.Column("reason", sa.String(60)),
        sa.Column("sentence", sa.String(500)),
        sa.Column("seconds", sa.JSON, nullable=False),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Index("job_of_series", "pipeline", "series_instance_uid"),
    )
    op.create_table(
        "delivery",
        sa.Column("job_id", sa.String(200), sa.ForeignKey("job.id"), primary_key=True),
        sa.Column("destination", sa.String(40), primary_key=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("words", sa.String(500)),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "sent",
        sa.Column("destination", sa.String(40), primary_key=True),
        sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("sent_at", UtcDateTime, nullable=False),
    )
