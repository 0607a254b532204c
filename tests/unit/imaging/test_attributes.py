"""Reading attributes: text in the character set of the image."""

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicomnode.imaging.contents import open_series
from dicomnode.model.selection import Condition, SelectionRules
from dicomnode.series.selection import decide
from tests.support.ct import make_series

CHARACTER_SETS = {
    "latin": ("ISO_IR 100", "Thorax f\u00fcr Lunge"),
    "unicode": ("ISO_IR 192", "Thorax f\u00fcr \u80ba"),
    # The last character's second byte is a backslash.
    "chinese": ("GB18030", "Thorax \u80f8 \u801a"),
    "japanese": (["", "ISO 2022 IR 87"], "Thorax \u80f8\u90e8"),
    "korean": (["", "ISO 2022 IR 149"], "Thorax \ud749\ubd80"),
}


def _traits(folder, **attributes):
    paths = make_series(folder, shape_kji=(3, 23, 17), **attributes)
    contents = open_series(paths, ("SeriesDescription",))
    assert contents.traits.image_count == 3
    return contents.traits


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize(("terms", "text"), CHARACTER_SETS.values(), ids=CHARACTER_SETS.keys())
def test_text_is_read_in_the_character_set_of_the_image(tmp_path, syntax, terms, text):
    traits = _traits(
        tmp_path, transfer_syntax=syntax, SpecificCharacterSet=terms, SeriesDescription=text
    )

    assert traits.values["SeriesDescription"] == ((text,),)
    rule = Condition(keyword="SeriesDescription", regex=f"^Thorax.*{text[-1]}$")
    decision = decide(SelectionRules(min_slices=1, conditions=(rule,)), traits)
    assert decision.is_selected, decision.sentence


@pytest.mark.parametrize("terms", [None, "ISO_IR 666"])
def test_text_of_an_unknown_character_set_is_read_as_far_as_it_is_ascii(tmp_path, terms):
    paths = make_series(tmp_path, shape_kji=(3, 23, 17), SeriesDescription="Thorax mit Lunge")
    for path in paths:
        content = path.read_bytes().replace(b"Thorax mit", b"Thorax f\xfcr")
        if terms is None:
            content = content.replace(b"ISO_IR 192", b" " * 10)
        else:
            content = content.replace(b"ISO_IR 192", terms.encode().ljust(10))
        path.write_bytes(content)

    traits = open_series(paths, ("SeriesDescription",)).traits

    assert traits.image_count == 3
    assert traits.values["SeriesDescription"] == (("Thorax f\ufffdr Lunge",),)
