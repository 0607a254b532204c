"""Coded concepts, looked up in pydicom's dictionaries so that a wrong meaning cannot pass."""

from __future__ import annotations

from functools import cache
from typing import Final

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

# pydicom's dictionaries hold the concepts of PS3.16's context groups.  UCUM units are no
# enumeration there: those that the node writes are listed, as PS3.16 CID 7181 and UCUM have them.
_UNITS: Final = {
    "mL": "milliliter",
    "[hnsf'U]": "Hounsfield unit",
    "%": "percent",
    "1": "no units",
    "mm": "millimeter",
    "mm3": "cubic millimeter",
}


def unit(symbol: str) -> Code:
    """Return the UCUM unit `symbol` (PS3.16 CID 7181 and UCUM, case-sensitive).

    Raises
    ------
    KeyError
        If the node does not write that unit.
    """
    return Code(symbol, "UCUM", _UNITS[symbol])


def check_code(scheme: str, value: str, meaning: str) -> Code:
    """Return the code if scheme and value are known and `meaning` is theirs.

    Parameters
    ----------
    scheme : str
        ``SCT`` or ``DCM``; codes of a private scheme (``99...``) pass unchecked, as PS3.16 8.2
        leaves them to whoever defines them.
    value, meaning : str
        Code Value and Code Meaning (PS3.3 8.8).

    Raises
    ------
    ValueError
        If the code is unknown, or means something else.
    """
    if scheme.startswith("99"):
        return Code(value, scheme, meaning)
    known = _meanings(scheme).get(value, frozenset())
    if not known:
        raise ValueError(f"({value}, {scheme}) is not in the {scheme} dictionary")
    if meaning.casefold() not in {each.casefold() for each in known}:
        wanted = " or ".join(repr(each) for each in sorted(known))
        raise ValueError(f"({value}, {scheme}) means {wanted}, found {meaning!r}")
    return Code(value, scheme, meaning)


@cache
def _meanings(scheme: str) -> dict[str, frozenset[str]]:
    """Code Value -> every Code Meaning that a context group of PS3.16 gives it."""
    if scheme not in ("SCT", "DCM"):
        raise ValueError(f"wanted a code of scheme SCT, DCM or 99..., found {scheme!r}")
    collection = getattr(codes, scheme)
    found: dict[str, set[str]] = {}
    for keyword in collection.dir():
        code = getattr(collection, keyword)
        found.setdefault(code.value, set()).add(code.meaning)
    return {value: frozenset(meanings) for value, meanings in found.items()}


ANATOMICAL_STRUCTURE: Final = Code("91723000", "SCT", "Anatomical Structure")
LUNG: Final = Code("39607008", "SCT", "Lung")
LEFT: Final = Code("7771000", "SCT", "Left")
RIGHT: Final = Code("24028007", "SCT", "Right")
VOLUME: Final = Code("118565006", "SCT", "Volume")
