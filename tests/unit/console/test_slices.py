"""A known point of the patient must be shown at the right pixel, with the right letters about it.

The expectation is made from the instances' own attributes (PS3.3 C.7.6.2.1.1) and the radiological
convention, in patient space: the patient's right is on the left of the picture, the head on top,
the front on top of an axial and on the left of a sagittal slice.
"""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicomnode.console.slices import (
    PLANES,
    WINDOWS,
    describe_plane,
    direction_letters,
    draw_slice,
    encode_slice,
)
from dicomnode.console.volumes import Scene
from dicomnode.imaging.grid import needs_resampling, to_model_grid
from dicomnode.imaging.volume import read_series
from dicomnode.model.findings import LabelMap
from dicomnode.results.shown import ShownSegment
from tests.support.ct import OBLIQUE, SHAPE_KJI, asymmetric_hu, bright_kji, make_series

ONLY_BRIGHT = (2200.0, 1200.0)
"""A window in which all is black but the bright voxel, in part also where it was interpolated."""

POSITIONS = {
    "head first supine": (1, 0, 0, 0, 1, 0),
    "feet first supine": (-1, 0, 0, 0, 1, 0),
    "head first prone": (-1, 0, 0, 0, -1, 0),
    "feet first prone": (1, 0, 0, 0, -1, 0),
    "decubitus left": (0, -1, 0, 1, 0, 0),
    "decubitus right": (0, 1, 0, -1, 0, 0),
    "coronal slices": (1, 0, 0, 0, 0, -1),
    "coronal slices upside down": (1, 0, 0, 0, 0, 1),
    "sagittal slices": (0, 1, 0, 0, 0, -1),
    "sagittal slices from behind": (0, -1, 0, 0, 0, -1),
}
LETTERS = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "H", "F"),
    "sagittal": ("A", "P", "H", "F"),
}


def scene_of(paths, *, label=None):
    """What is shown of files; `label` is a mask that becomes segment 1."""
    volume = read_series(paths).volume
    grid = to_model_grid(volume, "LPS")
    labels = np.zeros(volume.geometry.shape_kji, np.uint8) if label is None else label
    segments = (ShownSegment(number=1, label="One", color_rgb=(10, 200, 90), is_abnormal=False),)
    return Scene(
        voxels_hu=grid.voxels_hu,
        label_map=LabelMap(labels=grid.apply(labels), geometry=grid.geometry),
        segments=() if label is None else segments,
        fullest={},
        notes=(),
        is_resampled=needs_resampling(volume.geometry),
        paths=(),
    )


def lps_of(header, row, column):
    """The center of a pixel in patient space, by PS3.3 C.7.6.2.1.1."""
    between_rows, between_columns = (float(each) for each in header.PixelSpacing)
    cosines = np.array(header.ImageOrientationPatient, dtype=float)
    return (
        np.array(header.ImagePositionPatient, dtype=float)
        + cosines[:3] * between_columns * column
        + cosines[3:] * between_rows * row
    )


def all_lps(headers):
    """Every pixel's center, shape (slices, rows, columns, 3)."""
    return np.array(
        [
            [[lps_of(each, j, i) for i in range(each.Columns)] for j in range(each.Rows)]
            for each in headers
        ]
    )


def bright_point(headers):
    k, j, i = bright_kji((len(headers), headers[0].Rows, headers[0].Columns))
    return lps_of(headers[k], j, i)


def brightest(image):
    """(x, y) of the brightest part of a picture."""
    pixels = np.asarray(image.convert("L")).astype(float)
    assert pixels.max() > 0, "nothing bright is in this slice"
    rows, columns = np.nonzero(pixels > 0.7 * pixels.max())
    return columns.mean(), rows.mean()


def index_at(facts, point):
    return round((point["xyz".index(facts.axis)] - facts.first_mm) / facts.step_mm)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("orientation", POSITIONS.values(), ids=POSITIONS)
