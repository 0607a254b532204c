"""What results refer to and are named by: source headers, the context of an analysis, result UIDs.

No SEG or SR is built here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset

from dicomnode import __version__
from dicomnode.errors import ResultError
from dicomnode.log import get_logger
from dicomnode.model.findings import ModelIdentity
from dicomnode.standard.uids import IMPLEMENTATION_VERSION_NAME, derive_uid, is_valid_uid

_log = get_logger("results")

RESEARCH_USE: Final = "Research use only. Not for diagnosis."
"""Every result says so, in these words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """The report on an earlier revision, which a new one replaces (PS3.3 C.17.2).

    Attributes
    ----------
    revision : int
    reason : str
        Why there is a new one, in words.
    study_instance_uid, series_instance_uid, sop_class_uid, sop_instance_uid : str
        Of the report.
    """

    revision: int
    reason: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultContext:
    """Which analysis results belong to, and what made them.

    Attributes
    ----------
    series_instance_uid : str
        Of the source series.
    revision : int
        Revision of the series, from 1.
    pipeline, pipeline_version : str
    created : datetime
        Start of the analysis, aware; becomes Content Date and Time, in its own time zone or in
        that of the source where the source names one.
    predecessor : Predecessor or None
        The report that the new one replaces.
    manufacturer, manufacturer_model_name, software_versions, device_serial_number : str
        As in the Enhanced General Equipment Module (PS3.3 C.7.5.2).
    """

    series_instance_uid: str
    revision: int
    pipeline: str
    pipeline_version: str
    created: datetime
    predecessor: Predecessor | None = None
    manufacturer: str = "dicomnode"
    manufacturer_model_name: str = "dicomnode"
    software_versions: str = __version__
    device_serial_number: str = IMPLEMENTATION_VERSION_NAME

    def __post_init__(self) -> None:
        if self.created.utcoffset() is None:
            raise ValueError("wanted a time with a time zone, found one without")
        if not is_valid_uid(self.series_instance_uid):
            raise ValueError("the Series Instance UID of the source is no valid UID")

    @property
    def device_observer_uid(self) -> str:
        """UID of this kind and version of device (PS3.16 TID 1004): the same at every site."""
        return derive_uid(
            "device-observer",
            self.manufacturer,
            self.manufacturer_model_name,
            self.software_versions,
        )


def read_evidence(
    paths: Sequence[Path], *, leave_out_unreadable: bool = False
) -> tuple[Dataset, ...]:
    """Read the headers of the source instances, without pixels, once.

    Parameters
    ----------
    paths : sequence of Path
        One a single-frame instance, in slice order of the volume; a multi-frame instance once.
    leave_out_unreadable : bool
        Whether to go on without files that cannot be read, as the report on a series that was
        refused must: they may be the very reason.

    Returns
    -------
    tuple of Dataset
        In the order of `paths`.

    Raises
    ------
    ResultError
        If a file cannot be read; says which in the order given, as names may identify a patient.
    """
    headers: list[Dataset] = []
    for number, path in enumerate(paths, start=1):
        try:
            headers.append(pydicom.dcmread(path, stop_before_pixels=True, force=True))
        # pydicom answers broken files with many kinds of exception; all mean the same here.
        except Exception as error:
            if leave_out_unreadable:
                _log.warning(
                    "evidence_unreadable",
                    instance=number,
                    of=len(paths),
                    kind=type(error).__name__,
                )
                continue
            raise ResultError(
                f"the header of source instance {number} of {len(paths)} cannot be read: "
                f"{type(error).__name__}"
            ) from error
    return tuple(headers)


def read_predecessor(path: Path, *, revision: int, reason: str) -> Predecessor:
    """Read what identifies an earlier report.

    Raises
    ------
    ResultError
        If the file is gone or cannot be read.
    """
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
    try:
        ds = pydicom.dcmread(path, specific_tags=list(keywords))
        study, series, sop_class, sop_instance = (str(ds[each].value) for each in keywords)
    except Exception as error:
        raise ResultError(
            f"the report on revision {revision} cannot be read: {type(error).__name__}"
        ) from error
    return Predecessor(
        revision=revision,
        reason=reason,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
    )


def result_uid(context: ResultContext, kind: str, models: Iterable[ModelIdentity]) -> str:
    """Name a result, so that repeating the analysis makes the same object.

    Parameters
    ----------
    context : ResultContext
    kind : str
        What is named: ``seg``, ``sr``, ``seg-series`` and so on.
    models : iterable of ModelIdentity
        Every model that was asked, in order.

    Returns
    -------
    str
        A UID below 2.25.
    """
    parts = [context.series_instance_uid, str(context.revision)]
    for model in models:
        parts += [model.name, model.version, model.manifest_digest]
    return derive_uid(*parts, context.pipeline, context.pipeline_version, kind)
