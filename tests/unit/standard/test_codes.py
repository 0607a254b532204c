"""Codes: a scheme, value and meaning that do not belong together never become a code."""

import pytest
from pydicom.sr.codedict import codes as dictionary

from dicomnode.standard import codes


@pytest.mark.parametrize(
    "code",
    [codes.ANATOMICAL_STRUCTURE, codes.LUNG, codes.LEFT, codes.RIGHT, codes.VOLUME],
    ids=lambda code: code.meaning,
)
def test_the_codes_of_the_house_are_in_the_dictionary(code):
    checked = codes.check_code(code.scheme_designator, code.value, code.meaning)

    assert code == checked
    assert code.meaning == checked.meaning


def test_the_dictionary_agrees_on_the_concepts():
    assert dictionary.SCT.Lung == codes.LUNG
    assert dictionary.SCT.Left == codes.LEFT
    assert dictionary.SCT.Right == codes.RIGHT
    assert dictionary.SCT.Volume == codes.VOLUME


def test_a_wrong_meaning_is_refused_and_the_right_one_named():
    with pytest.raises(ValueError, match=r"39607008.*means 'Lung'.*found 'Liver'"):
        codes.check_code("SCT", "39607008", "Liver")


def test_an_unknown_value_is_refused():
    with pytest.raises(ValueError, match=r"\(1, SCT\) is not in the SCT dictionary"):
        codes.check_code("SCT", "1", "Lung")


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="wanted a code of scheme SCT, DCM or 99"):
        codes.check_code("SNM3", "T-28000", "Lung")


def test_letter_case_of_a_meaning_is_free():
    assert codes.check_code("SCT", "39607008", "lung").meaning == "lung"


def test_a_private_scheme_is_its_owner_s_business():
    code = codes.check_code("99DCMNODE", "OPACITY", "Opacity burden")

    assert (
        code.value,
        code.scheme_designator,
        code.meaning,
    ) == ("OPACITY", "99DCMNODE", "Opacity burden")


@pytest.mark.parametrize("symbol", ["mL", "[hnsf'U]", "%", "1", "mm", "mm3"])
def test_a_unit_is_ucum(symbol):
    unit = codes.unit(symbol)

    assert ("UCUM", symbol) == (unit.scheme_designator, unit.value)
    assert 1 <= len(unit.meaning) <= 64


def test_units_are_case_sensitive():
    with pytest.raises(KeyError):
        codes.unit("ml")
