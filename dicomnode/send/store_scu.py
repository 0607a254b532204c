"""The Storage and Verification SCU: files to a peer, one outcome each.  Retries are not here.

Pixel data is never decoded.  A file goes out as it is stored, in chunks, where the peer accepts its
transfer syntax; where it accepts only another uncompressed one the data set is encoded anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from dicomnode.config import TlsClientConfig
from dicomnode.errors import (
    AssociationRejected,
    AssociationUnavailable,
    ContextNotAccepted,
    InstanceUnreadable,
    SendError,
)
from dicomnode.log import get_logger
from dicomnode.send.checkpoint import put_checkpoint
from dicomnode.send.outcome import StoreOutcome
from dicomnode.spool.part10 import read_file_meta
from dicomnode.standard.ae import AEAddress
from dicomnode.standard.sop_classes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    UNCOMPRESSED_TRANSFER_SYNTAXES,
    VERIFICATION,
)
from dicomnode.standard.status import (
    DUPLICATE_SOP_INSTANCE,
    describe_rejection,
    describe_store_status,
    is_success,
    is_transient,
)
from dicomnode.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.tls import build_client_context

__all__ = ("MAX_PDU_BYTES", "StoreOutcome", "echo", "proposed_syntaxes", "send_instances")

# A file that is sent by its path goes out in chunks, never decoded and never whole in memory.
_config.STORE_SEND_CHUNKED_DATASET = True
# The library's own handlers format every message for its debug log, data set included.
_config.LOG_HANDLER_LEVEL = "none"

MAX_PDU_BYTES: Final = 16_382
"""The longest P-DATA PDU that we take of a peer that we called; such peers only answer."""

_CONTEXTS_PER_ASSOCIATION: Final = 128
"""Presentation context IDs are the odd numbers below 256 (PS3.8 9.3.2.2)."""

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_CONVERTIBLE: Final = frozenset((EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, _DEFLATED))
"""Little endian and uncompressed: only the data set's encoding differs, no pixel value."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def send_instances(
    paths: Sequence[Path],
    *,
    to: AEAddress,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsClientConfig | None = None,
    on_sent: Callable[[StoreOutcome], None] | None = None,
    is_wanted: Callable[[Path], bool] | None = None,
) -> tuple[StoreOutcome, ...]:
    """Send DICOM files by C-STORE over one association (PS3.4 B).

    Parameters
    ----------
    paths : sequence of Path
        DICOM files.
    to : AEAddress
        The storage SCP.
    calling_ae_title : str
        Ours.
    timeout_seconds : float
        For connecting, for negotiation and for each answer.
    tls : TlsClientConfig, optional
        Without it the connection is in the clear.  Its files are read each time.
    on_sent : callable, optional
        Told each outcome as soon as it is known, so that what was accepted is on record even when
        the association breaks later.
    is_wanted : callable, optional
        Asked before each file, when the outcomes before it are told; what is not wanted any more
        is left out and has no outcome.

    Returns
    -------
    tuple of StoreOutcome
        One for each of `paths` that was wanted, in their order.  A refused instance is an outcome,
        no exception.

    Raises
    ------
    AssociationUnavailable
        If there is no connection or TLS fails on it, the peer aborts, or it does not answer in
        time.
    ConfigError
        If a file of `tls` cannot be used.
    AssociationRejected
        If the peer rejects the association.
    ContextNotAccepted
        If the peer accepts none of the presentation contexts.
    SendError
        If a file cannot be read as DICOM; nothing is then sent.
    """
    files = [_read(path) for path in paths]
    outcomes: dict[Path, StoreOutcome] = {}
    for batch, contexts in _batches(files):
        with associated(contexts, to, calling_ae_title, timeout_seconds, tls) as assoc:
            for file in batch:
                if is_wanted is not None and not is_wanted(file.path):
                    continue
                outcome = _send(assoc, file, to)
                outcomes[file.path] = outcome
                if on_sent is not None:
                    on_sent(outcome)
    return tuple(outcomes[path] for path in paths if path in outcomes)


def echo(
    to: AEAddress,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsClientConfig | None = None,
) -> float:
    """Verify that a peer answers, by C-ECHO (PS3.4 A).

    Returns
    -------
    float
        Seconds from the request to its answer, without the association.

    Raises
    ------
    AssociationUnavailable, AssociationRejected, ContextNotAccepted
        As in `send_instances`; also if the answer is no Success.
    """
    context = build_context(VERIFICATION, list(UNCOMPRESSED_TRANSFER_SYNTAXES))
    with associated([context], to, calling_ae_title, timeout_seconds, tls) as assoc:
        begin = time.monotonic()
        with asking(to):
            answer = assoc.send_c_echo()
        seconds = time.monotonic() - begin
        status = answer.get("Status")
        if status is None:
            raise AssociationUnavailable(f"{to} did not answer the C-ECHO within the time-out")
        if status != 0:
            raise AssociationUnavailable(f"{to} answered the C-ECHO with status 0x{status:04X}")
        return seconds


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            meta = read_file_meta(file)
    except (OSError, InstanceUnreadable) as error:
        raise SendError(f"{path.name} cannot be sent: {error}") from error
    return _File(
        path=path,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
    )


def _batches(files: Sequence[_File]) -> Iterator[tuple[list[_File], list[PresentationContext]]]:
    """Split into as few associations as 128 presentation contexts allow: nearly always one."""
    batch: list[_File] = []
    contexts: dict[tuple[str, str], PresentationContext] = {}
    for file in files:
        missing = {key: each for key, each in _contexts(file) if key not in contexts}
        if len(contexts) + len(missing) > _CONTEXTS_PER_ASSOCIATION:
            yield batch, list(contexts.values())
            batch, contexts = [], {}
            missing = dict(_contexts(file))
        batch.append(file)
        contexts.update(missing)
    if batch:
        yield batch, list(contexts.values())


