"""Sending an N-EVENT-REPORT (PS3.4 J.3.3).  What is reported, and when, is not decided here."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context, build_role

from dicomnode.config import CommitmentPeer
from dicomnode.errors import AssociationUnavailable, ContextNotAccepted, StoreRefused
from dicomnode.standard.sop_classes import (
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
    UNCOMPRESSED_TRANSFER_SYNTAXES,
)
from dicomnode.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.tls import build_client_context

_MESSAGE_ID: Final = 1


def call_back(
    peer: CommitmentPeer,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    kind: int,
    information: Dataset,
) -> None:
    """Report over an association of our own, in the role of the SCP (PS3.7 D.3.3.4).

    Raises
    ------
    SendError
        If the peer cannot be reached or does not take the report.
    ConfigError
        If a certificate cannot be used.
    """
    ae = AE(ae_title=calling_ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = ae.acse_timeout = timeout_seconds
    ae.dimse_timeout = ae.network_timeout = timeout_seconds
    context = None
    if peer.tls is not None:
        context = build_client_context(peer.tls, path=f"tls of {peer.ae_title}")
    assoc = ae.associate(
        peer.host,
        peer.port,
        contexts=[build_context(STORAGE_COMMITMENT_PUSH, list(UNCOMPRESSED_TRANSFER_SYNTAXES))],
        ae_title=peer.ae_title,
        ext_neg=[build_role(STORAGE_COMMITMENT_PUSH, scp_role=True)],
        tls_args=None if context is None else (context, peer.host),
    )
    if not assoc.is_established:
        where = f"{peer.ae_title}@{peer.host}:{peer.port}"
        if context is not None and context.failure is not None:
            raise AssociationUnavailable(f"no TLS connection with {where}: {context.failure}")
        if assoc.is_rejected:
            raise AssociationUnavailable(f"{where} rejected the association")
        if assoc.acceptor.primitive is not None and not assoc.accepted_contexts:
            raise ContextNotAccepted(f"{where} does not take part in storage commitment")
        raise AssociationUnavailable(f"no association with {where} in {timeout_seconds:g} s")
    try:
        report_on(assoc, kind=kind, information=information)
    finally:
        if assoc.is_established:
            assoc.release()


def report_on(assoc: Association, *, kind: int, information: Dataset) -> None:
    """Report over an association that stands.

    Raises
    ------
    SendError
        If it breaks, or the peer does not take the report.
    """
    try:
        status, _ = assoc.send_n_event_report(
            information,
            kind,
            STORAGE_COMMITMENT_PUSH,
            STORAGE_COMMITMENT_PUSH_INSTANCE,
            msg_id=_MESSAGE_ID,
        )
    except (RuntimeError, ValueError) as error:
        raise AssociationUnavailable("the association ended before the report") from error
    code = status.get("Status")
    if code is None:
        raise AssociationUnavailable("the peer did not answer the report in time")
    if code != 0:
        words = f"the peer answered the report with status 0x{code:04X}"
        raise StoreRefused(words, status=int(code), transient=True)
