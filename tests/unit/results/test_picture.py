"""The sheet is for eyes; what can be tested is where things lie, in which color, and how large."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dicomnode.results.picture import draw_overlay
from tests.support.findings import LEFT_LUNG, RIGHT_LUNG, make_segments

SHAPE_KJI = (30, 60, 80)
SPACING_KJI_MM = (4.0, 1.5, 1.2)
BLUE, ORANGE = (80, 160, 255), (255, 170, 60)
CORONAL = (28, 28, 648, 640)
FIRST_AXIAL = (672, 28, 969, 325)


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


def draw(hu, labels, *, lines=("Opacity burden: mild",)) -> bytes:
    voxel_ml = float(np.prod(SPACING_KJI_MM)) / 1000
    return draw_overlay(
        hu,
        labels,
        spacing_kji_mm=SPACING_KJI_MM,
        segments=make_segments(labels, voxel_ml),
        lines=lines,
    )


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


@pytest.mark.parametrize("shape", [SHAPE_KJI, (1, 7, 5), (3, 400, 2)])
def test_nothing_found_still_makes_a_picture_without_colors(shape):
    png = draw(np.full(shape, -1000, np.int16), np.zeros(shape, np.uint8), lines=())

    assert Image.open(io.BytesIO(png)).size == (1600, 900)
    assert not len(where(png, BLUE, CORONAL))


def test_long_and_many_lines_stay_on_the_sheet():
    lines = tuple(f"Sentence {n}: " + "many words follow here " * 12 for n in range(30))

    image = Image.open(io.BytesIO(draw(*thorax(), lines=lines)))

    edge = np.asarray(image.crop((1573, 660, 1600, 840)))
    assert (edge == edge[0, 0]).all()


def test_volumes_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        draw(np.zeros((2, 3, 4), np.int16), np.zeros((2, 4, 3), np.uint8))
