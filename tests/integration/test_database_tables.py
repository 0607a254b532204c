"""Tables made at once and tables made by migrations, one after the other, are the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext

from dicomnode import database as database_package
from dicomnode.database import open_database
from dicomnode.database.connect import LATEST_MIGRATION, VERSION_TABLE, revision_of
from dicomnode.database.migrate import migrate
from dicomnode.database.tables import metadata

OLDER = "5002"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path):
    """Return the engine of a database without tables, and what the configuration calls it."""
    if request.param == "sqlite":
        url, full_url = "sqlite", f"sqlite:///{tmp_path}/dicomnode.sqlite"
    else:
        url = request.getfixturevalue("postgres").new_database(is_empty=True)
        full_url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = sa.create_engine(full_url)
    yield engine, url
    engine.dispose()


def described(engine):
    """Return all that the database itself says of its tables."""
    found = sa.inspect(engine)

    def by_name(things):
        return {each["name"]: {**each, "type": str(each.get("type"))} for each in things}

    return {
        name: {
            "columns": by_name(found.get_columns(name)),
            "indexes": by_name(found.get_indexes(name)),
            "unique": by_name(found.get_unique_constraints(name)),
            "checks": by_name(found.get_check_constraints(name)),
            "foreign": found.get_foreign_keys(name),
            "primary": found.get_pk_constraint(name),
        }
        for name in found.get_table_names()
    }


def only_to(version, engine):
    """Bring a database without tables to an older version."""
    config = Config()
    config.set_main_option(
        "script_location", str(Path(database_package.__file__).parent / "migrations")
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)


def test_both_ways_lead_to_the_same_tables(empty, tmp_path):
    engine, url = empty
    migrate(engine)
    by_migrations = described(engine)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(sa.text(f"drop table {VERSION_TABLE}"))
    assert described(engine) == {}

    open_database(url, data_dir=tmp_path).close()

    assert set(by_migrations) == {*metadata.tables, VERSION_TABLE}
    assert described(engine) == by_migrations


def test_a_database_of_an_older_version_is_brought_up_to_date(empty, tmp_path):
    engine, url = empty
    only_to(OLDER, engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text("insert into sent values ('pacs', '1.2.3', 0, '2026-11-01 12:00:00')")
        )

    opened = open_database(url, data_dir=tmp_path)

    with opened.begin() as transaction:
        kept = transaction.execute(sa.select(metadata.tables["sent"].c.sop_instance_uid)).scalars()
        assert list(kept) == ["1.2.3"]
    assert revision_of(opened) == LATEST_MIGRATION
    opened.close()


def test_processes_that_start_at_once_make_the_tables_once(empty, tmp_path):
    engine, url = empty
    with ThreadPoolExecutor(8) as starting:
        opened = list(starting.map(lambda _: open_database(url, data_dir=tmp_path), range(8)))

    assert {revision_of(each) for each in opened} == {LATEST_MIGRATION}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert context.get_current_heads() == (LATEST_MIGRATION,)
    for each in opened:
        each.close()