def test_a_point_is_shown_where_the_patient_has_it(tmp_path, orientation, plane):
    headers = [pydicom.dcmread(each) for each in make_series(tmp_path, orientation=orientation)]
    scene = scene_of(sorted(tmp_path.iterdir()))
    facts = describe_plane(scene.geometry, plane)
    point = bright_point(headers)
    points = all_lps(headers).reshape(-1, 3)
    low, high = points.min(axis=0), points.max(axis=0)
    across, down = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    part = (point - low) / (high - low)
    cells = [round(n) for n in (facts.columns, facts.rows)]

    image = draw_slice(scene, plane, index_at(facts, point), window=ONLY_BRIGHT, letters=False)

    # From the centers of the outermost voxels to the edges of the picture it is half a voxel.
    x = (part[across] * (cells[0] - 1) + 0.5) / cells[0] * facts.width - 0.5
    upward = 1 - part[down] if down == 2 else part[down]
    y = (upward * (cells[1] - 1) + 0.5) / cells[1] * facts.height - 0.5
    assert brightest(image) == pytest.approx((x, y), abs=1.5)
    assert (facts.left, facts.right, facts.top, facts.bottom) == LETTERS[plane]
    assert not facts.is_slanted


@pytest.mark.parametrize("plane", PLANES)
def test_the_bright_voxel_is_in_no_neighboring_slice(tmp_path, plane):
    headers = [pydicom.dcmread(each) for each in make_series(tmp_path)]
    scene = scene_of(sorted(tmp_path.iterdir()))
    facts = describe_plane(scene.geometry, plane)
    index = index_at(facts, bright_point(headers))

    for other in (index - 1, index + 1):
        image = draw_slice(scene, plane, other, window=ONLY_BRIGHT, letters=False)

        assert np.asarray(image).max() == 0


TILT = (1, 0, 0, 0, float(np.cos(np.radians(17))), float(np.sin(np.radians(17))))
UNEVEN_MM = (0, 2.5, 5.1, 7.4, 10.0, 12.6, 15.0, 17.4, 20.0)


def tilted(folder):
    """Slices that are tilted against the table, which moves along z (gantry tilt)."""
    origin = (-41.5, 12.25, -203.0)
    return make_series(
        folder,
        orientation=TILT,
        ImagePositionPatient=lambda k: [origin[0], origin[1], round(origin[2] + 2.5 * k, 4)],
    )


def uneven(folder):
    return make_series(
        folder, ImagePositionPatient=lambda k: [-41.5, 12.25, round(-203 + UNEVEN_MM[k], 4)]
    )


def oblique(folder):
    return make_series(folder, orientation=OBLIQUE)


@pytest.mark.parametrize(
    ("make", "letters"),
    [
        (tilted, {"axial": ("R", "L", "AF", "PH"), "coronal": ("R", "L", "HA", "FP")}),
        (uneven, LETTERS),
        (oblique, {}),
    ],
    ids=["gantry tilt", "uneven slices", "oblique"],
)
@pytest.mark.parametrize("plane", PLANES)
def test_what_is_slanted_or_uneven_is_shown_in_its_place_too(tmp_path, make, letters, plane):
    headers = [pydicom.dcmread(each) for each in make(tmp_path)]
    point = bright_point(headers)
    scene = scene_of(sorted(tmp_path.iterdir()))
    facts = describe_plane(scene.geometry, plane)
    spacing = scene.geometry.spacing_ijk_mm
    images = [
        np.asarray(draw_slice(scene, plane, n, window=ONLY_BRIGHT, letters=False).convert("L"))
        for n in range(facts.count)
    ]
    index = int(np.argmax([each.max() for each in images]))
    x, y = brightest(Image.fromarray(images[index]))

    # From pixel to index by the picture's size alone, from index to the patient by the geometry.
    along = (x + 0.5) / facts.width * facts.columns - 0.5
    below = (y + 0.5) / facts.height * facts.rows - 0.5
    how = PLANES[plane]
    ijk = np.zeros(3)
    ijk[how.across] = along
    ijk[how.down] = facts.rows - 1 - below if how.is_head_up else below
    ijk[how.through] = index
    assert np.abs(scene.geometry.to_lps(ijk) - point).max() < 0.6 * max(spacing)
    shown = (facts.left, facts.right, facts.top, facts.bottom)
    assert shown == letters.get(plane, shown)


