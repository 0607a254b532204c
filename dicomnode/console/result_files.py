"""Which files a job's results are, in words, and which of them name a patient."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final

from dicomnode.database.job_rows import JobRow
from dicomnode.pipeline.objects import kind_of

_NAMES_PATIENT: Final = frozenset((".dcm", ".txt"))
"""DICOM objects name the patient they are of, and so does their text."""

_WORDS: Final = {
    "seg": "DICOM Segmentation",
    "sr": "DICOM Structured Report",
    "sc": "DICOM Secondary Capture",
    "png": "summary as a picture",
    "json": "findings for programs",
    "nifti": "segments on the source's grid, NIfTI",
}


def names_of(job: JobRow) -> list[str]:
    """Return the names of a job's result files, texts of its reports among them."""
    texts = [
        re.sub(r"\.dcm$", ".txt", name)
        for name in job.files
        if kind_of(name) == "sr" and name.endswith(".dcm")
    ]
    return sorted([*job.files, *texts])


def names_patient(name: str) -> bool:
    """Whether a result file names the patient."""
    return PurePath(name).suffix in _NAMES_PATIENT


def describe_files(job: JobRow) -> list[tuple[str, str]]:
    """Return names of a job's result files, and what each is, in words."""
    return [
        (name, "report as text") if name.endswith(".txt") else (name, _WORDS.get(kind_of(name), ""))
        for name in names_of(job)
    ]
