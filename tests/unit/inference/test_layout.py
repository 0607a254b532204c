import numpy as np
import pytest

from dicomnode.inference.layout import from_layout, tensor_shape, to_layout

SIZE_ZYX = (3, 5, 7)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        ("ZYX", (3, 5, 7)),
        ("XYZ", (7, 5, 3)),
        ("DHW", (3, 5, 7)),
        ("NCDHW", (1, 2, 3, 5, 7)),
        ("NDHWC", (1, 3, 5, 7, 2)),
        ("NCXYZ", (1, 2, 7, 5, 3)),
        ("NXYZC", (1, 7, 5, 3, 2)),
        ("CZYX", (2, 3, 5, 7)),
    ],
)
def test_a_layout_says_where_every_axis_stands(layout: str, shape: tuple[int, ...]):
    channels = 2 if "C" in layout else 1
    ours = np.arange(channels * 105).reshape(1, channels, *SIZE_ZYX)

    tensor = to_layout(ours, layout)

    assert tensor.shape == shape
    assert tensor_shape(layout, batch=1, channels=channels, size_zyx=SIZE_ZYX) == shape
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(from_layout(tensor, layout), ours)
    # The voxel (z 2, y 3, x 4) of the last channel, found by hand.
    place = {"N": 0, "C": channels - 1, "Z": 2, "Y": 3, "X": 4}
    axes = layout.replace("D", "Z").replace("H", "Y").replace("W", "X")
    assert tensor[tuple(place[axis] for axis in axes)] == ours[0, -1, 2, 3, 4]


def test_two_channels_do_not_fit_into_a_layout_without():
    with pytest.raises(ValueError, match="size not equal to one"):
        to_layout(np.zeros((1, 2, 3, 5, 7)), "ZYX")
