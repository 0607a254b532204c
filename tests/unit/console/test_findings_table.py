"""What was found, as people read it: a row a region, with units; answers with their grounds."""

from dataclasses import replace

import pytest

from dicomnode.console.findings_table import figure, tabulate
from dicomnode.results.summary import summarize
from tests.support.ct import make_series
from tests.support.findings import CLASSIFICATION, NO_LUNGS, make_findings, make_overlapping


@pytest.fixture
def made(tmp_path):
    return make_overlapping(make_series(tmp_path / "ct"))


def table_of(made, **changes):
    return tabulate(summarize(replace(made.findings, **changes), context=made.context))


def test_a_region_is_a_row_and_a_measurement_a_column_with_its_unit(made):
    table = table_of(made)

    assert table.columns == ("Volume, mL", "Attenuation Coefficient, mean, HU")
    rows = {each.label: each for each in table.regions}
    assert list(rows) == ["Left lung", "Effusion", "Right lung", "Opacity"]
    assert rows["Left lung"].cells[1] == "-812"
    assert rows["Left lung"].color_rgb == (80, 160, 255)
    assert rows["Effusion"].cells == ("0.00", "")
    assert not rows["Effusion"].is_found
    assert rows["Effusion"].number is None, "the SEG has no empty segment"


def test_a_place_is_named_unless_the_label_names_it(made):
    assert [each.place for each in table_of(made).regions] == ["", "", "", "Lung"]


def test_an_answer_comes_with_probability_rule_and_model(made):
    [answer] = table_of(made).answers

    assert (answer.question, answer.answer) == ("Opacity burden", "Mild")
    assert answer.score_name == "Probability"
    assert answer.scores == (("none", "12.3 %"), ("mild", "87.7 %"))
    assert answer.measurements == (("Percent opacity", "3.2 %"),)
    assert answer.rule == "The class with the highest probability."
    assert answer.threshold is None


def test_a_share_that_is_measured_too_is_said_once(made):
    burden = replace(
        CLASSIFICATION, scores=(("Percent", 3.21),), score_kind="percent", threshold=2.5
    )

    [answer] = table_of(made, classifications=(burden,)).answers

    assert answer.scores == ()
    assert answer.measurements == (("Percent opacity", "3.2 %"),)
    assert answer.threshold == "2.5 %"


def test_reasons_models_and_notes_are_there(tmp_path):
    made = make_findings(make_series(tmp_path / "ct"))
    table = table_of(made, guards=(NO_LUNGS,), classifications=(), notes=("Lossy.",))

    assert table.guards == ((NO_LUNGS.sentence, True),)
    assert table.answers == ()
    assert table.notes == ("Lossy.",)
    assert [each["name"] for each in table.models] == ["lung-classical", "opacity-burden"]
    assert table.research_use == "Research use only. Not for diagnosis."


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, "-"),
        (2060.58, "2,061"),
        (-776.5, "-776"),
        (16.346, "16.3"),
        (0.586, "0.59"),
        (0.0, "0.00"),
        (0.00018, "< 0.01"),
        (-0.001, "> -0.01"),
    ],
)
def test_numbers_have_the_digits_they_deserve(value, wanted):
    assert figure(value) == wanted
