"""Alembic's entry: runs migrations on the connection that `connect` hands over."""

from alembic import context

from dicomnode.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="dicomnode_version",  # the job engine keeps its own in the same database
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
