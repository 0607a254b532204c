"""The rows behind series, jobs and deliveries, in SQLite or PostgreSQL.  No files, no policy."""

from dicomnode.database.absence import is_away, outlast
from dicomnode.database.connect import Database, Transaction, open_database, revision_of

__all__ = ["Database", "Transaction", "is_away", "open_database", "outlast", "revision_of"]