def test_the_letters_of_a_slanted_plane_name_the_nearest_axis_first():
    direction = np.array([0.3, -0.9, 0.1])

    assert direction_letters(direction / np.linalg.norm(direction)) == "AL"
    assert direction_letters(np.array([0.05, -0.05, -0.99])) == "F"


def test_an_oblique_plane_says_that_positions_hold_for_its_center(tmp_path):
    oblique(tmp_path)
    scene = scene_of(sorted(tmp_path.iterdir()))
    facts = describe_plane(scene.geometry, "axial")

    _slices, rows, columns = scene.geometry.shape_kji
    center = scene.geometry.to_lps(np.array([(columns - 1) / 2, (rows - 1) / 2, 3.0]))

    assert facts.is_slanted
    assert facts.position_mm(3) == pytest.approx(center[2])


@pytest.mark.parametrize("plane", PLANES)
def test_proportions_are_those_of_the_patient(tmp_path, plane):
    make_series(tmp_path)
    scene = scene_of(sorted(tmp_path.iterdir()))
    facts = describe_plane(scene.geometry, plane)
    mm = scene.geometry.spacing_ijk_mm
    how = PLANES[plane]

    wanted = (facts.columns * mm[how.across]) / (facts.rows * mm[how.down])

    assert facts.width / facts.height == pytest.approx(wanted, rel=0.01)
    assert draw_slice(scene, plane, 0, window=WINDOWS["lung"]).size == (facts.width, facts.height)


def test_all_planes_are_drawn_to_one_scale(tmp_path):
    make_series(tmp_path)
    geometry = scene_of(sorted(tmp_path.iterdir())).geometry
    axial, coronal, sagittal = (describe_plane(geometry, name) for name in PLANES)

    assert axial.width == coronal.width
    assert axial.height == sagittal.width
    assert coronal.height == sagittal.height
    assert max(axial.width, axial.height, coronal.height) in {512, 513}


# --- what is drawn


@pytest.fixture
def labeled(tmp_path):
    """A scene with one segment: a box off center, alike in no two planes."""
    label = np.zeros(SHAPE_KJI, np.uint8)
    label[2:6, 3:9, 8:15] = 1
    return scene_of(make_series(tmp_path), label=label)


