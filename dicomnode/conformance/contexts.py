"""Which presentation contexts a configuration accepts and proposes, as values.  No words about it.

The functions that negotiate are asked, so a statement made of this says what they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicomnode.config import Config, DicomwebDestination, DimseDestination, FolderDestination
from dicomnode.conformance.sent import SentObject, sent_objects
from dicomnode.pipeline.setup import SENDER_DESTINATION
from dicomnode.receive.acceptance import StorePolicy, known_abstract_syntaxes, supported_contexts
from dicomnode.send.store_scu import proposed_syntaxes
from dicomnode.standard.sop_classes import (
    STORAGE_COMMITMENT_PUSH,
    STUDY_ROOT_FIND,
    UNCOMPRESSED_TRANSFER_SYNTAXES,
    VERIFICATION,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An abstract syntax that a called AE title accepts.

    Attributes
    ----------
    abstract_syntax : str
    transfer_syntaxes : tuple of str
        The one that is preferred first.
    roles : tuple of str
        Ours: ``SCP``, and ``SCU`` where a peer that takes the other role may open the association.
    is_stored : bool or None
        Of a storage class: whether its instances are kept; None for other services.
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    roles: tuple[str, ...]
    is_stored: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """One presentation context that is proposed.

    Attributes
    ----------
    abstract_syntax : str
    transfer_syntaxes : tuple of str
        All in one context.
    role : str
        Ours: ``SCU``, or ``SCP`` by role selection (PS3.7 D.3.3.4).
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    role: str = "SCU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """An association that the node opens of itself.

    Attributes
    ----------
    what : str
        ``store``, ``commitment-request``, ``commitment-report`` or ``count``.
    pipeline : str
        Whose work it is; empty where it is any pipeline's that is called.
    peer : str
        Name of the destination, or how else the peer is known here.
    calling_ae_title : str
        Ours; empty where it is the AE title that the peer called before.
    address : str
        ``AET@host:port`` of the peer, in words where it is known only when it comes to that.
    tls_profile : str or None
    objects : tuple of SentObject
        Of ``store``: all that may be sent.
    contexts : tuple of Proposed
        Of ``store``: all that may be proposed; on an association only what is to be sent.
    """

    what: str
    pipeline: str
    peer: str
    calling_ae_title: str
    address: str
    tls_profile: str | None
    contexts: tuple[Proposed, ...]
    objects: tuple[SentObject, ...] = ()


def accepted_contexts(config: Config) -> dict[str, tuple[Accepted, ...]]:
    """Return what each pipeline's AE title accepts.

    Returns
    -------
    dict of str to tuple of Accepted
        By name of the pipeline.
    """
    # All of them first: a private class that one pipeline stores is a storage class for all.
    policies = {name: StorePolicy.of(each) for name, each in config.pipelines.items()}
    return {
        name: tuple(_accepted(policy, takes_reports=config.asks_for_commitment))
        for name, policy in policies.items()
    }


def _accepted(policy: StorePolicy, *, takes_reports: bool) -> Iterator[Accepted]:
    contexts = supported_contexts(
        known_abstract_syntaxes(), policy=policy, commitment=True, takes_reports=takes_reports
    )
    for each in contexts:
        uid = str(each.abstract_syntax)
        is_service = uid in {VERIFICATION, STORAGE_COMMITMENT_PUSH}
        # pynetdicom's names of roles are the requestor's: a requestor that is SCP makes us SCU.
        yield Accepted(
            abstract_syntax=uid,
            transfer_syntaxes=tuple(map(str, each.transfer_syntax)),
            roles=("SCP", "SCU") if each.scp_role else ("SCP",),
            is_stored=None if is_service else policy.is_stored(uid),
        )


def activities(config: Config) -> tuple[Activity, ...]:
    """Return the associations that the node opens, in the order of a series' way."""
    return (
        *_counts(config),
        *_deliveries(config),
        *(
            Activity(
                what="commitment-report",
                pipeline="",
                peer=each.ae_title,
                calling_ae_title="",
                address=f"{each.ae_title}@{each.host}:{each.port}",
                tls_profile=None if each.tls is None else each.tls.profile,
                contexts=(_commitment("SCP"),),
            )
            for each in config.receive.commitment.peers
        ),
    )


def _counts(config: Config) -> Iterator[Activity]:
    for name, pipeline in config.pipelines.items():
        query = pipeline.completion.expected_count
        if query is None:
            continue
        yield Activity(
            what="count",
            pipeline=name,
            peer="the archive that is asked",
            calling_ae_title=pipeline.ae_title,
            address=f"{query.ae_title or '(the sender)'}@{query.host}:{query.port}",
            tls_profile=None if query.tls is None else query.tls.profile,
            contexts=(
                Proposed(
                    abstract_syntax=STUDY_ROOT_FIND,
                    transfer_syntaxes=UNCOMPRESSED_TRANSFER_SYNTAXES,
                ),
            ),
        )


def _deliveries(config: Config) -> Iterator[Activity]:
    for name, pipeline in config.pipelines.items():
        for peer in pipeline.destinations:
            destination = config.destinations.get(peer, SENDER_DESTINATION)
            if not isinstance(destination, DimseDestination):
                continue
            is_sender = peer not in config.destinations
            objects = tuple(sent_objects(destination))
            store = Activity(
                what="store",
                pipeline=name,
                peer=peer,
                calling_ae_title=destination.calling_ae_title or pipeline.ae_title,
                address="return_to of the sender"
                if is_sender
                else f"{destination.ae_title}@{destination.host}:{destination.port}",
                tls_profile=None if destination.tls is None else destination.tls.profile,
                objects=objects,
                contexts=tuple(
                    dict.fromkeys(
                        Proposed(abstract_syntax=each.sop_class_uid, transfer_syntaxes=(syntax,))
                        for each in objects
                        for syntax in proposed_syntaxes(each.transfer_syntax_uid)
                    )
                ),
            )
            yield store
            if destination.storage_commitment:
                yield Activity(
                    what="commitment-request",
                    pipeline=name,
                    peer=peer,
                    calling_ae_title=store.calling_ae_title,
                    address=store.address,
                    tls_profile=store.tls_profile,
                    contexts=(_commitment("SCU"),),
                )


def _commitment(role: str) -> Proposed:
    return Proposed(
        abstract_syntax=STORAGE_COMMITMENT_PUSH,
        transfer_syntaxes=UNCOMPRESSED_TRANSFER_SYNTAXES,
        role=role,
    )


def web_destinations(config: Config) -> dict[str, DicomwebDestination]:
    """Return the STOW-RS services that some pipeline delivers to, by name."""
    return {
        name: each for name, each in _used(config).items() if isinstance(each, DicomwebDestination)
    }


def folder_destinations(config: Config) -> dict[str, FolderDestination]:
    """Return the folders that some pipeline delivers to, by name."""
    return {
        name: each for name, each in _used(config).items() if isinstance(each, FolderDestination)
    }


def _used(config: Config) -> dict[str, object]:
    wanted = {name for each in config.pipelines.values() for name in each.destinations}
    return {name: each for name, each in config.destinations.items() if name in wanted}
