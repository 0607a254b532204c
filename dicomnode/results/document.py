"""The frame of every SR: title, observer, procedure, groups, plain words, evidence (TID 1500).

What stands in the groups is decided in `sr` and `refusal`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomnode.config import ReportConfig
from dicomnode.errors import ResultError
from dicomnode.model.findings import ModelIdentity
from dicomnode.results.evidence import RESEARCH_USE, Predecessor, ResultContext, result_uid
from dicomnode.results.source import complete, content_datetime, series_number, stand_in, value_of

PRIVATE_SCHEME: Final = "99DCMNODE"
"""Coding scheme of concepts that no public one has (PS3.3 8.2)."""

_CT_CHEST: Final = Code("24627-2", "LN", "CT Chest")
_QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A statement about the whole image: coded, or in plain words (TID 1500, rows 13 and 14)."""

    name: Code
    value: Code | str


def coded_text(text: str) -> Evaluation:
    """Return plain words as a comment."""
    return Evaluation(name=codes.DCM.Comment, value=text)


def private_code(value: str, meaning: str) -> Code:
    """Return a code of this node's own scheme; the meaning cut to 64 characters (PS3.3 8.3)."""
    return Code(value, PRIVATE_SCHEME, meaning[:64])


def add_text(group: Sequence[Any], text: str) -> None:
    """Append plain words to a measurement group, as TID 1411 and 1501 allow."""
    group[0].ContentSequence.append(_text_item(codes.DCM.Comment, text))


def encode_document(
    *,
    kind: str,
    series_description: str,
    groups: Sequence[Any],
    evaluations: Iterable[Evaluation],
    evidence: Sequence[Dataset],
    context: ResultContext,
    models: tuple[ModelIdentity, ...],
    options: ReportConfig | None = None,
) -> Dataset:
    """Put groups and statements into a Comprehensive 3D SR (PS3.3 A.35.13).

    Parameters
    ----------
    kind : str
        For the UIDs: ``sr`` and so on.
    series_description : str
    groups : sequence
        highdicom's measurement groups (TID 1411 and 1501), at least one.
    evaluations : iterable of Evaluation
    evidence : sequence of Dataset
        Everything the report rests on, the source series first.
    context : ResultContext
    models : tuple of ModelIdentity
    options : ReportConfig, optional
        What the report claims of itself.

    Raises
    ------
    ResultError
        If there is no evidence, or an instance of it cannot be referred to.
    """
    if not evidence:
        raise ResultError("wanted at least one source instance as evidence, found none")
    options = options or ReportConfig()
    kind += _claims(options)
    header = evidence[0]
    when = content_datetime(header, context)
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(context)),
        procedure_reported=_procedure(header),
        imaging_measurements=groups,
        title=codes.cid7021.OncologyMeasurementReport,
    )
    report[0].ContentSequence.append(
        _qualitative_evaluations(
            [*evaluations, *_about_predecessor(context.predecessor), coded_text(RESEARCH_USE)]
        )
    )
    made = Comprehensive3DSR(
        evidence=[
            stand_in(each, series_instance_uid=context.series_instance_uid) for each in evidence
        ],
        content=report[0],
        series_instance_uid=result_uid(context, f"{kind}-series", models),
        series_number=series_number(header, 2),
        sop_instance_uid=result_uid(context, kind, models),
        instance_number=1,
        manufacturer=context.manufacturer,
        manufacturer_model_name=context.manufacturer_model_name,
        software_versions=context.software_versions,
        device_serial_number=context.device_serial_number,
        series_description=series_description,
        is_complete=options.completion == "complete",
        is_final=not options.preliminary,
        is_verified=False,
        content_date=when.date(),
        content_time=when.time(),
    )
    made.CodingSchemeIdentificationSequence = [_private_scheme()]
    if context.predecessor is not None:
        made.PredecessorDocumentsSequence = [_reference(context.predecessor)]
    complete(made, header, context=context, models=models)
    return made


def _claims(options: ReportConfig) -> str:
    """Return what tells a report that claims this from the default's: it needs other UIDs."""
    partial = "-partial" if options.completion == "partial" else ""
    return partial if options.preliminary else f"{partial}-final"


def _about_predecessor(predecessor: Predecessor | None) -> Iterator[Evaluation]:
    if predecessor is not None:
        yield coded_text(
            f"This report replaces the one on revision {predecessor.revision} of the series. "
            f"{predecessor.reason}"
        )


def _reference(predecessor: Predecessor) -> Dataset:
    """Refer to an earlier document (PS3.3 table 10-3b, Hierarchical SOP Instance Reference)."""
    instance = Dataset()
    instance.ReferencedSOPClassUID = predecessor.sop_class_uid
    instance.ReferencedSOPInstanceUID = predecessor.sop_instance_uid
    series = Dataset()
    series.SeriesInstanceUID = predecessor.series_instance_uid
    series.ReferencedSOPSequence = [instance]
    study = Dataset()
    study.StudyInstanceUID = predecessor.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study


def _observer(context: ResultContext) -> ObserverContext:
    """Name the device that observed (TID 1004); it has no item for a version but the name."""
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=context.device_observer_uid,
            name=f"{context.manufacturer_model_name} {context.software_versions}",
            manufacturer_name=context.manufacturer,
            model_name=context.manufacturer_model_name,
            serial_number=context.device_serial_number,
        ),
    )


def _procedure(header: Dataset) -> Code:
    """Say which imaging procedure is reported on: the source's own code, else what was scanned."""
    for item in value_of(header, "ProcedureCodeSequence") or []:
        value, scheme, meaning = (
            str(value_of(item, keyword) or "").strip()
            for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
        )
        if value and scheme and meaning:
            return Code(value, scheme, meaning)
    if str(value_of(header, "BodyPartExamined") or "").upper() in ("CHEST", "LUNG", "THORAX"):
        return _CT_CHEST
    generic: Code = codes.cid100.CTUnspecifiedBodyRegion
    return generic


def _qualitative_evaluations(evaluations: Iterable[Evaluation]) -> ContainerContentItem:
    """Make the container of statements about the whole image (TID 1500, row 12)."""
    container = ContainerContentItem(
        name=_QUALITATIVE_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = ContentSequence(
        [
            _text_item(each.name, each.value)
            if isinstance(each.value, str)
            else CodeContentItem(
                name=each.name,
                value=each.value,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
            for each in evaluations
        ]
    )
    return container


def _text_item(name: Code, text: str) -> TextContentItem:
    return TextContentItem(
        name=CodedConcept.from_code(name),
        value=text,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )


def _private_scheme() -> Dataset:
    """Identify the private scheme, so that its codes can be told from others' (PS3.3 C.12.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = "dicomnode"
    item.CodingSchemeResponsibleOrganization = "dicomnode"
    return item
