"""From an encoded data set to a C-STORE status.  No network: bytes and identifiers come in.

Whoever brings the bytes, the library's data path or another one, calls `StoreHandler.handle`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dicomnode.errors import (
    InstanceUnreadable,
    NodeError,
    ReceiveError,
    SopClassMismatch,
    SpoolFull,
)
from dicomnode.log import get_logger
from dicomnode.metrics import INSTANCE_BYTES, INSTANCES
from dicomnode.receive.acceptance import is_stored
from dicomnode.receive.sink import InstanceSink
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import Identity, read_identity
from dicomnode.spool.quarantine import Quarantine
from dicomnode.standard.status import StoreStatus
from dicomnode.standard.uids import is_valid_uid

_DOTTED: Final = re.compile(r"[0-9.]{1,64}", re.ASCII)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """One C-STORE-RQ with its data set (PS3.7 9.3.1.1).

    Attributes
    ----------
    sop_class_uid, sop_instance_uid : str
        Affected SOP Class and Instance UID of the command.
    context_sop_class_uid : str
        Abstract syntax of the presentation context it came in.
    transfer_syntax_uid : str
        Of that context.
    data_set : bytes
        As encoded by the peer.
    """

    sop_class_uid: str
    sop_instance_uid: str
    context_sop_class_uid: str
    transfer_syntax_uid: str
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
    """

    association_id: str
    pipeline: str
    calling_ae_title: str
    called_ae_title: str
    host: str


class StoreHandler:
    """Checks, stores and reports one instance after the other.

    Parameters
    ----------
    store : InstanceStore
    quarantine : Quarantine
        For what cannot be understood.
    sink : InstanceSink
    """

    def __init__(self, *, store: InstanceStore, quarantine: Quarantine, sink: InstanceSink) -> None:
        self._store = store
        self._quarantine = quarantine
        self._sink = sink

    def handle(self, request: StoreRequest, caller: Caller) -> int:
        """Store an instance and return the C-STORE status; it raises nothing.

        Returns
        -------
        int
            0x0000 when the instance is durable and the sink knows of it, or when its SOP class is
            one to be ignored; else the failure (PS3.4 B.2.3).
        """
        label = "ignored"
        status: int = StoreStatus.SUCCESS
        log = _log.bind(
            association_id=caller.association_id,
            pipeline=caller.pipeline,
            sop_class_uid=_loggable(request.sop_class_uid),
            sop_instance_uid=_loggable(request.sop_instance_uid),
        )
        # This is one of the places that catch everything: a stray exception would be answered
        # with 0xC211 by the library, which tells the sender the wrong thing.
        try:
            if is_stored(request.sop_class_uid):
                self._take(request, caller)
                label = f"{status:04X}"
            else:
                log.info("instance_ignored", calling_ae_title=caller.calling_ae_title)
        except ReceiveError as error:
            status = error.status
            label = f"{status:04X}"
            kept = self._put_aside(request, caller, error)
            log.warning("instance_refused", status=label, reason=str(error), quarantine=kept)
        except NodeError as error:
            status = StoreStatus.OUT_OF_RESOURCES
            label = f"{status:04X}"
            log.error("instance_not_recorded", status=label, reason=str(error))  # noqa: TRY400 - named
        except Exception:
            status = StoreStatus.OUT_OF_RESOURCES
            label = f"{status:04X}"
            log.exception("instance_failed", status=label)
        INSTANCES.labels(caller.pipeline, label).inc()
        return status

    def _take(self, request: StoreRequest, caller: Caller) -> None:
        if request.context_sop_class_uid != request.sop_class_uid:
            raise SopClassMismatch(
                f"wanted SOP Class {request.context_sop_class_uid} of the presentation context, "
                f"found {_loggable(request.sop_class_uid)} in the command"
            )
        identity = read_identity(request.data_set, request.transfer_syntax_uid)
        _check_identity(identity, request)
        ref = self._store.store(
            pipeline=caller.pipeline,
            sop_class_uid=identity.sop_class_uid,
            sop_instance_uid=identity.sop_instance_uid,
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            calling_ae_title=caller.calling_ae_title,
            data_set=request.data_set,
        )
        self._sink.instance_stored(
            caller.pipeline,
            ref,
            calling_ae_title=caller.calling_ae_title,
            association_id=caller.association_id,
        )
        if not self._store.has(ref.key):
            # Its series was old, and was pruned between the file and the row of this repeat.
            raise SpoolFull("the instance was removed while it came once more; send it again")
        INSTANCE_BYTES.labels(caller.pipeline).inc(ref.size_bytes)

    def _put_aside(self, request: StoreRequest, caller: Caller, error: ReceiveError) -> str | None:
        """Keep what could not be understood, if there is room; return its id."""
        if not isinstance(error, InstanceUnreadable):
            return None
        facts = {
            "association_id": caller.association_id,
            "called_ae_title": caller.called_ae_title,
            "calling_ae_title": caller.calling_ae_title,
            "host": caller.host,
            "pipeline": caller.pipeline,
            "sop_class_uid": _loggable(request.sop_class_uid),
            "sop_instance_uid": _loggable(request.sop_instance_uid),
            "transfer_syntax_uid": request.transfer_syntax_uid,
        }
        try:
            if self._store.free_bytes() < len(request.data_set):
                return None
            return self._quarantine.keep(request.data_set, reason=str(error), facts=facts)
        except (OSError, NodeError) as failure:
            # The sender gets its status all the same; what is lost is our copy of a refused object.
            _log.error(
                "quarantine_failed",
                association_id=caller.association_id,
                reason=str(failure),
            )
            return None


def _check_identity(identity: Identity, request: StoreRequest) -> None:
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
