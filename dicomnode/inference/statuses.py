"""What the server's gRPC statuses mean to the node: which error, and whether a retry can help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from tritonclient.utils import InferenceServerException

from dicomnode.errors import (
    InferenceError,
    InferenceInterrupted,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
    ModelContractMismatch,
)

_ERRORS: Final[dict[str, type[InferenceError]]] = {
    "UNAVAILABLE": InferenceUnavailable,
    "NOT_FOUND": InferenceUnavailable,  # the model is not there (yet)
    "CANCELLED": InferenceUnavailable,  # the channel was closed, here or there
    "ABORTED": InferenceUnavailable,
    "RESOURCE_EXHAUSTED": InferenceUnavailable,
    "DEADLINE_EXCEEDED": InferenceTimeout,
    "INVALID_ARGUMENT": InferenceRejected,
    "INTERNAL": InferenceRejected,  # the model raised
    "UNIMPLEMENTED": InferenceRejected,
    "PERMISSION_DENIED": InferenceRejected,
    "UNAUTHENTICATED": InferenceRejected,
}
"""gRPC status to error.  Any other status is a rejection: a repeat would not help."""

# Statuses alone do not tell these apart.
_BY_TEXT: Final[tuple[tuple[str, type[InferenceError]], ...]] = (
    # INTERNAL: the model's process died; it comes back.
    ("is not healthy", InferenceInterrupted),
    # UNAVAILABLE: the connection was lost under the call.
    *((words, InferenceInterrupted) for words in ("Socket closed", "reset by peer", "Broken pipe")),
    ("larger than max", InferenceRejected),  # RESOURCE_EXHAUSTED: too large stays too large
    # INTERNAL or INVALID_ARGUMENT: the region for an output has the size the manifest promises.
    ("shared memory size specified with the request for output", ModelContractMismatch),
)


_Answer = TypeVar("_Answer")


def ask(call: Callable[[], _Answer], *, address: str, timeout_sentence: str) -> _Answer:
    """Make a call of tritonclient and put its failures in the node's words.

    Parameters
    ----------
    call : callable
    address : str
        Of the server, for the sentence.
    timeout_sentence : str
        Which answer did not come in time.

    Raises
    ------
    InferenceError
    """
    try:
        return call()
    except InferenceServerException as error:
        raise _translate(error, address=address, timeout_sentence=timeout_sentence) from error
    except ValueError as error:
        if "closed channel" in str(error):
            raise InferenceUnavailable("the connection was closed here") from error
        if "exceeds maximum protobuf size" in str(error):
            raise InferenceRejected("the tensors are larger than a message may be") from error
        raise


def _translate(
    error: InferenceServerException, *, address: str, timeout_sentence: str
) -> InferenceError:
    """Name a failure by its gRPC status, and by its text where the status is too coarse."""
    status = str(error.status() or "UNKNOWN").removeprefix("StatusCode.")
    text = one_line(error.message())
    kind = _ERRORS.get(status, InferenceRejected)
    kind = next((named for part, named in _BY_TEXT if part in text), kind)
    if kind is InferenceTimeout:
        return kind(f"inference server at {address}: {timeout_sentence}")
    return kind(f"inference server at {address}: {status}: {text}")


def one_line(text: str | None) -> str:
    """Shorten a server's text: a model's traceback is for the server's log, not for the error."""
    return " ".join((text or "no reason given").split()).partition(" At: /")[0][:500]


_SOON: Final = frozenset(("UNAVAILABLE", "RESOURCE_EXHAUSTED"))


def passes_soon(error: InferenceError) -> bool:
    """Whether the same call may succeed a moment later.

    A full queue empties; an unloaded model or a passed deadline takes longer, which is for whoever
    can wait durably.  What a server did not survive is not asked of it again at once.
    """
    cause = error.__cause__
    if not isinstance(cause, InferenceServerException) or isinstance(
        error, ModelContractMismatch | InferenceInterrupted
    ):
        return False
    status = str(cause.status() or "").removeprefix("StatusCode.")
    if is_out_of_memory(cause.message()):
        return True
    return status in _SOON and isinstance(error, InferenceUnavailable)


def is_out_of_memory(text: str | None) -> bool:
    """Whether a model or the server said that it had not enough memory for a call."""
    told = (text or "").casefold()
    return any(words in told for words in _OUT_OF_MEMORY)


_OUT_OF_MEMORY: Final = ("out of memory", "memoryerror", "bad_alloc", "failed to allocate")
