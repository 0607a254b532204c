import numpy as np
import pytest

from dicomnode.inference.intensity import activate, scale, to_dtype
from dicomnode.inference.schema.preparation import Intensity

HU = [-2000.0, -1500.0, -500.0, 500.0, 900.0]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"clip_hu": (-1500, 500)}, [0, 0, 0.5, 1, 1]),
        ({"clip_hu": (-1500, 500), "to": (-1, 1)}, [-1, -1, 0, 1, 1]),
        ({"from_hu": (-1000, 500)}, [-2 / 3, -1 / 3, 1 / 3, 1, 19 / 15]),
        ({"clip_hu": (-1000, 500), "from_hu": (-1500, 500)}, [0.25, 0.25, 0.5, 1, 1]),
        ({}, HU),
    ],
    ids=["clip", "other span", "no clip", "clip within the span", "nothing"],
)
def test_values_are_clipped_and_then_mapped(keys, expected):
    found = scale(np.array(HU, np.float32), Intensity(**keys))

    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_integers_are_rounded_and_saturate():
    values = np.array([-3.0, 0.4, 0.6, 254.7, 300.0], np.float32)

    assert to_dtype(values, "UINT8").tolist() == [0, 0, 1, 255, 255]
    assert to_dtype(values, "INT16").tolist() == [-3, 0, 1, 255, 300]
    assert to_dtype(values, "FP16").dtype == np.float16


def test_activations_are_those_of_the_textbook_and_do_not_overflow():
    logits = np.array([[1000.0, 0.0], [-1000.0, np.log(3)]], np.float32)

    np.testing.assert_allclose(activate(logits, "softmax", axis=0), [[1, 0.25], [0, 0.75]])
    np.testing.assert_allclose(activate(logits, "sigmoid", axis=0), [[1, 0.5], [0, 0.75]])
    assert activate(logits, "none", axis=0) is logits
