"""What a job asked: models, digests of their manifests, the server's version, times of calls."""

import sqlalchemy as sa
from alembic import op

revision = "5001"
down_revision = "4001"


def upgrade() -> None:
    """Add the column; jobs from before it have asked nothing that is known."""
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("models", sa.JSON, nullable=False, server_default="[]"))
