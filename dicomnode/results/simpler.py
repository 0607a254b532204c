"""A report in a simpler SOP class, for archives that do not know the one it was made in.

The content tree stays what it is; only what the simpler class cannot hold is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from dicomnode.errors import ResultError
from dicomnode.results.part10 import encode_part10
from dicomnode.standard.sop_classes import COMPREHENSIVE_SR, ENHANCED_SR
from dicomnode.standard.uids import derive_uid

_ENHANCED_TYPES: Final = frozenset(
    (
        *("TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME"),
        *("COMPOSITE", "IMAGE", "WAVEFORM", "SCOORD", "CONTAINER"),
    )
)
_COMPREHENSIVE_TYPES: Final = _ENHANCED_TYPES | {"TCOORD"}


def encode_simpler_report(path: Path, *, sop_class_uid: str) -> bytes:
    """Encode a Comprehensive 3D SR as a report of a simpler class.

    Items of value types that the class lacks (PS3.3 A.35.2.3.1, A.35.3.3.1) are left out, and so
    are, in an Enhanced SR, relationships by reference.

    Parameters
    ----------
    path : Path
        The report as a DICOM file.
    sop_class_uid : str
        Comprehensive SR or Enhanced SR.

    Returns
    -------
    bytes
        A DICOM file; its SOP Instance UID follows from the report's and the class.

    Raises
    ------
    ResultError
        If the file is gone or no report, or the class none of the two.
    """
    allowed = {COMPREHENSIVE_SR: _COMPREHENSIVE_TYPES, ENHANCED_SR: _ENHANCED_TYPES}
    if sop_class_uid not in allowed:
        raise ResultError(f"wanted Comprehensive SR or Enhanced SR, found {sop_class_uid}")
    try:
        report = dcmread(path)
    except (OSError, InvalidDicomError) as error:
        raise ResultError(f"the report cannot be read: {type(error).__name__}") from error
    if "ContentSequence" not in report:
        raise ResultError("wanted a structured report, found none")
    _prune(report, allowed[sop_class_uid], by_reference=sop_class_uid == COMPREHENSIVE_SR)
    report.SOPInstanceUID = UID(derive_uid(str(report.SOPInstanceUID), sop_class_uid))
    report.SOPClassUID = UID(sop_class_uid)
    return encode_part10(report)


def _prune(item: Dataset, types: frozenset[str], *, by_reference: bool) -> None:
    """Leave out the children that the class cannot hold, and theirs with them."""
    children = item.get("ContentSequence")
    if not children:
        return
    kept = [each for each in children if _fits(each, types, by_reference=by_reference)]
    for each in kept:
        _prune(each, types, by_reference=by_reference)
    if kept:
        item.ContentSequence = kept
    else:
        del item.ContentSequence


def _fits(item: Dataset, types: frozenset[str], *, by_reference: bool) -> bool:
    if "ReferencedContentItemIdentifier" in item:
        return by_reference
    return item.get("ValueType") in types
