"""What results take over from the source, and what all of them carry: patient, study, equipment.

Texts go over as the bytes they were, so that a patient's name comes back unchanged.  No pixels
and no content trees here.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from dicomnode.errors import ResultError
from dicomnode.model.findings import ModelIdentity
from dicomnode.results.evidence import ResultContext
from dicomnode.standard.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    derive_uid,
)

_TYPE_2: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Present in every result, empty where the source has none (PS3.3 C.7.1.1, C.7.2.1)."""

_OPTIONAL: Final = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthTime",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "QualityControlSubject",
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "RequestingService",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "LastMenstrualDate",
    "PregnancyStatus",
    "LongitudinalTemporalOffsetFromEvent",
    "LongitudinalTemporalEventType",
    "AdmissionID",
    "AdmittingDiagnosesDescription",
    "AdditionalPatientHistory",
    "Occupation",
    "PatientSexNeutered",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "TimezoneOffsetFromUTC",
)
"""Taken over where the source has them (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1 to C.7.2.3, C.12.1)."""

_ACQUISITION: Final = (
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "StationName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)
"""Of the scanner, for the Contributing Equipment Sequence (PS3.3 C.12.1)."""

IDENTIFYING: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
"""Without these an instance cannot be referred to."""

_NOT_DECODABLE: Final = ("\N{REPLACEMENT CHARACTER}", "\x1b")
"""What pydicom leaves in a text that it could not decode: the second where escapes failed."""


def value_of(header: Dataset, keyword: str) -> Any:
    """Return the value of an attribute of a source; None where it is absent or malformed."""
    try:
        return header.get(keyword)
    # pydicom decodes on access, and answers malformed values with many kinds of exception.
    except Exception:  # noqa: BLE001 - what cannot be read counts as absent, whatever the reason
        return None


def stand_in(header: Dataset, *, series_instance_uid: str) -> Dataset:
    """Make the few attributes highdicom asks of a source instance, none of a patient.

    highdicom refuses values that real scanners write (an unknown Patient's Sex, a short date) and
    sources without optional attributes.  It therefore sees this, and `complete` adds the rest.

    Raises
    ------
    ResultError
        If the instance cannot be referred to: a UID is missing.
    """
    made = Dataset()
    for keyword in IDENTIFYING:
        value = value_of(header, keyword)
        if not value:
            raise ResultError(f"wanted {keyword} in every source instance, found one without")
        setattr(made, keyword, str(value))
    made.SeriesInstanceUID = str(value_of(header, "SeriesInstanceUID") or series_instance_uid)
    made.Modality = "CT"
    for keyword in _TYPE_2:
        setattr(made, keyword, None if keyword.endswith(("Date", "Time")) else "")
    return made


def content_datetime(header: Dataset, context: ResultContext) -> datetime:
    """Return when the analysis began, in the time zone of the source if it names one.

    Timezone Offset From UTC is the zone of every date and time in a data set (PS3.3 C.12.1.1.8),
    so that of the study, taken over, must hold for ours as well.
    """
    offset = str(value_of(header, "TimezoneOffsetFromUTC") or "")
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdecimal():
        return context.created
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    return context.created.astimezone(zone)


def series_number(header: Dataset, which: int) -> int:
    """Return a Series Number for a result that sorts behind its source and is easily told.

    Series 2 gives 2001, 2002 and so on; sources without a usable number count as 0 and give 9001.
    """
    try:
        number = int(value_of(header, "SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return (number if 0 < number < 1_000_000 else 9) * 1000 + which


def complete(
    result: Dataset,
    header: Dataset,
    *,
    context: ResultContext,
    models: tuple[ModelIdentity, ...],
) -> None:
    """Add in place what every result carries, and take out what would differ at a repeat.

    Parameters
    ----------
    result : Dataset
        Made by highdicom from stand-ins.
    header : Dataset
        A real source instance: patient, study and character set are taken from it.
    context : ResultContext
    models : tuple of ModelIdentity
        Become items of the Contributing Equipment Sequence (IHE AIR).
    """
    when = content_datetime(header, context)
    result.InstanceCreationDate = when.strftime("%Y%m%d")
    result.InstanceCreationTime = when.strftime("%H%M%S.%f")
    result.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    result.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME

    charset = value_of(header, "SpecificCharacterSet")
    keep_bytes = _settle_character_set(result, header, charset)

    for keyword in _TYPE_2:
        _take_over(header, result, keyword, keep_bytes=keep_bytes)
    for keyword in _OPTIONAL:
        if keyword in header:
            _take_over(header, result, keyword, keep_bytes=keep_bytes)
    if len(str(result.get("TimezoneOffsetFromUTC") or "")) != 5:
        result.pop("TimezoneOffsetFromUTC", None)
    result.ContributingEquipmentSequence = list(_contributing_equipment(header, context, models))
    correct_ambiguous_vr(result, is_little_endian=True)
    # pydicom writes raw elements as they are only where encoding and character set are stated
    # to be those they came in; otherwise it decodes and encodes them again.
    written = result.get("SpecificCharacterSet")
    result.set_original_encoding(
        is_implicit_vr=False,
        is_little_endian=True,
        character_encoding=convert_encodings(written) if written else default_encoding,
    )


def plain(text: str) -> str:
    """Return `text` in ASCII, letters without their accents, the rest as question marks."""
    decomposed = unicodedata.normalize("NFKD", text)
    kept = "".join(char for char in decomposed if not unicodedata.combining(char))
    return kept.encode("ascii", "replace").decode("ascii")


def _settle_character_set(result: Dataset, header: Dataset, charset: object) -> bool:
    """Set Specific Character Set; return whether the bytes of the source still fit it.

    The source's own stays if our texts can be written in it; else the result is widened to UTF-8
    (ISO_IR 192), unless some text of the source cannot be decoded: then ours give way.
    """
    texts = {element.value for element in _own_texts(result)}
    encodings = convert_encodings(charset)  # type: ignore[arg-type]  # str, MultiValue or None
    if all(_fits(text, encodings) for text in texts):
        if charset:
            result.SpecificCharacterSet = charset
        return True
    if _is_decodable(header):
        result.SpecificCharacterSet = "ISO_IR 192"
        return False
    for element in _own_texts(result):
        element.value = plain(element.value)
    if charset:
        result.SpecificCharacterSet = charset
    return True


def _own_texts(dataset: Dataset) -> Iterator[DataElement]:
    """All elements that are written in the Specific Character Set and hold one text, nested too."""
    for element in dataset.iterall():
        if element.VR in ("SH", "LO", "ST", "LT", "UC", "UT") and isinstance(element.value, str):
            yield element


def _fits(text: str, encodings: Iterable[str]) -> bool:
    if text.isascii():
        return True
    for encoding in encodings:
        try:
            # pydicom reads the default repertoire as Latin-1; to be written, it is ASCII.
            text.encode("ascii" if encoding == default_encoding else encoding)
        except (UnicodeError, LookupError):
            continue
        return True
    return False


def _is_decodable(header: Dataset) -> bool:
    """Whether all texts can be decoded; the header keeps its bytes, nothing changes in place."""
    for keyword in (*_TYPE_2, *_OPTIONAL):
        if keyword not in header:
            continue
        element = header.get_item(keyword)
        try:
            if isinstance(element, RawDataElement):
                element = convert_raw_data_element(
                    element, encoding=header.original_character_set, ds=header
                )
            text = str(element.value)
        # pydicom answers malformed values with many kinds of exception.
        except Exception:  # noqa: BLE001 - whatever the reason, it cannot be decoded
            return False
        if any(mark in text for mark in _NOT_DECODABLE):
            return False
    return True


def _take_over(source: Dataset, target: Dataset, keyword: str, *, keep_bytes: bool) -> None:
    """Copy one element, as raw bytes where they can stay; empty if the source has none."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of PS3.6")
    if tag not in source:
        setattr(target, keyword, "")
        return
    element = source.get_item(tag)
    vr = dictionary_VR(tag)
    # A sequence of an implicit VR file is raw as well, but its bytes mean another encoding.
    if keep_bytes and isinstance(element, RawDataElement) and vr != "SQ":
        value = element.value or b""
        # Values have even length (PS3.5 7.1.1); some writers forget.
        value += b" " * (len(value) % 2)
        target[tag] = element._replace(VR=vr, value=value, length=len(value), is_implicit_VR=False)
        return
    if value_of(source, keyword) is not None:
        target[tag] = copy.deepcopy(source[tag])


def _contributing_equipment(
    header: Dataset,
    context: ResultContext,
    models: tuple[ModelIdentity, ...],
) -> Iterator[Dataset]:
    """Yield the scanner, then every algorithm as IHE AIR 6.5.3.1 wants it."""
    if value_of(header, "Manufacturer"):
        scanner = Dataset()
        for keyword in _ACQUISITION:
            if value_of(header, keyword):
                # Raw bytes in a nested item would lose their character set.
                _take_over(header, scanner, keyword, keep_bytes=False)
        scanner.PurposeOfReferenceCodeSequence = [_code_item(codes.DCM.AcquisitionEquipment)]
        yield scanner
    for model in dict.fromkeys(models):
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [_code_item(codes.DCM.ProcessingEquipment)]
        item.Manufacturer = model.manufacturer[:64]
        item.ManufacturerModelName = model.name[:64]
        item.SoftwareVersions = model.version[:64]
        item.DeviceUID = derive_uid("algorithm", model.name, model.version, model.manifest_digest)
        item.ContributionDateTime = context.created.strftime("%Y%m%d%H%M%S.%f%z")
        item.ContributionDescription = f"Algorithm, manifest sha256:{model.manifest_digest}"
        yield item


def _code_item(code: object) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value  # type: ignore[attr-defined]  # pydicom's Code
    item.CodingSchemeDesignator = code.scheme_designator  # type: ignore[attr-defined]
    item.CodeMeaning = code.meaning  # type: ignore[attr-defined]
    return item
