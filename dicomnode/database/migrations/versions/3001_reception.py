"""What receiving records beside instances: notes on what was not kept, storage commitment."""

import sqlalchemy as sa
from alembic import op

from dicomnode.database.tables import UtcDateTime

revision = "3001"
down_revision = "5001"


def upgrade() -> None:
    """Make the tables.  Written out: a migration must not change when `tables` does."""
    op.create_table(
        "reception_note",
        sa.Column("pipeline", sa.String(40), primary_key=True),
        sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("first_at", UtcDateTime, nullable=False),
        sa.Column("last_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "commitment",
        sa.Column("pipeline", sa.String(40), primary_key=True),
        sa.Column("calling_ae_title", sa.String(16), primary_key=True),
        sa.Column("transaction_uid", sa.String(64), primary_key=True),
        sa.Column("called_ae_title", sa.String(16), nullable=False),
        sa.Column("instances", sa.JSON, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("words", sa.String(500)),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Index("commitment_due", "state", "due_at"),
    )
