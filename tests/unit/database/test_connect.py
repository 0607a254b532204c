"""Opening the database: pragmas, migrations, faults."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from dicomnode import database as database_package
from dicomnode.database import open_database
from dicomnode.database.connect import LATEST_MIGRATION
from dicomnode.database.migrate import migrate
from dicomnode.database.tables import metadata
from dicomnode.errors import StateError


@pytest.fixture
def database(tmp_path):
    opened = open_database("sqlite", data_dir=tmp_path / "new" / "data")
    yield opened
    opened.close()


def test_migrations_are_one_chain_and_its_end_is_known():
    scripts = ScriptDirectory(Path(database_package.__file__).parent / "migrations")

    assert scripts.get_heads() == [LATEST_MIGRATION]


def test_migrations_make_the_tables_that_the_code_names(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/migrated.sqlite")
    migrate(engine)

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": "dicomnode_version", "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "wanted"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 30000)],
)
def test_a_committed_row_survives_a_power_cut(database, pragma, wanted):
    with database.engine.connect() as connection:
        assert connection.execute(sa.text(f"pragma {pragma}")).scalar_one() == wanted


def test_opening_again_finds_what_was_written(database, tmp_path):
    with database.begin() as transaction:
        transaction.execute(
            sa.insert(metadata.tables["sent"]).values(
                destination="pacs",
                sop_instance_uid="1.2",
                status=0,
                sent_at=sa.func.current_timestamp(),
            )
        )
    again = open_database("sqlite", data_dir=tmp_path / "new" / "data")

    with again.begin() as transaction:
        count = sa.select(sa.func.count()).select_from(metadata.tables["sent"])
        assert transaction.execute(count).scalar_one() == 1
    again.close()


def test_an_exception_rolls_back(database):
    insert = sa.insert(metadata.tables["job"])
    with pytest.raises(sa.exc.IntegrityError), database.begin() as transaction:
        transaction.execute(insert.values(id="x"))

    with database.begin() as transaction:
        assert transaction.execute(sa.select(metadata.tables["job"])).all() == []


def test_an_open_database_answers(database):
    assert database.ping() is None


def test_a_database_that_is_gone_is_told_without_its_address(tmp_path):
    gone = open_database("sqlite", data_dir=tmp_path)
    gone.close()
    (tmp_path / "dicomnode.sqlite").unlink()
    (tmp_path / "dicomnode.sqlite").mkdir()

    assert gone.ping() == "the database does not answer (OperationalError)"


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "dicomnode.sqlite").write_bytes(b"something else altogether" * 100)

    with pytest.raises(StateError, match="cannot be opened"):
        open_database("sqlite", data_dir=tmp_path)


def test_a_database_of_a_later_version_is_refused(tmp_path):
    open_database("sqlite", data_dir=tmp_path).close()
    with sqlite3.connect(tmp_path / "dicomnode.sqlite") as connection:
        connection.execute("update dicomnode_version set version_num = '9999'")
    connection.close()

    with pytest.raises(StateError, match="later version"):
        open_database("sqlite", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["50% of it", "what?", "a#b", "sp ace", "Röntgen"])
def test_any_folder_name_will_do(tmp_path, name):
    opened = open_database("sqlite", data_dir=tmp_path / name)

    assert opened.ping() is None
    opened.close()
    assert (tmp_path / name / "dicomnode.sqlite").is_file()
