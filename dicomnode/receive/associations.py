"""The associations that are open: who is admitted, who brought what, how each one ends.

The rules of admission are `admission`'s; negotiation and listening are `scp`'s.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from typing import Any, Final, Literal

from pynetdicom import evt
from pynetdicom.association import Association

from dicomnode import tracing
from dicomnode.log import bind_to_thread, get_logger
from dicomnode.metrics import ASSOCIATIONS, ASSOCIATIONS_OPEN
from dicomnode.receive.admission import Admission, Admitted, Rejected
from dicomnode.receive.limits import Limits
from dicomnode.receive.seats import OwnSeats, Seats
from dicomnode.receive.sink import InstanceSink
from dicomnode.receive.store import Caller

_POLL_SECONDS: Final = 0.2
_ABORT_SECONDS: Final = 5.0

_log = get_logger(__name__)


class OpenAssociations:
    """Admits associations, knows those that are open, and tells the sink of their ends.

    Parameters
    ----------
    admission : Admission
    limits : Limits
    sink : InstanceSink
    seats : Seats, optional
        Those of this process alone by default.
    """

    def __init__(
        self,
        admission: Admission,
        limits: Limits,
        sink: InstanceSink,
        *,
        seats: Seats | None = None,
    ) -> None:
        self._admission = admission
        self._seats = seats or OwnSeats()
        self._taken: dict[Association, int] = {}
        self._limits = limits
        self._sink = sink
        self._open: dict[Association, Caller] = {}
        self._changed = threading.Condition()
        self._is_draining = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._open)

    def caller(self, assoc: Association) -> Caller | None:
        """Return who is at the other end; None if the association is not open."""
        with self._changed:
            return self._open.get(assoc)

    def admit(self, assoc: Association, request: Any) -> Admitted | Rejected:
        """Decide about an association request, and count it as open if it is admitted."""
        host = assoc.requestor.address
        pipeline = self._admission.pipeline(request.called_ae_title)
        # Asked before the lock is taken: disk and database may be slow.
        shortage = None if pipeline is None else self._limits.shortage(pipeline)
        with self._changed, self._seats.alone():
            in_all, from_peer = self._seats.count(host)
            decision = self._admission.decide(
                called_ae_title=request.called_ae_title,
                calling_ae_title=request.calling_ae_title,
                host=host,
                open_associations=in_all,
                open_from_peer=from_peer,
                is_draining=self._is_draining,
                shortage=shortage,
            )
            if isinstance(decision, Rejected):
                return decision
            association_id = uuid.uuid4().hex[:16]
            caller = Caller(
                association_id=association_id,
                pipeline=decision.pipeline,
                calling_ae_title=request.calling_ae_title,
                called_ae_title=request.called_ae_title,
                host=host,
                span=tracing.begin(
                    "association",
                    kind="server",
                    association_id=association_id,
                    pipeline=decision.pipeline,
                    calling_ae_title=request.calling_ae_title,
                ),
            )
            self._open[assoc] = caller
            self._taken[assoc] = self._seats.take(host)
        ASSOCIATIONS_OPEN.labels(caller.pipeline).inc()
        # The association's own thread: what it logs from now on, whoever says it, bears this.
        bind_to_thread(association_id=caller.association_id, pipeline=caller.pipeline)
        self._sink.association_opened(
            caller.association_id,
            pipeline=caller.pipeline,
            calling_ae_title=caller.calling_ae_title,
        )
        _log.info(
            "association_admitted",
            called_ae_title=caller.called_ae_title,
            calling_ae_title=caller.calling_ae_title,
            host=caller.host,
        )
        return decision

    def forget(self, assoc: Association) -> None:
        """Count an association as not open that could not be admitted after all."""
        with self._changed:
            caller = self._remove(assoc)
        if caller is not None:
            ASSOCIATIONS_OPEN.labels(caller.pipeline).dec()
            caller.span.end()

    def on_ended(self, event: evt.Event) -> None:
        """Hear the library tell of a release or an abort."""
        # An abort of ours is told from the aborting thread, while the association's own may still
        # be storing: its end is then found by `sweep`, so that it comes after its last instance.
        if threading.current_thread() is event.assoc:
            released = event.event is evt.EVT_RELEASED
            self._end(event.assoc, "released" if released else "aborted")

    def sweep(self) -> None:
        """Tell the end of associations whose threads died without an event of the library."""
        with self._changed:
            dead = [assoc for assoc in self._open if not assoc.is_alive()]
        for assoc in dead:
            self._end(assoc, "released" if assoc.is_released else "aborted")

    def begin_drain(self) -> None:
        """Admit no more."""
        with self._changed:
            self._is_draining = True

    def wait_until_none_open(self, seconds: float) -> bool:
        """Wait for the ends of all; return whether none is open."""
        deadline = time.monotonic() + seconds
        while True:
            self.sweep()
            with self._changed:
                left = deadline - time.monotonic()
                if not self._open or left <= 0:
                    return not self._open
                self._changed.wait(min(left, _POLL_SECONDS))

    def abort_all(self) -> int:
        """Abort what is open; a peer that does not even take that loses its connection.

        Returns
        -------
        int
            How many were open.
        """
        with self._changed:
            left = dict(self._open)
        for assoc, caller in left.items():
            _log.warning("association_cut_off", association_id=caller.association_id)
            # Each in its own thread: aborting waits for the peer to close.
            threading.Thread(target=assoc.abort, name="receive-abort", daemon=True).start()
        if not self.wait_until_none_open(_ABORT_SECONDS):
            for assoc in left:
                _disconnect(assoc)
            if not self.wait_until_none_open(_ABORT_SECONDS):
                _log.error("associations_still_open", count=len(self))
        return len(left)

    def _remove(self, assoc: Association) -> Caller | None:
        """Count an association as not open; the lock is held."""
        seat = self._taken.pop(assoc, None)
        if seat is not None:
            self._seats.leave(seat)
        return self._open.pop(assoc, None)

    def _end(self, assoc: Association, how: Literal["released", "aborted"]) -> None:
        with self._changed:
            caller = self._remove(assoc)
            self._changed.notify_all()
        if caller is None:
            return
        ASSOCIATIONS.labels(how).inc()
        ASSOCIATIONS_OPEN.labels(caller.pipeline).dec()
        log = _log.bind(association_id=caller.association_id, pipeline=caller.pipeline)
        try:
            self._sink.association_ended(caller.association_id, pipeline=caller.pipeline, how=how)
        except Exception:
            log.exception("association_end_not_recorded")
        if how == "aborted":
            caller.span.fail(how)
        caller.span.end()
        log.info("association_ended", how=how)


def _disconnect(assoc: Association) -> None:
    connection = assoc.dul.socket.socket if assoc.dul.socket else None
    if connection is not None:
        with contextlib.suppress(OSError):  # gone already
            connection.shutdown(socket.SHUT_RDWR)
