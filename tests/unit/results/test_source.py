"""A patient's name must come back from every result as it was sent."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.config import ScConfig, SegConfig
from dicomnode.results.capture import encode_captures
from dicomnode.results.part10 import encode_part10
from dicomnode.results.refusal import encode_refusal
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.source import plain, series_number
from dicomnode.results.sr import encode_report
from tests.support.ct import make_series
from tests.support.findings import make_findings

NAMES = [
    pytest.param(None, b"Doe^Jane", id="default repertoire"),
    pytest.param("ISO_IR 100", b"Buc^J\xe9r\xf4me", id="Latin-1"),
    pytest.param("ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", id="Cyrillic"),
    pytest.param("ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), id="UTF-8"),
    pytest.param("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), id="GB18030"),
    pytest.param(
        ["", "ISO 2022 IR 87"],
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
        id="ISO 2022 IR 87",
    ),
    pytest.param(
        ["", "ISO 2022 IR 149"],
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
        id="ISO 2022 IR 149",
    ),
    pytest.param("ISO_IR 192", b"Not\xff\xfeUTF^8", id="bytes that are no UTF-8"),
    pytest.param(None, b"M\xfcller^Illegal", id="undeclared"),
]


def raw_name(header: Dataset, name: bytes) -> Dataset:
    """Write `name` into a header as those bytes, whatever pydicom thinks of them."""
    header.PatientName = "X" * len(name)
    buffer = io.BytesIO()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    header.save_as(buffer, enforce_file_format=True)
    padding = b" " * (len(name) % 2)
    data = buffer.getvalue()
    written = b"X" * len(name) + padding
    assert data.count(written) == 1
    return pydicom.dcmread(io.BytesIO(data.replace(written, name + padding)))


def report_on(made, **changes) -> Dataset:
    report = encode_report(
        replace(made.findings, **changes),
        evidence=made.evidence,
        segmentation=None,
        context=made.context,
    )
    buffer = io.BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(buffer.getvalue()))


def with_name(tmp_path: Path, charset, name: bytes):
    made = make_findings(make_series(tmp_path, SpecificCharacterSet=charset))
    first = raw_name(made.evidence[0], name)
    return replace(made, evidence=(first, *made.evidence[1:]))


@pytest.mark.parametrize(("charset", "name"), NAMES)
def test_a_name_comes_back_to_the_byte(tmp_path, charset, name):
    made = with_name(tmp_path, charset, name)

    report = report_on(made)

    assert report.get_item("PatientName").value.rstrip(b" ") == name
    assert report.get("SpecificCharacterSet") == made.evidence[0].get("SpecificCharacterSet")


@pytest.mark.parametrize("kind", ["binary", "labelmap", "images", "multi-frame"])
@pytest.mark.parametrize(("charset", "name"), NAMES)
def test_a_name_comes_back_to_the_byte_from_segmentations_and_pictures(
    tmp_path, charset, name, kind
):
    made = with_name(tmp_path, charset, name)
    shared = {"evidence": made.evidence, "context": made.context}
    if kind in {"binary", "labelmap"}:
        result = encode_segmentation(
            made.findings, volume_sources=made.sources, options=SegConfig(type=kind), **shared
        )
    else:
        picture = np.zeros((2, 2, 3), np.uint8)
        [result] = encode_captures([picture], models=(), options=ScConfig(form=kind), **shared)

    back = pydicom.dcmread(io.BytesIO(encode_part10(result)))

    assert back.get_item("PatientName").value.rstrip(b" ") == name
    assert back.get("SpecificCharacterSet") == made.evidence[0].get("SpecificCharacterSet")


def test_the_character_set_is_widened_when_a_text_of_ours_needs_it(tmp_path):
    made = with_name(tmp_path, "ISO_IR 100", b"Buc^J\xe9r\xf4me")

    report = report_on(made, notes=("肺 was found",))

    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert report.PatientName == "Buc^Jérôme"
    assert "肺 was found" in [
        each.value for each in report.iterall() if each.keyword == "TextValue"
    ]


def test_the_character_set_stays_when_it_holds_our_texts(tmp_path):
    made = with_name(tmp_path, "ISO_IR 100", b"Buc^J\xe9r\xf4me")

    report = report_on(made, notes=("Lóbulo inferior",))

    assert report.SpecificCharacterSet == "ISO_IR 100"
    texts = [each.value for each in report.iterall() if each.keyword == "TextValue"]
    assert "Lóbulo inferior" in texts


def test_our_text_gives_way_to_a_name_that_cannot_be_decoded(tmp_path):
    name = b"Hong^Gildong=\x1b$)C\xff\xff^\x1b$)C\xd1\xce"
    made = with_name(tmp_path, ["", "ISO 2022 IR 149"], name)

    report = report_on(made, notes=("Lóbulo",))

    assert report.get_item("PatientName").value.rstrip(b" ") == name
    assert "Lobulo" in [each.value for each in report.iterall() if each.keyword == "TextValue"]


def test_the_default_repertoire_is_ascii(tmp_path):
    made = with_name(tmp_path, None, b"Doe^Jane")

    report = report_on(made, notes=("Lóbulo",))

    assert report.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.cases
@pytest.mark.parametrize("file_name", ["chrFren", "chrH31", "chrI2", "chrX1", "chrX2"])
def test_names_of_real_files_come_back_unchanged(cases, made, file_name):
    source = pydicom.dcmread(cases / "odd" / "charset" / f"{file_name}.dcm")
    stored = source.get_item("PatientName").value

    report = encode_refusal(
        reason="unsupported_image", sentence="No CT.", evidence=(source,), context=made.context
    )

    buffer = io.BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    back = pydicom.dcmread(io.BytesIO(buffer.getvalue()))
    assert back.get_item("PatientName").value.rstrip(b" ") == stored.rstrip(b" ")
    assert back.PatientName == source.PatientName


@pytest.mark.parametrize(("number", "wanted"), [(2, 2001), (None, 9001), (0, 9001), (-3, 9001)])
def test_results_sort_behind_their_source(number, wanted):
    header = Dataset()
    header.SeriesNumber = number

    assert series_number(header, 1) == wanted


def test_plain_text_keeps_letters_without_their_accents():
    assert plain("Lóbulo 肺") == "Lobulo ?"
