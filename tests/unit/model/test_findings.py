"""Findings: a label map lies on its volume's grid, and empty segments are told apart."""

import numpy as np
import pytest
from pydicom.sr.coding import Code

from dicomnode.model.findings import Findings, LabelMap, ModelIdentity, Segment
from dicomnode.model.volume import VolumeGeometry

GEOMETRY = VolumeGeometry(shape_kji=(3, 5, 7), affine_ijk_to_lps=np.diag([0.7, 0.9, 2.5, 1.0]))
MODEL = ModelIdentity(
    name="lung",
    version="1.0.0",
    manufacturer="dicomnode",
    family=Code("123110", "DCM", "Artificial Intelligence"),
    manifest_digest="0" * 64,
    triton_model="lung_segmentation",
    server="triton 2.51.0",
)


def segment(number: int, volume_ml: float) -> Segment:
    return Segment(
        number=number,
        label=f"Segment {number}",
        category=Code("91723000", "SCT", "Anatomical Structure"),
        property_type=Code("39607008", "SCT", "Lung"),
        laterality=None,
        color_rgb=(10, 20, 30),
        model=MODEL,
        volume_ml=volume_ml,
        measurements=(),
    )


def test_a_label_map_is_read_only():
    label_map = LabelMap(labels=np.zeros((3, 5, 7), np.uint8), geometry=GEOMETRY)

    with pytest.raises(ValueError, match="read-only"):
        label_map.labels[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        pytest.param(np.zeros((7, 5, 3), np.uint8), r"\(3, 5, 7\).*\(7, 5, 3\)", id="axes"),
        pytest.param(np.zeros((3, 5, 7), np.int16), "uint8.*int16", id="dtype"),
        pytest.param(np.zeros((3, 5, 7), bool), "uint8.*bool", id="mask"),
    ],
)
def test_labels_of_another_grid_or_type_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        LabelMap(labels=labels, geometry=GEOMETRY)


def test_a_segment_that_was_looked_for_and_not_found_stays_in_the_findings():
    findings = Findings(
        segments=(segment(1, 2100.5), segment(2, 0.0)),
        label_map=LabelMap(labels=np.zeros((3, 5, 7), np.uint8), geometry=GEOMETRY),
        classifications=(),
        guards=(),
        models=(MODEL,),
    )

    assert [each.number for each in findings.segments] == [1, 2]
    assert [each.number for each in findings.found_segments] == [1]