def tinted(image):
    """Pixels that are not gray."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return np.ptp(pixels, axis=2) > 20


def test_a_segment_is_tinted_and_outlined_in_its_color_where_it_is(labeled):
    facts = describe_plane(labeled.geometry, "axial")

    image = draw_slice(labeled, "axial", 3, window=WINDOWS["lung"], letters=False)

    rows, columns = np.nonzero(tinted(image))
    scale = facts.width / 17
    assert (columns.min(), columns.max()) == pytest.approx((8 * scale, 15 * scale), abs=2)
    assert (rows.min(), rows.max()) == pytest.approx(
        (3 / 23 * facts.height, 9 / 23 * facts.height), abs=2
    )
    assert tuple(np.asarray(image)[rows.min(), int(columns.mean())]) == (10, 200, 90)


def test_a_segment_that_is_not_wanted_is_not_shown(labeled):
    image = draw_slice(labeled, "axial", 3, window=WINDOWS["lung"], segments=())

    assert image.mode == "L"


def test_without_opacity_the_outline_alone_is_left(labeled):
    filled, empty = (
        tinted(draw_slice(labeled, "axial", 3, window=WINDOWS["lung"], opacity=opacity))
        for opacity in (0.5, 0.0)
    )

    assert 0 < empty.sum() < filled.sum() / 3


def test_a_slice_without_segments_is_gray(labeled):
    assert draw_slice(labeled, "axial", 0, window=WINDOWS["lung"]).mode == "L"


def test_where_segments_overlap_the_uppermost_that_is_shown_counts(labeled):
    labels = labeled.label_map.labels.copy()
    labels[labels == 1] = 3
    lesion = ShownSegment(number=2, label="Two", color_rgb=(240, 20, 20), is_abnormal=True)
    scene = replace(
        labeled,
        label_map=LabelMap(labels=labels, geometry=labeled.geometry, overlaps={3: (1, 2)}),
        segments=(*labeled.segments, lesion),
    )

    both = np.asarray(draw_slice(scene, "axial", 3, window=WINDOWS["lung"], letters=False))
    one = np.asarray(
        draw_slice(scene, "axial", 3, window=WINDOWS["lung"], segments=[1], letters=False)
    )

    rows, columns = np.nonzero(tinted(Image.fromarray(one)))
    edge, column = rows.min(), int(columns.mean())
    assert tuple(both[edge, column]) == (240, 20, 20)
    assert tuple(one[edge, column]) == (10, 200, 90)


def test_a_window_maps_its_ends_to_black_and_white(tmp_path):
    hu = np.full(SHAPE_KJI, -1000, np.int16)
    hu[:, :, 6:12] = -600
    hu[:, :, 12:] = 900
    scene = scene_of(make_series(tmp_path, hu=hu))

    lung = np.asarray(draw_slice(scene, "axial", 4, window=WINDOWS["lung"], letters=False))
    bone = np.asarray(draw_slice(scene, "axial", 4, window=WINDOWS["bone"], letters=False))

    middle = lung.shape[0] // 2
    ninth = lung.shape[1] // 17
    assert [int(lung[middle, n * ninth]) for n in (2, 8, 15)] == [59, 127, 255]
    assert [int(bone[middle, n * ninth]) for n in (2, 8)] == [0, 0]
    assert 190 < int(bone[middle, 15 * ninth]) < 205


def test_letters_are_written_at_the_edges_and_nowhere_else(tmp_path):
    make_series(tmp_path, hu=np.full(SHAPE_KJI, -1024, np.int16))
    scene = scene_of(sorted(tmp_path.iterdir()))

    image = np.asarray(draw_slice(scene, "coronal", 4, window=WINDOWS["bone"]))

    height, width = image.shape
    rows, columns = np.nonzero(image)
    near_edge = (rows < 40) | (rows > height - 40) | (columns < 40) | (columns > width - 40)
    assert near_edge.all()
    assert image[height // 2 - 15 : height // 2 + 15, :30].max() == 236
    assert image[:30, width // 2 - 15 : width // 2 + 15].max() == 236


def test_a_slice_beyond_the_volume_is_refused(labeled):
    with pytest.raises(IndexError, match="wanted a slice from 0 to 8, found 9"):
        draw_slice(labeled, "axial", 9, window=WINDOWS["lung"])
    with pytest.raises(IndexError, match="found -1"):
        draw_slice(labeled, "axial", -1, window=WINDOWS["lung"])


def test_it_becomes_a_png_without_loss(labeled):
    image = draw_slice(labeled, "sagittal", 4, window=WINDOWS["lung"])

    read = Image.open(io.BytesIO(encode_slice(image)))

    assert read.format == "PNG"
    assert np.array_equal(np.asarray(read), np.asarray(image))
    assert read.info == {}, "no text goes along"


def test_the_series_of_these_tests_differs_on_every_axis():
    assert len(set(SHAPE_KJI)) == 3
    assert (asymmetric_hu() > 2000).sum() == 1
