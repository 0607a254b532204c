"""Decoders of pixels, kept out of a process that only receives.  What decodes is elsewhere.

They are native code that hostile bytes must not reach, and 25 MB.  pydicom loads whichever are
installed as soon as it is imported itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

DECODERS: Final = frozenset({"PIL", "gdcm", "jpeg_ls", "libjpeg", "openjpeg", "pylibjpeg", "rle"})

_FOR_SAMPLES: Final = frozenset({"requests"})
"""With this pydicom would fetch sample files; 5 MB more.  Others may have it."""


class _Refusal(MetaPathFinder):
    """Finds some packages not, so that nobody does."""

    def __init__(self) -> None:
        self.names = DECODERS | _FOR_SAMPLES

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the shape of a finder
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{fullname} is no part of a receiver", name=fullname)
        return None


def keep_decoders_out() -> None:
    """Load pydicom without decoders, and let nothing import one in this process from now on.

    To be called before pydicom is imported: a decoder that is loaded already stays.
    """
    if any(isinstance(each, _Refusal) for each in sys.meta_path):
        return
    refusal = _Refusal()
    sys.meta_path.insert(0, refusal)
    import_module("pydicom")
    refusal.names = DECODERS
