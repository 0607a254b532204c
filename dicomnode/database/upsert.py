"""Insert-if-absent, alike on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def insert_if_absent(transaction: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Insert a row unless its primary key is taken; atomic against other writers.

    Returns
    -------
    bool
        Whether the row was inserted.
    """
    dialect = sqlite if transaction.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
    # Not by the count of rows: for an insert not every driver tells it.
    return transaction.execute(statement.returning(sa.literal(1))).first() is not None


def insert_many_if_absent(
    transaction: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> frozenset[tuple[Any, ...]]:
    """Insert the rows whose primary key is free; each atomic against other writers.

    Parameters
    ----------
    transaction : Connection
    table : Table
    rows : sequence of mapping
        With different primary keys and the same columns.

    Returns
    -------
    frozenset of tuple
        Primary keys of the rows that were inserted.
    """
    if not rows:
        return frozenset()
    dialect = sqlite if transaction.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).on_conflict_do_nothing().returning(*table.primary_key)
    return frozenset(tuple(row) for row in transaction.execute(statement, rows))
