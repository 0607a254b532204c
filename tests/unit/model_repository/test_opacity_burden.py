"""The opacity burden: shares of known opacities, vessels left out, nothing guessed."""

import numpy as np
import pytest
from burden import opacity_burden

from dicomnode.demo.phantom import opacity_percent

SHAPE, SPACING = (24, 60, 80), (5.0, 2.0, 1.5)


def lungs(left_hu=-850, right_hu=-850):
    """Two boxes: left lung of twice the right lung's volume."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:22, 5:55, 45:75] = 1
    labels[2:22, 5:55, 10:25] = 2
    hu = np.full(SHAPE, 40, np.int16)
    hu[labels == 1] = left_hu
    hu[labels == 2] = right_hu
    return hu, labels


def test_aerated_lungs_have_no_burden():
    burden = opacity_burden(*_order(*lungs()))

    assert burden.as_tuple() == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("hu", "kind"), [(-450, "ground_glass"), (20, "consolidation")], ids=["glass", "consolidation"]
)
def test_a_whole_lung_counts_by_its_volume(hu, kind):
    burden = opacity_burden(*_order(*lungs(left_hu=hu)))

    assert burden.left == 100
    assert burden.right == 0
    assert burden.both == pytest.approx(100 * 2 / 3)
    assert getattr(burden, kind) == burden.both


def test_part_of_a_lung_counts_in_part():
    hu, labels = lungs()
    hu[2:22, 5:30, 45:75] = -400

    burden = opacity_burden(hu, SPACING, labels)

    # Half of the left lung; the corners of the box are rounded off.
    assert burden.left == pytest.approx(50, abs=2.5)
    assert burden.right == 0


def test_vessels_are_left_out():
    hu, labels = lungs()
    hu[:, 20:23, 45:75] = 40
    hu[5:7, 40:43, 10:25] = 40

    assert opacity_burden(hu, SPACING, labels).both == 0


@pytest.mark.parametrize("hu", [-1000, -700, 400], ids=["air", "shallow breath", "metal"])
def test_what_is_no_opacity_does_not_count(hu):
    values, labels = lungs(left_hu=hu)

    assert opacity_burden(values, SPACING, labels).both == 0


def test_tissue_around_the_lungs_does_not_count():
    """The chest wall lies in the same 2 mm block as the lung's edge, and must not raise it."""
    hu, labels = lungs()
    labels[1::2] = 0

    assert opacity_burden(hu, (2.0, 0.5, 0.5), labels).both == 0


def test_no_lungs_no_burden():
    hu, labels = lungs()

    assert opacity_burden(hu, SPACING, np.zeros_like(labels)).as_tuple() == (0, 0, 0, 0, 0)


def test_other_labels_are_left_out():
    hu, labels = lungs(right_hu=-400)
    labels[labels == 2] = 3

    assert opacity_burden(hu, SPACING, labels).both == 0


def test_the_phantoms_opacities_are_measured(thorax):
    hu, truth, spacing = thorax

    burden = opacity_burden(hu, spacing, truth)

    assert burden.both == pytest.approx(opacity_percent(truth, spacing), rel=0.15)
    assert burden.ground_glass > burden.consolidation > 0
    assert burden.both == pytest.approx(burden.ground_glass + burden.consolidation)


def test_the_result_is_deterministic(thorax):
    hu, truth, spacing = thorax

    assert opacity_burden(hu, spacing, truth) == opacity_burden(hu, spacing, truth)


def test_labels_of_another_shape_are_refused():
    hu, labels = lungs()

    with pytest.raises(ValueError, match="labels of the volume's shape"):
        opacity_burden(hu, SPACING, labels[1:])


@pytest.mark.parametrize("spacing", [(2.5, 0.0, 0.7), (2.5, 0.7), (2.5, np.inf, 0.7)])
def test_a_spacing_that_cannot_be_is_refused(spacing):
    hu, labels = lungs()

    with pytest.raises(ValueError, match="three spacings above 0 mm"):
        opacity_burden(hu, spacing, labels)


def _order(hu, labels):
    return hu, SPACING, labels
