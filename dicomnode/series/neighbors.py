"""Receivers beside this one on the same database: which of them live, what the dead ones left.

What they tell each other, open associations, is the registry's to write and to ask for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from dicomnode.database import Database
from dicomnode.database.touch_rows import forget_association, list_open_associations
from dicomnode.log import get_logger

_log = get_logger("series")


class Neighbors:
    """The other receivers on a database.

    A series may come over associations to several of them; it is not complete while one that
    brought an instance of it is open anywhere, unless its receiver has died.

    Parameters
    ----------
    database : Database
    receiver : str
        Name of this process, which its lease is held under.
    is_alive : callable
        Told a receiver's name, whether its process lives.
    keep : callable
        Makes sure that this process still counts as alive; False if it did not for a while.
    recover : callable
        Records what a dead receiver acknowledged: the files are there, the last rows may not be.
    """

    def __init__(
        self,
        database: Database,
        *,
        receiver: str,
        is_alive: Callable[[str], bool],
        keep: Callable[[], bool],
        recover: Callable[[], object],
    ) -> None:
        self.receiver = receiver
        self._database = database
        self._is_alive = is_alive
        self._keep = keep
        self._recover = recover
        self._lock = threading.Lock()

    def look_after(self) -> None:
        """Take over from receivers that died: nobody else would ever end their associations.

        Until then no series is closed that they touched.
        """
        # By one thread at a time: who finds it done must be able to rely on that.
        with self._lock:
            self._look_after()

    def _look_after(self) -> None:
        if not self._keep():
            return  # after a database's restart all have to show that they live, first
        with self._database.begin() as transaction:
            found = list_open_associations(transaction)
        dead = [
            receiver
            for receiver in sorted(found.keys() - {self.receiver})
            if not self._is_alive(receiver)
        ]
        if not dead:
            return
        self._recover()
        for receiver in dead:
            # Those that it had when it was dead: a successor may have its name by now.
            with self._database.begin() as transaction:
                for association_id in found[receiver]:
                    forget_association(transaction, association_id)
            _log.info("receiver_died", receiver=receiver)
