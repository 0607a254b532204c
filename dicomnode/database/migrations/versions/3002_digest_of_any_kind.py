"""The digest of a data set is no SHA-256 any more: its columns say what it is for."""

from alembic import op

revision = "3002"
down_revision = "8001"


def upgrade() -> None:
    """Rename the columns."""
    for name in ("instance", "reception_note"):
        with op.batch_alter_table(name) as table:
            table.alter_column("sha256", new_column_name="digest")
