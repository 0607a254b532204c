"""The gate: which slices make a volume, and where it lies."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dicomnode.errors import (
    DuplicatePositions,
    IrregularSpacing,
    MissingSlices,
    MixedGeometry,
    NoImages,
    TooFewSlices,
)
from dicomnode.imaging.geometry import order_slices
from dicomnode.imaging.policy import GatePolicy
from dicomnode.imaging.slices import Slice, StoredPixels

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ORIGIN = np.array([-41.5, 12.25, -203.0])


def _slice(index, position, **changes):
    base = Slice(
        path=Path(f"{index}.dcm"),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"1.2.3.{index}",
        study_instance_uid="1.2.4",
        series_instance_uid="1.2.5",
        frame_number=None,
        frame_of_reference_uid="1.2.6",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        instance_number=index,
        acquisition_number=1,
        rows=23,
        columns=17,
        pixel_spacing_mm=(0.9, 0.7),
        orientation_lps=AXIAL,
        position_lps=tuple(map(float, position)),
        stored=StoredPixels(
            bits_allocated=16,
            bits_stored=16,
            high_bit=15,
            is_signed=True,
            padding=None,
            rescale_slope=1.0,
            rescale_intercept=0.0,
        ),
        is_lossy=False,
        has_unspecified_rescale=False,
        pixels_offset=0,
    )
    return dataclasses.replace(base, **changes)


def _stack(depths, step=(0.0, 0.0, 1.0)):
    return [_slice(n, ORIGIN + np.array(step) * depth) for n, depth in enumerate(depths)]


def _order(slices, *, same=False, **policy):
    return order_slices(
        slices, policy=GatePolicy(**policy), is_same_image=lambda _one, _other: same
    )


def _numbers(slices):
    return [each.instance_number for each in slices]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_slices_run_along_row_x_column_cosines_whatever_their_order(order):
    stack = _stack([0, 2.5, 5, 7.5])

    found = _order([stack[index] for index in order])

    assert _numbers(found.slices) == [0, 1, 2, 3]
    np.testing.assert_allclose(
        found.geometry.affine_ijk_to_lps,
        [[0.7, 0, 0, -41.5], [0, 0.9, 0, 12.25], [0, 0, 2.5, -203], [0, 0, 0, 1]],
        atol=1e-9,
    )
    assert found.geometry.shape_kji == (4, 23, 17)
    assert found.notes == ()


def test_feet_down_cosines_turn_the_slice_order():
    head_up = _stack([0, 2.5, 5])
    prone = [dataclasses.replace(each, orientation_lps=(1, 0, 0, 0, -1, 0)) for each in head_up]

    assert _numbers(_order(prone).slices) == [2, 1, 0]


def test_spacing_comes_from_all_positions():
    found = _order(_stack([0.0, 2.45, 5.0, 7.5, 10.0]))

    assert found.geometry.spacing_ijk_mm[2] == pytest.approx(2.505)


def test_a_tilted_gantry_shears_the_slice_axis_and_is_noted():
    tilt = np.radians(15)
    found = _order(_stack([0, 2.5, 5, 7.5], step=(0, np.tan(tilt), 1)))

    assert found.tilt_degrees == pytest.approx(15)
    np.testing.assert_allclose(
        found.geometry.affine_ijk_to_lps[:3, 2], [0, 2.5 * np.tan(tilt), 2.5], atol=1e-9
    )
    assert found.notes == ("The gantry was tilted by 15.0 degrees.",)
    assert found.geometry.voxel_volume_ml == pytest.approx(0.7 * 0.9 * 2.5 / 1000)


def test_missing_slices_are_refused_with_their_gaps():
    with pytest.raises(MissingSlices) as caught:
        _order(_stack([0, 2.5, 7.5, 10, 17.5]))

    text = str(caught.value)
    assert "wanted gaps of 2.500 mm, found 2 with 3 slices missing" in text
    assert "5.000 mm between SOP Instance 1.2.3.1 and SOP Instance 1.2.3.2" in text
    assert "7.500 mm between SOP Instance 1.2.3.3 and SOP Instance 1.2.3.4" in text


def test_a_gap_between_two_of_three_slices_is_a_gap():
    with pytest.raises(MissingSlices):
        _order(_stack([0, 5, 15]))


def test_uneven_slices_are_refused():
    with pytest.raises(IrregularSpacing, match=r"at a spacing of 2\.\d+ mm: SOP Instance"):
        _order(_stack([0, 2.5, 5.9, 7.5, 10]))


def test_positions_rounded_to_a_tenth_of_a_millimeter_are_even():
    depths = [round(0.625 * n, 1) for n in range(40)]

    assert _order(_stack(depths)).geometry.spacing_ijk_mm[2] == pytest.approx(0.625, abs=1e-3)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_slices_are_refused(count):
    with pytest.raises(TooFewSlices, match=f"wanted at least 3 slices, found {count}"):
        _order(_stack([2.5 * n for n in range(count)]))


def test_no_slices_are_refused():
    with pytest.raises(NoImages):
        _order([])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"rows": 24}, "wanted one matrix"),
        ({"columns": 18}, "wanted one matrix"),
        ({"pixel_spacing_mm": (0.9, 0.702)}, "wanted one pixel spacing"),
        ({"pixel_spacing_mm": (0.7, 0.9)}, "wanted one pixel spacing"),
        ({"orientation_lps": (0.9998, 0.02, 0, -0.02, 0.9998, 0)}, "wanted one orientation"),
        ({"frame_of_reference_uid": "1.2.7"}, "wanted one Frame of Reference"),
        ({"frame_of_reference_uid": None}, "wanted one Frame of Reference"),
        ({"series_instance_uid": "1.2.8"}, "wanted one series"),
        ({"position_lps": (-41.0, 12.25, -198.0)}, "within the image plane"),
    ],
)
def test_a_slice_unlike_the_others_is_refused_by_name(changes, what):
    stack = _stack([0, 2.5, 5, 7.5])
    stack[2] = dataclasses.replace(stack[2], **changes)

    with pytest.raises(MixedGeometry, match=what) as caught:
        _order(stack)

    assert "1.2.3.2" in str(caught.value)


def test_spacing_and_orientation_that_differ_by_rounding_are_one():
    stack = _stack([0, 2.5, 5, 7.5])
    stack[1] = dataclasses.replace(
        stack[1], pixel_spacing_mm=(0.90001, 0.7), orientation_lps=(1, 1e-5, 0, -1e-5, 1, 0)
    )

    assert len(_order(stack).slices) == 4


def test_a_frame_of_reference_for_each_slice_says_nothing_and_is_noted():
    stack = [
        dataclasses.replace(each, frame_of_reference_uid=f"1.9.{each.instance_number}")
        for each in _stack([0, 2.5, 5])
    ]

    found = _order(stack)

    assert found.frame_of_reference_uid is None
    assert found.notes == ("Every slice names a Frame of Reference of its own; one was assumed.",)


def test_a_repeated_slice_is_dropped_and_noted():
    stack = _stack([0, 2.5, 5])
    again = dataclasses.replace(stack[1], path=Path("again.dcm"), sop_instance_uid="1.2.3.99")

    found = _order([*stack, stack[0], again], same=True)

    assert _numbers(found.slices) == [0, 1, 2]
    assert len(found.dropped) == 2
    assert found.notes == ("2 repeated slices were left out.",)


def test_repetitions_do_not_make_up_for_missing_slices():
    stack = _stack([0, 2.5])

    with pytest.raises(TooFewSlices, match="found 2"):
        _order([*stack, *stack], same=True)


def test_different_images_at_one_position_are_refused_with_their_acquisitions():
    stack = _stack([0, 2.5, 5])
    other = dataclasses.replace(stack[1], sop_instance_uid="1.2.3.99", acquisition_number=2)

    with pytest.raises(DuplicatePositions, match=r"of acquisitions \['1', '2'\].*1\.2\.3\.99"):
        _order([*stack, other])


def test_one_uid_at_two_positions_is_refused():
    stack = _stack([0, 2.5, 5, 7.5])
    stack[3] = dataclasses.replace(stack[3], sop_instance_uid="1.2.3.0")

    with pytest.raises(DuplicatePositions, match="wanted one image under a UID"):
        _order(stack, same=True)


def test_slices_at_one_depth_but_moved_within_the_plane_are_no_repetition():
    stack = _stack([0, 2.5, 5])
    moved = _slice(7, np.add(stack[1].position_lps, (30, 0, 0)))

    with pytest.raises(DuplicatePositions):
        _order([*stack, moved], same=True)


def test_uneven_slices_within_tolerance_keep_their_own_places():
    depths = [0, 2.5, 5.3, 7.5, 10]

    found = _order(_stack(depths, step=(0, 0.25, 1)))

    geometry = found.geometry
    assert "unevenly spaced, up to 0.2" in found.notes[-1]
    points = np.stack([np.zeros(5), np.zeros(5), geometry.slice_places], axis=-1)
    np.testing.assert_allclose(
        geometry.to_lps(points), [each.position_lps for each in found.slices], atol=1e-9
    )


def test_the_tolerance_for_uneven_slices_is_the_policys():
    with pytest.raises(IrregularSpacing, match=r"within 0\.2\d\d mm of a regular grid"):
        _order(_stack([0, 2.5, 5.4, 7.5, 10]), irregular_tolerance=0.1)


@pytest.mark.parametrize(
    ("missing", "kept"), [([3], [4, 5, 6, 7]), ([5], [0, 1, 2, 3, 4]), ([2, 6], [3, 4, 5])]
)
def test_the_largest_block_is_kept_where_the_policy_says_so(missing, kept):
    stack = [each for each in _stack(np.arange(8) * 2.5) if each.instance_number not in missing]

    found = _order(stack, gaps="largest_block")

    assert _numbers(found.slices) == kept
    assert "5.000 mm between" in found.notes[0]
    assert f"{len(kept)} of {len(stack)} slices" in found.notes[0]


def test_a_block_that_is_too_small_is_refused():
    with pytest.raises(TooFewSlices, match="wanted at least 4 slices, found 3"):
        _order(_stack([0, 2.5, 7.5, 10, 12.5]), gaps="largest_block", min_slices=4)


def _acquisitions(keyword, values, *, counts=None, times=None):
    """Stacks of different images at the same positions, told apart by one attribute."""
    found = []
    for number, value in enumerate(values):
        depths = np.arange((counts or [4] * len(values))[number]) * 2.5
        found += [
            dataclasses.replace(
                each,
                sop_instance_uid=f"1.2.{number}.{each.instance_number}",
                variants=((keyword, value),) if value else (),
                acquired_at=times[number] if times else "",
            )
            for each in _stack(depths)
        ]
    return found


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("AcquisitionNumber", ["2", "10"]),
        ("ConvolutionKernel", ["B30f", "B60f"]),
        ("KVP", ["80", "140"]),
        ("TemporalPositionIdentifier", ["1", "2"]),
        ("NominalPercentageOfCardiacPhase", ["40", "75"]),
        ("ContrastBolusAgent", ["", "Iodine"]),
        ("DiffusionBValue", ["0", "800"]),
    ],
)
def test_acquisitions_at_the_same_positions_are_told_apart(keyword, values):
    stack = _acquisitions(keyword, values)

    with pytest.raises(DuplicatePositions, match=f"holds 2 that differ in {keyword}"):
        _order(stack)

    first = _order(stack, acquisitions="first")
    assert {each.sop_instance_uid.split(".")[2] for each in first.slices} == {"0"}
    assert f"differ in {keyword}" in first.notes[0]


def test_the_order_of_acquisitions_is_that_of_their_times():
    stack = _acquisitions("AcquisitionNumber", ["1", "2"], times=["1010", "0900"])

    assert {each.acquired_at for each in _order(stack, acquisitions="first").slices} == {"0900"}
    assert {each.acquired_at for each in _order(stack, acquisitions="last").slices} == {"1010"}


def test_the_acquisition_of_most_slices_is_chosen_where_the_policy_says_so():
    stack = _acquisitions("ConvolutionKernel", ["A", "B", "C"], counts=[4, 6, 5])

    assert len(_order(stack, acquisitions="most_slices").slices) == 6


def test_phases_without_any_mark_are_told_apart_by_time():
    stack = [
        dataclasses.replace(
            each,
            sop_instance_uid=f"{each.sop_instance_uid}.{phase}",
            acquired_at=f"{each.instance_number:02}{phase}",
        )
        for phase in range(3)
        for each in _stack([0, 2.5, 5])
    ]

    found = _order(stack, acquisitions="last")

    assert [each.acquired_at for each in found.slices] == ["002", "012", "022"]
    assert "order of acquisition" in found.notes[0]


def test_what_nothing_tells_apart_is_refused_whatever_the_policy():
    with pytest.raises(DuplicatePositions):
        _order(_acquisitions("KVP", ["120", "120"]), acquisitions="first")
