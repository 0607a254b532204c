from dataclasses import replace
from datetime import datetime

import pytest

from dicomnode.errors import ResultError
from dicomnode.results.evidence import read_evidence, result_uid
from dicomnode.standard.uids import is_valid_uid
from tests.support.ct import make_series
from tests.support.findings import BURDEN_MODEL, MODEL


def test_headers_come_in_the_order_given_and_without_pixels(tmp_path):
    paths = make_series(tmp_path)

    headers = read_evidence(paths)

    assert len(headers) == len(paths)
    heights = [float(each.ImagePositionPatient[2]) for each in headers]
    assert heights == sorted(heights)
    assert not any("PixelData" in each for each in headers)


def test_an_unreadable_header_is_named_by_its_place_not_its_file(tmp_path):
    paths = make_series(tmp_path)
    gone = tmp_path / "DOE^JANE.dcm"

    with pytest.raises(ResultError, match="source instance 3 of 3") as caught:
        read_evidence([*paths[:2], gone])

    assert "DOE" not in str(caught.value)


def test_the_same_analysis_gives_the_same_uid(made):
    first = result_uid(made.context, "seg", [MODEL, BURDEN_MODEL])
    second = result_uid(replace(made.context), "seg", (MODEL, BURDEN_MODEL))

    assert first == second
    assert is_valid_uid(first)


@pytest.mark.parametrize(
    ("context_changes", "kind", "models"),
    [
        ({"revision": 2}, "seg", [MODEL]),
        ({"series_instance_uid": "1.2.3"}, "seg", [MODEL]),
        ({"pipeline": "other"}, "seg", [MODEL]),
        ({"pipeline_version": "8"}, "seg", [MODEL]),
        ({}, "sr", [MODEL]),
        ({}, "seg", [MODEL, BURDEN_MODEL]),
        ({}, "seg", [replace(MODEL, version="1.3")]),
        ({}, "seg", [replace(MODEL, manifest_digest="00" * 32)]),
    ],
)
def test_whatever_could_change_the_result_changes_its_uid(made, context_changes, kind, models):
    changed = result_uid(replace(made.context, **context_changes), kind, models)

    assert changed != result_uid(made.context, "seg", [MODEL])


def test_the_time_of_an_analysis_is_not_part_of_its_name(made):
    later = replace(made.context, created=made.context.created.replace(year=2030))

    assert result_uid(later, "seg", [MODEL]) == result_uid(made.context, "seg", [MODEL])


def test_a_time_without_a_zone_is_refused(made):
    with pytest.raises(ValueError, match="time zone"):
        replace(made.context, created=datetime(2026, 1, 1))  # noqa: DTZ001 - the case at hand


def test_unreadable_files_are_left_out_where_a_refusal_must_be_reported(tmp_path):
    paths = make_series(tmp_path)
    paths[2].unlink()

    headers = read_evidence(paths, leave_out_unreadable=True)

    assert len(headers) == len(paths) - 1
