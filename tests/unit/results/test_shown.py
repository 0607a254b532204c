"""What a SEG says must come back as it was written, on the grid it was made on."""

import numpy as np
import pytest

from dicomnode.config import SegConfig
from dicomnode.errors import ResultError
from dicomnode.results.part10 import encode_part10
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.shown import read_segmentation
from tests.support.ct import make_series
from tests.support.findings import (
    IN_LEFT,
    IN_RIGHT,
    LEFT_LUNG,
    LESION,
    RIGHT_LUNG,
    make_findings,
    make_overlapping,
)


@pytest.fixture
def paths(tmp_path):
    return make_series(tmp_path / "ct")


def write(made, folder, **options):
    seg = encode_segmentation(
        made.findings,
        volume_sources=made.sources,
        evidence=made.evidence,
        context=made.context,
        options=SegConfig(**options),
    )
    path = folder / "seg.dcm"
    path.write_bytes(encode_part10(seg))
    return path


def read(made, path):
    return read_segmentation(path, sources=made.sources, geometry=made.findings.label_map.geometry)


@pytest.mark.parametrize("omit", [True, False], ids=["frames left out", "all frames"])
def test_a_label_map_comes_back_under_the_numbers_of_the_seg(paths, tmp_path, omit):
    made = make_findings(paths)
    written = made.findings.label_map.labels

    label_map, segments = read(made, write(made, tmp_path, omit_empty_frames=omit))

    wanted = np.zeros_like(written)
    wanted[written == LEFT_LUNG] = 1
    wanted[written == RIGHT_LUNG] = 2
    assert np.array_equal(label_map.labels, wanted)
    assert [(each.number, each.label) for each in segments] == [(1, "Left lung"), (2, "Right lung")]
    assert not any(each.is_abnormal for each in segments)


def test_colors_come_from_the_recommended_display_value(paths, tmp_path):
    made = make_findings(paths)

    _labels, segments = read(made, write(made, tmp_path))

    for found, wanted in zip(segments, ((80, 160, 255), (255, 170, 60)), strict=True):
        assert found.color_rgb == pytest.approx(wanted, abs=2), "CIELab is rounded"


def test_segments_that_overlap_keep_all_their_voxels(paths, tmp_path):
    made = make_overlapping(paths)
    written = made.findings.label_map.labels

    label_map, segments = read(made, write(made, tmp_path))

    left, right, lesion = (label_map.values_of(number) for number in (1, 2, 3))
    for found, wanted in (
        (left, (LEFT_LUNG, IN_LEFT)),
        (right, (RIGHT_LUNG, IN_RIGHT)),
        (lesion, (LESION, IN_LEFT, IN_RIGHT)),
    ):
        assert np.array_equal(found[label_map.labels], np.isin(written, wanted))
    assert [each.is_abnormal for each in segments] == [False, False, True]
    # As in the findings, the lesion lies above.
    assert np.array_equal(label_map.flat() == 3, np.isin(written, (LESION, IN_LEFT, IN_RIGHT)))


def test_the_order_of_slices_is_that_of_the_volume(paths, tmp_path):
    made = make_findings(paths)
    path = write(made, tmp_path)
    forth, _segments = read(made, path)

    back, _segments = read_segmentation(
        path, sources=made.sources[::-1], geometry=made.findings.label_map.geometry
    )

    assert np.array_equal(back.labels, forth.labels[::-1])


def test_a_seg_of_another_series_is_refused(paths, tmp_path):
    made = make_findings(paths)
    other = make_findings(make_series(tmp_path / "other"))

    with pytest.raises(ResultError, match="refers to an image that is not in the volume"):
        read(other, write(made, tmp_path))


def test_a_seg_of_another_matrix_is_refused(paths, tmp_path):
    made = make_findings(paths)
    other = make_findings(make_series(tmp_path / "other", shape_kji=(9, 21, 17)))

    with pytest.raises(ResultError, match="wanted a SEG of 21 x 17 pixels"):
        read(other, write(made, tmp_path))


def test_a_label_map_segmentation_is_refused(paths, tmp_path):
    made = make_findings(paths)

    with pytest.raises(ResultError, match="wanted a BINARY SEG"):
        read(made, write(made, tmp_path, type="labelmap"))


def test_what_is_no_dicom_file_is_refused(paths, tmp_path):
    path = tmp_path / "seg.dcm"
    path.write_bytes(b"no DICOM")

    with pytest.raises(ResultError, match="cannot be read: InvalidDicomError"):
        read(make_findings(paths), path)
