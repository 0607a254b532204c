"""From an encoded data set to a C-STORE status.  No network: bytes and identifiers come in.

Whoever brings the bytes calls `StoreHandler.begin` and gives them as they come, or
`StoreHandler.handle` with all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dicomnode import tracing
from dicomnode.errors import (
    DuplicateInstance,
    InstanceUnreadable,
    NodeError,
    ReceiveError,
    SopClassMismatch,
    SpoolFull,
)
from dicomnode.log import get_logger
from dicomnode.metrics import INSTANCE_BYTES, INSTANCES_QUARANTINED
from dicomnode.receive.acceptance import DEFAULT_POLICY, StorePolicy
from dicomnode.receive.limits import Limits
from dicomnode.receive.sink import InstanceSink
from dicomnode.receive.tally import Tally
from dicomnode.spool.incoming import Incoming
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import Identity
from dicomnode.spool.quarantine import Quarantine
from dicomnode.standard.status import StoreStatus
from dicomnode.standard.uids import is_valid_uid

_DOTTED: Final = re.compile(r"[0-9.]{1,64}", re.ASCII)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCommand:
    """One C-STORE-RQ whose data set is still on its way (PS3.7 9.3.1.1).

    Attributes
    ----------
    sop_class_uid, sop_instance_uid : str
        Affected SOP Class and Instance UID of the command.
    context_sop_class_uid : str
        Abstract syntax of the presentation context it came in.
    transfer_syntax_uid : str
        Of that context.
    """

    sop_class_uid: str
    sop_instance_uid: str
    context_sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest(StoreCommand):
    """One C-STORE-RQ with its data set.

    Attributes
    ----------
    data_set : bytes
        As encoded by the peer.
    """

    data_set: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The association a request came over.

    Attributes
    ----------
    association_id : str
        Ours, for logs and the sink.
    pipeline : str
        Behind the called AE title.
    calling_ae_title, called_ae_title, host : str
    span : Span
        Of the association; those of its instances are below it.
    """

    association_id: str
    pipeline: str
    calling_ae_title: str
    called_ae_title: str
    host: str
    span: tracing.Span = tracing.NOTHING


class NoteIgnored(Protocol):
    """Remembers an instance that is acknowledged and ignored."""

    def __call__(
        self, pipeline: str, *, sop_class_uid: str, sop_instance_uid: str, calling_ae_title: str
    ) -> None:
        """Record it; an exception becomes a failure status."""


