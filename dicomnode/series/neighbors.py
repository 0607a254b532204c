"""Receivers beside this one on the same database: whose associations are open, what they left.

Without neighbors, as in a node of one process, nothing here is used.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dicomnode.database import Database, Transaction, is_away
from dicomnode.database.series_rows import get_series
from dicomnode.database.touch_rows import (
    add_touch,
    is_touched_by_others,
    list_receivers,
    remove_touches,
)
from dicomnode.log import get_logger

_log = get_logger("series")


class Neighbors:
    """What several receivers tell each other through the database.

    A series may come over associations to several of them; it is not complete while one that
    brought an instance of it is open anywhere.

    Parameters
    ----------
    database : Database
    receiver : str
        Name of this process, which its lease is held under.
    is_alive : callable
        Told a receiver's name, whether its process lives.
    keep : callable
        Makes sure that this process still counts as alive; False if it did not for a while.
    """

    def __init__(
        self,
        database: Database,
        *,
        receiver: str,
        is_alive: Callable[[str], bool],
        keep: Callable[[], bool],
    ) -> None:
        self._database = database
        self._receiver = receiver
        self._is_alive = is_alive
        self._keep = keep
        self._ended: set[str] = set()

    def touch(
        self,
        transaction: Transaction,
        association_id: str,
        *,
        pipeline: str,
        series_instance_uid: str,
    ) -> None:
        """Record, with the instance, that an open association brought it."""
        add_touch(
            transaction,
            self._receiver,
            association_id,
            pipeline=pipeline,
            series_instance_uid=series_instance_uid,
        )

    def ended(self, association_id: str) -> None:
        """Record that an association of this receiver ended, later if the database is away."""
        self._ended.add(association_id)
        try:
            self._record_ended()
        except Exception as error:
            if not is_away(error):
                raise
            _log.warning("association_end_not_recorded_yet", association=association_id)

    def _record_ended(self) -> None:
        for association_id in tuple(self._ended):
            with self._database.begin() as transaction:
                remove_touches(transaction, self._receiver, association_id)
            self._ended.discard(association_id)

    def is_busy(
        self,
        transaction: Transaction,
        pipeline: str,
        series_instance_uid: str,
        *,
        quiet_seconds: float,
    ) -> bool:
        """Whether another receiver has a say: an association is open, or an instance just came."""
        row = get_series(transaction, pipeline, series_instance_uid)
        since = datetime.now(UTC) - timedelta(seconds=quiet_seconds)
        if row is not None and row.last_received_at > since:
            return True
        return is_touched_by_others(
            transaction,
            self._receiver,
            pipeline=pipeline,
            series_instance_uid=series_instance_uid,
        )

    def look_after(self) -> None:
        """Forget the associations of receivers that died: nobody else would ever end them."""
        self._record_ended()
        if not self._keep():
            return  # after a database's restart all have to show that they live, first
        with self._database.begin() as transaction:
            receivers = list_receivers(transaction) - {self._receiver}
        for receiver in sorted(receivers):
            if not self._is_alive(receiver):
                with self._database.begin() as transaction:
                    remove_touches(transaction, receiver)
                _log.info("receiver_died", receiver=receiver)