def _contexts(file: _File) -> Iterator[tuple[tuple[str, str], PresentationContext]]:
    for syntax in proposed_syntaxes(file.transfer_syntax_uid):
        yield (file.sop_class_uid, syntax), build_context(file.sop_class_uid, syntax)


def proposed_syntaxes(own: str) -> tuple[str, ...]:
    """Return what is proposed for a file: its own transfer syntax, and what it is converted to.

    Each in a context of its own, because a peer chooses one transfer syntax of a context, and might
    choose another one although it knows the file's own.

    Parameters
    ----------
    own : str
        Transfer Syntax UID of the file.
    """
    if own not in _CONVERTIBLE:
        return (own,)
    return tuple(dict.fromkeys((own, *UNCOMPRESSED_TRANSFER_SYNTAXES)))


@contextmanager
def associated(
    contexts: list[PresentationContext],
    to: AEAddress,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsClientConfig | None = None,
    handlers: Sequence[Any] = (),
) -> Iterator[Association]:
    """Open an association, release it at the end of the block, abort it if the block raises."""
    ae = AE(ae_title=calling_ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_pdu_size = MAX_PDU_BYTES
    ae.connection_timeout = timeout_seconds
    ae.acse_timeout = timeout_seconds
    ae.dimse_timeout = timeout_seconds
    ae.network_timeout = timeout_seconds
    context = None if tls is None else build_client_context(tls, path=f"tls of {to}")
    assoc = ae.associate(
        to.host,
        to.port,
        contexts=contexts,
        ae_title=to.ae_title,
        evt_handlers=list(handlers),
        tls_args=None if context is None else (context, to.host),
    )
    if not assoc.is_established:
        if context is not None and context.failure is not None:
            raise AssociationUnavailable(f"no TLS connection with {to}: {context.failure}")
        raise _explain(assoc, to, timeout_seconds)
    put_checkpoint(assoc, timeout_seconds)
    try:
        yield assoc
    except BaseException:
        if assoc.is_established:
            assoc.abort()
        raise
    if assoc.is_established:
        assoc.release()


@contextmanager
def asking(to: AEAddress) -> Iterator[None]:
    """Make requests of the library in the block; it raises where the peer has ended all before.

    Raises
    ------
    AssociationUnavailable
    """
    try:
        yield
    except RuntimeError as error:
        raise AssociationUnavailable(f"{to} ended the association before all was sent") from error


def _explain(assoc: Association, to: AEAddress, timeout_seconds: float) -> SendError:
    """Say why there is no association, from what the library has kept of the answer."""
    answer: Any = assoc.acceptor.primitive
    if assoc.is_rejected:
        reason = describe_rejection(answer.result_source, answer.diagnostic)
        kind = "transient" if answer.result == 2 else "permanent"
        return AssociationRejected(
            f"{to} rejected the association ({kind}): {reason}", transient=answer.result == 2
        )
    if answer is not None and answer.result == 0 and not assoc.accepted_contexts:
        wanted = "; ".join(
            f"{each.abstract_syntax} in {each.transfer_syntax[0]}"
            for each in assoc.requestor.requested_contexts
        )
        return ContextNotAccepted(f"{to} accepted no presentation context, wanted {wanted}")
    return AssociationUnavailable(
        f"no association with {to}: no connection, an abort or no answer in {timeout_seconds:g} s"
    )


def _send(assoc: Association, file: _File, to: AEAddress) -> StoreOutcome:
    accepted = {
        (str(each.abstract_syntax), str(each.transfer_syntax[0]))
        for each in assoc.accepted_contexts
    }
    own = file.transfer_syntax_uid
    convertible = own in _CONVERTIBLE and any(
        (file.sop_class_uid, other) in accepted for other in _CONVERTIBLE
    )
    if (file.sop_class_uid, own) not in accepted and not convertible:
        return StoreOutcome(
            sop_instance_uid=file.sop_instance_uid,
            path=file.path,
            status=None,
            words=f"no presentation context was accepted for {file.sop_class_uid} in {own}",
            accepted=False,
            transient=False,
        )
    if not assoc.is_established:
        raise AssociationUnavailable(f"{to} ended the association before all was sent")
    try:
        with asking(to):
            if (file.sop_class_uid, own) in accepted:
                answer = assoc.send_c_store(file.path)
            else:
                answer = assoc.send_c_store(dcmread(file.path))
    except (OSError, ValueError, AttributeError) as error:
        # The kind only: the library's texts may quote values.
        raise SendError(f"{file.path.name} cannot be sent: {type(error).__name__}") from error
    status = answer.get("Status")
    if status is None:
        raise AssociationUnavailable(
            f"{to} aborted or did not answer the C-STORE of {file.sop_instance_uid} in time"
        )
    outcome = StoreOutcome(
        sop_instance_uid=file.sop_instance_uid,
        path=file.path,
        status=int(status),
        words=describe_store_status(status),
        # Who has it already has it: under our UIDs there is but one object.
        accepted=is_success(status) or status == DUPLICATE_SOP_INSTANCE,
        transient=is_transient(status),
    )
    _log.info(
        "instance_sent" if outcome.accepted else "instance_refused_by_peer",
        to=str(to),
        sop_instance_uid=outcome.sop_instance_uid,
        status=f"{status:04X}",
    )
    return outcome
