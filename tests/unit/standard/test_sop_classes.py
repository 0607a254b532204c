"""SOP classes and transfer syntaxes: pydicom's dictionary is the second opinion."""

import pytest
from pydicom.uid import UID

from dicomnode.standard import sop_classes


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        (sop_classes.VERIFICATION, "Verification SOP Class"),
        (sop_classes.CT_IMAGE, "CT Image Storage"),
        (sop_classes.ENHANCED_CT_IMAGE, "Enhanced CT Image Storage"),
        (
            sop_classes.LEGACY_CONVERTED_ENHANCED_CT_IMAGE,
            "Legacy Converted Enhanced CT Image Storage",
        ),
        (sop_classes.SEGMENTATION, "Segmentation Storage"),
        (sop_classes.COMPREHENSIVE_3D_SR, "Comprehensive 3D SR Storage"),
    ],
)
def test_a_sop_class_is_the_one_it_is_called(uid, name):
    assert name == UID(uid).name


@pytest.mark.parametrize("uid", sop_classes.CT_TRANSFER_SYNTAXES)
def test_what_is_negotiated_is_a_transfer_syntax(uid):
    assert UID(uid).is_transfer_syntax


def test_no_transfer_syntax_is_listed_twice():
    assert len(set(sop_classes.CT_TRANSFER_SYNTAXES)) == len(sop_classes.CT_TRANSFER_SYNTAXES)


def test_the_default_transfer_syntax_is_among_them():
    # PS3.5 10.1: Implicit VR Little Endian is what every implementation accepts.
    assert sop_classes.IMPLICIT_VR_LITTLE_ENDIAN in sop_classes.CT_TRANSFER_SYNTAXES
