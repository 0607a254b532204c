"""The series side of a receiver: `intake` records what arrives, `watch` closes what is complete.

Joins the two, and is all that others see of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from dicomnode.config import CompletionConfig
from dicomnode.database import Database, Transaction
from dicomnode.database.series_rows import Duplicates
from dicomnode.database.touch_rows import forget_receiver
from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import SeriesRevision
from dicomnode.series.intake import Intake
from dicomnode.series.neighbors import Neighbors
from dicomnode.series.questions import Inquiry
from dicomnode.series.watch import Watch


class SeriesRegistry:
    """Knows which series are open and closes them when they are complete.

    Parameters
    ----------
    database : Database
    completion : mapping of str to CompletionConfig
        By pipeline.
    submit : callable
        Called in the transaction that closes a series, with its revision: both or neither.
    duplicates : mapping, optional
        By pipeline; the first of two is kept without.
    inquiry : Inquiry or None
        None: series are closed by time alone.
    receiver : str
        Names this process among those that receive on the database.
    clock : callable
        Monotonic seconds.
    neighbors : Neighbors or None
        Where other receivers may share the database.
    set_aside : callable
        As of `Intake`.
    rows_first : bool
        Whether an instance's row must be durable before its sender is told so: where receivers
        have no disk in common, rows are what says that an instance is there.
    """

    def __init__(
        self,
        database: Database,
        *,
        completion: Mapping[str, CompletionConfig],
        submit: Callable[[Transaction, SeriesRevision], str | None],
        duplicates: Mapping[str, Duplicates] | None = None,
        inquiry: Inquiry | None = None,
        receiver: str = "node",
        clock: Callable[[], float] = time.monotonic,
        neighbors: Neighbors | None = None,
        set_aside: Callable[[str, InstanceRef], None] = lambda _pipeline, _ref: None,
        rows_first: bool = False,
    ) -> None:
        self._database = database
        self._receiver = receiver
        self.watch = Watch(
            database,
            completion=completion,
            submit=submit,
            inquiry=inquiry,
            receiver=receiver,
            clock=clock,
            neighbors=neighbors,
        )
        self.intake = Intake(
            database,
            self.watch,
            receiver=receiver,
            duplicates=duplicates or {},
            clock=clock,
            set_aside=set_aside,
            rows_first=rows_first,
        )

    def start(self) -> None:
        """Take up the series that were open when the node last stopped, and watch from now on."""
        with self._database.begin() as transaction:
            forget_receiver(transaction, self._receiver)
        self.intake.start()
        self.watch.start(flush=self.intake.flush, forget=self.intake.forget)

    def silent_seconds(self) -> float:
        """Return for how long the closing thread has not come round, as `Watch.silent_seconds`."""
        return self.watch.silent_seconds()

    def stop(self) -> None:
        """Close no more series; those that are open stay so until the next start."""
        self.intake.stop()
        self.watch.stop()

    def restore(
        self,
        found: Iterable[tuple[str, InstanceRef]],
        *,
        source_ae_title: Callable[[InstanceRef], str] = lambda _ref: "",
    ) -> int:
        """Record what the spool holds and the database may not, as `Intake.restore`."""
        return self.intake.restore(found, source_ae_title=source_ae_title)

    def flush(self) -> None:
        """Return once the rows of everything stored so far are durable.

        Raises
        ------
        StateError
            If rows cannot be written now.
        """
        self.intake.flush()

    # -- what the receiver tells

    def association_opened(
        self, association_id: str, *, pipeline: str, calling_ae_title: str
    ) -> None:
        """Do nothing: an association concerns a series once it brings an instance of it."""

    def instance_stored(
        self, pipeline: str, ref: InstanceRef, *, calling_ae_title: str, association_id: str
    ) -> bool:
        """Take note of an instance whose file is durable, as `Intake.instance_stored`."""
        return self.intake.instance_stored(
            pipeline, ref, calling_ae_title=calling_ae_title, association_id=association_id
        )

    def association_ended(
        self, association_id: str, *, pipeline: str, how: Literal["released", "aborted"]
    ) -> None:
        """Let the series that the association brought instances of know that it ended."""
        self.intake.association_ended(association_id, pipeline=pipeline, how=how)
