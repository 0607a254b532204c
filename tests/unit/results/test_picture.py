"""The sheet is for eyes; what can be tested is where things lie, in which color, and how large."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dicomnode.results.picture import Pictures, encode_png
from tests.support.findings import CLASSIFICATION, LEFT_LUNG, RIGHT_LUNG, make_segments

SHAPE_KJI = (30, 60, 80)
SPACING_KJI_MM = (4.0, 1.5, 1.2)
BLUE, ORANGE = (80, 160, 255), (255, 170, 60)
CORONAL = (16, 16, 508, 464)
FIRST_AXIAL = (16, 480, 344, 716)
KEY_IMAGE = (16, 56, 1008, 928)


def thorax() -> tuple[np.ndarray, np.ndarray]:
    """A body with two lungs: the left one at high column indices, and only in the upper half."""
    k, j, i = np.indices(SHAPE_KJI)
    hu = np.full(SHAPE_KJI, -1000, np.int16)
    hu[((j - 30) / 26) ** 2 + ((i - 40) / 36) ** 2 < 1] = 40
    labels = np.zeros(SHAPE_KJI, np.uint8)
    inside = (abs(j - 30) < 14) & (k > 3) & (k < 27)
    labels[inside & (abs(i - 24) < 9)] = RIGHT_LUNG
    labels[inside & (abs(i - 56) < 9) & (k > 15)] = LEFT_LUNG
    hu[labels > 0] = -850
    return hu, labels


def pictures(hu, labels, **changes) -> Pictures:
    voxel_ml = float(np.prod(SPACING_KJI_MM)) / 1000
    return Pictures(
        hu,
        labels,
        spacing_kji_mm=SPACING_KJI_MM,
        **{"segments": make_segments(labels, voxel_ml), **changes},
    )


def draw(hu, labels, *, lines=("The lungs are cut off.",)) -> bytes:
    return encode_png(pictures(hu, labels, lines=lines).summary_page())


def where(png: bytes, color, box) -> np.ndarray:
    """(x, y) of pixels of an outline's color within a part of the sheet."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).crop(box)).astype(int)
    rows, columns = np.nonzero(abs(pixels - np.array(color)).max(axis=2) < 3)
    return np.c_[columns, rows]


def test_the_patients_left_is_on_the_right_of_the_picture():
    png = draw(*thorax())

    for box in (CORONAL, FIRST_AXIAL):
        left, right = where(png, BLUE, box), where(png, ORANGE, box)
        assert len(left)
        assert len(right)
        assert left[:, 0].mean() > right[:, 0].mean()


def test_the_head_is_on_top():
    png = draw(*thorax())

    assert where(png, BLUE, CORONAL)[:, 1].mean() < where(png, ORANGE, CORONAL)[:, 1].mean()


def test_slices_have_their_true_proportions():
    found = where(draw(*thorax()), ORANGE, CORONAL)

    width, height = np.ptp(found, axis=0) + 1
    labels = thorax()[1] == RIGHT_LUNG
    wanted = (np.count_nonzero(labels.any(axis=(1, 2))) * SPACING_KJI_MM[0]) / (
        np.count_nonzero(labels.any(axis=(0, 1))) * SPACING_KJI_MM[2]
    )
    assert height / width == pytest.approx(wanted, rel=0.05)


def test_the_same_input_gives_the_same_picture():
    assert draw(*thorax()) == draw(*thorax())


def test_where_segments_overlap_the_uppermost_is_drawn():
    hu, labels = thorax()
    both = np.where(labels == LEFT_LUNG, 9, labels).astype(np.uint8)
    uppermost = np.arange(256, dtype=np.uint8)
    uppermost[9] = LEFT_LUNG
    segments = make_segments(labels, 1.0)

    plain = pictures(hu, labels, segments=segments).summary_page()
    overlapping = pictures(hu, both, segments=segments, uppermost=uppermost).summary_page()

    np.testing.assert_array_equal(plain, overlapping)


@pytest.mark.parametrize("shape", [SHAPE_KJI, (1, 7, 5), (3, 400, 2)])
def test_nothing_found_still_makes_a_picture_without_colors(shape):
    png = draw(np.full(shape, -1000, np.int16), np.zeros(shape, np.uint8), lines=())

    assert Image.open(io.BytesIO(png)).size == (1024, 1024)
    assert not len(where(png, BLUE, CORONAL))


def test_long_and_many_lines_stay_on_the_sheet():
    lines = tuple(f"Sentence {n}: " + "many words follow here " * 12 for n in range(30))

    image = Image.open(io.BytesIO(draw(*thorax(), lines=lines)))

    for margin in ((1010, 0, 1024, 470), (530, 466, 1024, 479)):
        edge = np.asarray(image.crop(margin))
        assert (edge == edge[0, 0]).all()


def test_many_segments_scores_and_words_stay_in_their_column():
    hu, labels = thorax()
    [template, *_] = make_segments(labels, 1.0)
    segments = tuple(
        replace(template, number=n, label=f"Segment {n} " + "of a long name " * 6)
        for n in range(1, 31)
    )
    scores = tuple((f"class {n} " * 9, n / 40) for n in range(40))
    many = replace(CLASSIFICATION, scores=scores)

    page = pictures(
        hu, labels, segments=segments, classifications=(many, many), lines=("words " * 99,)
    ).summary_page()

    for top, bottom, left, right in ((0, 470, 1010, 1024), (466, 479, 530, 1024)):
        edge = page[top:bottom, left:right]
        assert (edge == edge[0, 0]).all()


def test_a_bar_is_as_long_as_its_share():
    hu, labels = thorax()
    wide = replace(CLASSIFICATION, scores=(("probable", 0.75),), measurements=())

    page = pictures(hu, labels, classifications=(wide,)).summary_page().astype(int)

    blue = abs(page[:464, 530:1008] - np.array((92, 148, 214))).max(axis=2) < 3
    assert blue.sum(axis=1).max() == pytest.approx(0.75 * 478, abs=3)


def test_key_images_are_the_same_slices_large():
    hu, labels = thorax()

    keys = list(pictures(hu, labels).key_images())

    assert [each.shape for each in keys] == [(1024, 1024, 3)] * 4
    for key in keys:
        right = where(encode_png(key), ORANGE, KEY_IMAGE)
        assert len(right)
        left = where(encode_png(key), BLUE, KEY_IMAGE)
        # The axial slices below the left lung show the right one alone.
        assert not len(left) or left[:, 0].mean() > right[:, 0].mean()


def test_a_volume_of_one_slice_has_key_images():
    hu, labels = thorax()

    assert len(list(pictures(hu[:1], labels[:1]).key_images())) == 1


def test_volumes_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        pictures(np.zeros((2, 3, 4), np.int16), np.zeros((2, 4, 3), np.uint8))
