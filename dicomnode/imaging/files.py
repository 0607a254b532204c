"""Finding the CT series in files and folders.  Reads headers only; checks no geometry."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom
from pydicom.datadict import tag_for_keyword

from dicomnode.imaging.attributes import Attributes
from dicomnode.standard.sop_classes import CT_SOP_CLASSES
from dicomnode.standard.uids import is_valid_uid

_KEYWORDS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_TAGS: Final = [tag for tag in map(tag_for_keyword, _KEYWORDS) if tag is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFiles:
    """The CT image files of one series, as they were found.

    Attributes
    ----------
    series_instance_uid, study_instance_uid : str
    paths : tuple of pathlib.Path
        Sorted.
    """

    series_instance_uid: str
    study_instance_uid: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that belongs to no series.

    Attributes
    ----------
    path : pathlib.Path
    reason : str
        A phrase for people.
    """

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFiles:
    """What lay under some paths.

    Attributes
    ----------
    series : dict of str to SeriesFiles
        By Series Instance UID, sorted.
    left_out : tuple of LeftOut
        Every other file.
    """

    series: dict[str, SeriesFiles]
    left_out: tuple[LeftOut, ...]


def find_series(paths: Iterable[Path]) -> FoundFiles:
    """Sort files, and the files of folders and their subfolders, into CT series.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        Files or folders.  A file that is named twice counts once.

    Returns
    -------
    FoundFiles
        No file under `paths` is in neither of its parts.
    """
    members: dict[str, list[Path]] = {}
    studies: dict[str, str] = {}
    left_out: list[LeftOut] = []
    for path in walk_files(paths):
        found = _identify(path)
        if isinstance(found, LeftOut):
            left_out.append(found)
            continue
        series, study = found
        members.setdefault(series, []).append(path)
        studies.setdefault(series, study)
    return FoundFiles(
        series={
            uid: SeriesFiles(
                series_instance_uid=uid,
                study_instance_uid=studies[uid],
                paths=tuple(members[uid]),
            )
            for uid in sorted(members)
        },
        left_out=tuple(left_out),
    )


def walk_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield every file once, in sorted order within each folder; links to folders too."""
    seen: set[Path] = set()
    for start in paths:
        for path in _files_under(start, seen):
            resolved = path.resolve()
            if resolved not in seen:
                seen.add(resolved)
                yield path


def _files_under(start: Path, seen: set[Path]) -> Iterator[Path]:
    if not start.is_dir():
        yield start
        return
    for folder, subfolders, names in os.walk(start, followlinks=True):
        here = Path(folder).resolve()
        if here in seen:
            # A link back to a folder above, or a folder named twice.
            subfolders.clear()
            continue
        seen.add(here)
        subfolders.sort()
        yield from (Path(folder) / name for name in sorted(names))


def _identify(path: Path) -> tuple[str, str] | LeftOut:
    """Return Series and Study Instance UID of a CT image file, or why it is left out."""
    if not path.is_file():
        return LeftOut(path=path, reason="not there, or no regular file")
    try:
        with path.open("rb") as file:
            ds = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)
        attributes = Attributes(items=(ds,), label="an instance")
        values = {keyword: attributes.text(keyword) for keyword in _KEYWORDS}
    except OSError as error:
        return LeftOut(path=path, reason=f"cannot be read: {error.strerror}")
    except Exception as error:  # noqa: BLE001 - hostile files make pydicom raise nearly anything
        return LeftOut(path=path, reason=f"not DICOM, or malformed ({type(error).__name__})")
    reason = _reason_to_leave_out(values)
    if reason is not None:
        return LeftOut(path=path, reason=reason)
    return values["SeriesInstanceUID"], values["StudyInstanceUID"]


def _reason_to_leave_out(values: dict[str, str]) -> str | None:
    if not any(values.values()):
        # Forced reading makes an empty data set of nearly any bytes.
        return "not DICOM, or without any UID"
    bad = [keyword for keyword, value in values.items() if not is_valid_uid(value)]
    if "SOPClassUID" not in bad and values["SOPClassUID"] not in CT_SOP_CLASSES:
        return f"not a CT image (SOP Class UID {values['SOPClassUID']})"
    return f"absent or malformed: {', '.join(bad)}" if bad else None
