"""What is accepted: presentation contexts offered to a peer, and what is stored or ignored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import PresentationContext, build_context

from dicomnode.standard.sop_classes import (
    CT_SOP_CLASSES,
    CT_TRANSFER_SYNTAXES,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_COMMITMENT_PUSH_MODEL,
    VERIFICATION,
)

_STORAGE_CLASSES: Final = frozenset(
    str(context.abstract_syntax) for context in AllStoragePresentationContexts
)
_UNCOMPRESSED: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)


def supported_contexts(
    requested: Iterable[str], *, takes_reports: bool = False
) -> list[PresentationContext]:
    """Return the presentation contexts the node supports among what a peer asks for.

    Made anew for each association: the library copies whatever it is given at every association,
    and all storage classes in all transfer syntaxes are some thousand objects.

    Parameters
    ----------
    requested : iterable of str
        Abstract syntaxes of the A-ASSOCIATE-RQ.
    takes_reports : bool
        Whether peers may bring answers to our own requests for storage commitment.

    Returns
    -------
    list of PresentationContext
        Verification, and storage in every transfer syntax that CT is sent in: an object that will
        be ignored need not be decoded either.
    """
    contexts = []
    for abstract_syntax in dict.fromkeys(requested):
        if abstract_syntax == VERIFICATION:
            contexts.append(build_context(abstract_syntax, list(_UNCOMPRESSED)))
        elif abstract_syntax == STORAGE_COMMITMENT_PUSH_MODEL and takes_reports:
            # A peer that answers our request: the SCP of the service, yet it opens the association.
            context = build_context(abstract_syntax, list(_UNCOMPRESSED))
            context.scu_role, context.scp_role = False, True
            contexts.append(context)
        elif abstract_syntax in _STORAGE_CLASSES:
            contexts.append(build_context(abstract_syntax, list(CT_TRANSFER_SYNTAXES)))
    return contexts


def is_stored(sop_class_uid: str) -> bool:
    """Whether an instance of this class is stored; others are acknowledged and ignored.

    Modalities and archives send whole studies: localizers, dose reports, secondary captures.  If
    those were refused, many senders would report the whole study as failed and send it again.  So
    the default is to accept and ignore them, with the fact logged and counted.  This function is
    the one place where that is decided.
    """
    return sop_class_uid in CT_SOP_CLASSES