class StoreHandler:
    """Checks, stores and reports one instance after the other.

    Parameters
    ----------
    store : InstanceStore
    quarantine : Quarantine
        For what cannot be understood.
    sink : InstanceSink
    policies : mapping, optional
        By pipeline; CT is stored and the rest ignored without.
    limits : Limits, optional
    ignored : callable, optional
        Told of instances that are acknowledged and ignored.
    """

    def __init__(
        self,
        *,
        store: InstanceStore,
        quarantine: Quarantine,
        sink: InstanceSink,
        policies: Mapping[str, StorePolicy] | None = None,
        limits: Limits | None = None,
        ignored: NoteIgnored | None = None,
    ) -> None:
        self._policies = dict(policies or {})
        self._parts = _Parts(store, quarantine, sink, limits or Limits(store), ignored)

    def handle(self, request: StoreRequest, caller: Caller) -> int:
        """Store an instance that has come whole and return the C-STORE status; it raises nothing.

        Returns
        -------
        int
            As `Reception.finish`.
        """
        reception = self.begin(request, caller)
        reception.write(request.data_set)
        return reception.finish()

    def begin(self, command: StoreCommand, caller: Caller) -> Reception:
        """Begin to store an instance; it raises nothing.

        Returns
        -------
        Reception
            Takes the data set as it comes.  It must be finished or abandoned.
        """
        policy = self._policies.get(caller.pipeline, DEFAULT_POLICY)
        return Reception(command, caller, policy, self._parts)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What every reception needs."""

    store: InstanceStore
    quarantine: Quarantine
    sink: InstanceSink
    limits: Limits
    ignored: NoteIgnored | None


class Reception:
    """One instance on its way from the network into the spool.

    What is wrong with it is found at once or at the end; either way its data set is taken to the
    end, since the peer sends it before it listens.  No method raises anything.
    """

    def __init__(
        self, command: StoreCommand, caller: Caller, policy: StorePolicy, parts: _Parts
    ) -> None:
        self._command = command
        self._caller = caller
        self._parts = parts
        self._tally = Tally(caller.pipeline, caller.span)
        self._incoming: Incoming | None = None
        self._refusal: Exception | None = None
        self._room = 0
        self.is_ignored = not policy.is_stored(command.sop_class_uid)
        self.reason: str | None = None
        """Why it was not stored, in words, when it is finished; the status says less."""
        if not self.is_ignored:
            try:
                self._incoming = self._open()
            except Exception as error:  # noqa: BLE001 - it is what `finish` answers with
                self._refusal = error

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes of the data set; `chunk` may be overwritten afterwards."""
        incoming = self._incoming
        if incoming is None:
            return
        try:
            # Before it is written, so that what is over a limit never fills the disk.
            so_far = incoming.size_bytes + len(chunk)
            if so_far > self._room:
                limits, pipeline = self._parts.limits, self._caller.pipeline
                limits.check(pipeline, so_far)
                self._room = max(so_far, limits.room(pipeline))
            incoming.write(chunk)
        except Exception as error:  # noqa: BLE001 - it is what `finish` answers with
            self._refusal = error
            self._discard()

    def finish(self) -> int:
        """Store what has come and return the C-STORE status.

        Returns
        -------
        int
            0x0000 when the instance is durable and the sink knows of it, or when its SOP class is
            one to be ignored; else the failure (PS3.4 B.2.3).
        """
        with self._tally.active():
            status, label = self._finish()
        self._discard()
        self._tally.answered(label)
        return status

    def _finish(self) -> tuple[int, str]:
        """Return the status, and what metrics call it."""
        label = "ignored"
        status: int = StoreStatus.SUCCESS
        # This is one of the places that catch everything: a stray exception would be answered
        # with 0xC211 by the library, which tells the sender the wrong thing.
        try:
            if self.is_ignored:
                self._ignore()
            else:
                self._take()
                label = f"{status:04X}"
        except ReceiveError as error:
            status, self.reason = error.status, str(error)
            label = f"{status:04X}"
            self._tally.refused(error)
            kept = self._put_aside(error)
            self._log().warning(
                "instance_refused", status=label, reason=str(error), quarantine=kept
            )
        except NodeError as error:
            status, self.reason = StoreStatus.OUT_OF_RESOURCES, str(error)
            label = f"{status:04X}"
            self._tally.refused(error)
            self._log().error("instance_not_recorded", status=label, reason=str(error))
        except Exception as error:  # noqa: BLE001 - as said above
            status, self.reason = StoreStatus.OUT_OF_RESOURCES, "the node failed"
            label = f"{status:04X}"
            self._tally.refused(error)
            self._log().exception("instance_failed", status=label)
        return status, label

    def abandon(self) -> None:
        """Leave nothing behind: the association ended within the data set."""
        self._discard()
        self._tally.abandoned()

    def _discard(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        try:
            incoming.discard()
        except OSError as error:
            # The start-up scan removes what is left; the peer's status does not depend on it.
            self._log().error("leftover_not_removed", reason=error.strerror)

    def _ignore(self) -> None:
        caller, command = self._caller, self._command
        self._log().info("instance_ignored", calling_ae_title=caller.calling_ae_title)
        if self._parts.ignored is not None:
            self._parts.ignored(
                caller.pipeline,
                sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid,
                calling_ae_title=caller.calling_ae_title,
            )

    def _open(self) -> Incoming:
        command = self._command
        if command.context_sop_class_uid != command.sop_class_uid:
            raise SopClassMismatch(
                f"wanted SOP Class {command.context_sop_class_uid} of the presentation context, "
                f"found {_loggable(command.sop_class_uid)} in the command"
            )
        return self._parts.store.open(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax_uid=command.transfer_syntax_uid,
            calling_ae_title=self._caller.calling_ae_title,
        )

    def _take(self) -> None:
        if self._refusal is not None or self._incoming is None:
            raise self._refusal or SpoolFull("the instance was not kept")
        caller, command = self._caller, self._command
        # Once more: others may have used up what was left when it began to come.
        self._parts.limits.check(caller.pipeline, self._incoming.size_bytes)
        identity = self._incoming.identity()
        _check_identity(identity, command)
        store = self._parts.store
        ref = store.keep(
            self._incoming,
            identity,
            pipeline=caller.pipeline,
            transfer_syntax_uid=command.transfer_syntax_uid,
        )
        try:
            is_kept = self._parts.sink.instance_stored(
                caller.pipeline,
                ref,
                calling_ae_title=caller.calling_ae_title,
                association_id=caller.association_id,
            )
        except DuplicateInstance:
            store.discard(ref)
            raise
        if is_kept is False:
            store.discard(ref)
            return
        self._parts.limits.add(caller.pipeline, ref.size_bytes)
        if self._incoming.is_repeat and not store.has(ref.key):
            # Its series was old, and was pruned between the file and the row of this one.
            raise SpoolFull("the instance was removed while it came once more; send it again")
        INSTANCE_BYTES.labels(caller.pipeline).inc(ref.size_bytes)

    def _put_aside(self, error: ReceiveError) -> str | None:
        """Keep what could not be understood, if there is room; return its id."""
        if not isinstance(error, InstanceUnreadable) or self._incoming is None:
            return None
        caller, command = self._caller, self._command
        facts = {
            "association_id": caller.association_id,
            "called_ae_title": caller.called_ae_title,
            "calling_ae_title": caller.calling_ae_title,
            "host": caller.host,
            "pipeline": caller.pipeline,
            "sop_class_uid": _loggable(command.sop_class_uid),
            "sop_instance_uid": _loggable(command.sop_instance_uid),
            "transfer_syntax_uid": command.transfer_syntax_uid,
        }
        try:
            with self._incoming.content() as data_set:
                if data_set is None or self._parts.store.free_bytes() < len(data_set):
                    return None
                kept = self._parts.quarantine.keep(data_set, reason=str(error), facts=facts)
        except (OSError, NodeError) as failure:
            # The sender gets its status all the same; what is lost is our copy of a refused object.
            self._log().error("quarantine_failed", reason=str(failure))
            return None
        INSTANCES_QUARANTINED.labels(caller.pipeline).inc()
        return kept

    def _log(self) -> Any:
        """Return the logger with what is known; made only where there is something to say."""
        return _log.bind(
            association_id=self._caller.association_id,
            pipeline=self._caller.pipeline,
            sop_class_uid=_loggable(self._command.sop_class_uid),
            sop_instance_uid=_loggable(self._command.sop_instance_uid),
        )


def _check_identity(identity: Identity, request: StoreCommand) -> None:
    for name, uid in (
        ("SOP Class UID", identity.sop_class_uid),
        ("SOP Instance UID", identity.sop_instance_uid),
        ("Study Instance UID", identity.study_instance_uid),
        ("Series Instance UID", identity.series_instance_uid),
    ):
        if not is_valid_uid(uid):
            raise InstanceUnreadable(f"{name}: wanted a UID (PS3.5 9.1), found {_loggable(uid)}")
    for name, wanted, found in (
        ("SOP Class UID", request.sop_class_uid, identity.sop_class_uid),
        ("SOP Instance UID", request.sop_instance_uid, identity.sop_instance_uid),
    ):
        if wanted != found:
            raise SopClassMismatch(
                f"{name}: wanted {_loggable(wanted)} of the command, found {found} in the data set"
            )


def _loggable(uid: str) -> str:
    """Return a UID as it is; of what is none only the length, as it may be anybody's name."""
    return uid if _DOTTED.fullmatch(uid) else f"<{len(uid)} characters>"
