"""Labels that name a failure: from the tree of errors, so that there are only so many."""

from __future__ import annotations

import re

from dicomnode.errors import NodeError


def reason_of(error: BaseException) -> str:
    """Return the name of an error of ours in snake case, ``internal_error`` for any other."""
    if not isinstance(error, NodeError):
        return "internal_error"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
