"""Alembic's entry: runs migrations on the connection that `connect` hands over."""

from alembic import context

from dicomnode.database.connect import VERSION_TABLE
from dicomnode.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
