"""What is accepted: presentation contexts offered to a peer, and what is stored or ignored."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Self

from pynetdicom import AllStoragePresentationContexts, register_uid
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import StorageServiceClass

from dicomnode.config import PipelineConfig
from dicomnode.standard.sop_classes import (
    CT_SOP_CLASSES,
    CT_TRANSFER_SYNTAXES,
    RETIRED_STORAGE,
    STORAGE_COMMITMENT_PUSH,
    UNCOMPRESSED_TRANSFER_SYNTAXES,
    VERIFICATION,
)

_STORAGE_CLASSES: Final = {
    str(context.abstract_syntax) for context in AllStoragePresentationContexts
}
"""Those that the library serves as storage; `StorePolicy` adds what is configured beyond."""


def _register(sop_class_uid: str) -> None:
    """Have the library serve a class as storage that it does not know."""
    keyword = f"Storage_{sop_class_uid.replace('.', '_')}"
    register_uid(sop_class_uid, keyword, StorageServiceClass)
    _STORAGE_CLASSES.add(sop_class_uid)


for _uid in RETIRED_STORAGE:
    if _uid not in _STORAGE_CLASSES:
        _register(_uid)


class StorePolicy:
    """What one pipeline stores, and what becomes of the rest.

    Modalities and archives send whole studies: localizers, dose reports, secondary captures.  If
    those were refused, many senders would report the whole study as failed and send it again.  So
    the default is to accept and ignore them, with the fact recorded.

    Parameters
    ----------
    store_classes : iterable of str
        SOP classes that are stored; private ones may be among them.
    refuse_others : bool
        Others are not negotiated, rather than accepted and ignored.
    """

    def __init__(
        self, store_classes: Iterable[str] = CT_SOP_CLASSES, *, refuse_others: bool = False
    ) -> None:
        self._store_classes = frozenset(store_classes)
        self._refuse_others = refuse_others
        for each in self._store_classes - _STORAGE_CLASSES:
            _register(each)

    @classmethod
    def of(cls, config: PipelineConfig) -> Self:
        """Return the policy that a pipeline is configured with."""
        return cls(config.store_classes, refuse_others=config.other_classes == "refuse")

    def is_stored(self, sop_class_uid: str) -> bool:
        """Whether an instance of this class is stored; others are acknowledged and ignored."""
        return sop_class_uid in self._store_classes

    def is_negotiated(self, sop_class_uid: str) -> bool:
        """Whether a presentation context for this storage class is accepted."""
        return self.is_stored(sop_class_uid) or not self._refuse_others


DEFAULT_POLICY: Final = StorePolicy()
"""CT is stored, the rest of a study ignored."""


def supported_contexts(
    requested: Iterable[str],
    *,
    policy: StorePolicy = DEFAULT_POLICY,
    commitment: bool = False,
    takes_reports: bool = False,
) -> list[PresentationContext]:
    """Return the presentation contexts the node supports among what a peer asks for.

    Made anew for each association: the library copies whatever it is given at every association,
    and all storage classes in all transfer syntaxes are some thousand objects.

    Parameters
    ----------
    requested : iterable of str
        Abstract syntaxes of the A-ASSOCIATE-RQ.
    policy : StorePolicy
        Of the pipeline that is called.
    commitment : bool
        Whether storage commitment is offered.
    takes_reports : bool
        Whether peers may bring answers to our own requests for storage commitment.

    Returns
    -------
    list of PresentationContext
        Verification, storage commitment, and storage in every transfer syntax that CT is sent in:
        an object that will be ignored need not be decoded either.
    """
    contexts = []
    for abstract_syntax in dict.fromkeys(requested):
        if abstract_syntax == VERIFICATION:
            contexts.append(_context(abstract_syntax, UNCOMPRESSED_TRANSFER_SYNTAXES))
        elif abstract_syntax == STORAGE_COMMITMENT_PUSH and (commitment or takes_reports):
            context = _context(abstract_syntax, UNCOMPRESSED_TRANSFER_SYNTAXES)
            if takes_reports:
                # A peer that answers our request is the SCP, yet it opens the association.
                context.scu_role, context.scp_role = commitment, True
            contexts.append(context)
        elif abstract_syntax in _STORAGE_CLASSES and policy.is_negotiated(abstract_syntax):
            contexts.append(_context(abstract_syntax, CT_TRANSFER_SYNTAXES))
    return contexts


def _context(abstract_syntax: str, transfer_syntaxes: tuple[str, ...]) -> PresentationContext:
    """Return a context for one association; making it anew takes the library ten times as long."""
    return copy.copy(_built(abstract_syntax, transfer_syntaxes))


@lru_cache(maxsize=1024)
def _built(abstract_syntax: str, transfer_syntaxes: tuple[str, ...]) -> PresentationContext:
    return build_context(abstract_syntax, list(transfer_syntaxes))


def known_abstract_syntaxes() -> tuple[str, ...]:
    """Return all that may be asked for with any success, the services before storage.

    Private storage classes are among them once a policy names them: make those of all pipelines
    first.
    """
    return (VERIFICATION, STORAGE_COMMITMENT_PUSH, *sorted(_STORAGE_CLASSES, key=_numbers))


def _numbers(uid: str) -> tuple[int, ...]:
    return tuple(map(int, uid.split(".")))
