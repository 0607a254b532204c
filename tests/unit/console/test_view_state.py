"""A page's address must say all that it shows, and be read back; nonsense in it does no harm."""

from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest

from dicomnode.console.view_state import ViewState, parse_segments
from dicomnode.results.shown import ShownSegment


def segment(number, *, is_abnormal=False):
    return ShownSegment(number=number, label="", color_rgb=(0, 0, 0), is_abnormal=is_abnormal)


@pytest.fixture
def scene():
    return SimpleNamespace(
        geometry=SimpleNamespace(shape_kji=(9, 23, 17)),
        segments=(segment(1), segment(2, is_abnormal=True)),
        fullest={1: (1, 2, 3), 2: (4, 5, 6)},
    )


def parse(scene, query=""):
    return ViewState.parse(parse_qs(query), scene)


def test_it_begins_where_most_of_what_is_abnormal_lies(scene):
    state = parse(scene)

    assert state.slices == {"axial": 4, "coronal": 5, "sagittal": 6}
    assert (state.plane, state.window, state.segments, state.opacity) == ("axial", "lung", None, 32)


def test_without_segments_it_begins_in_the_middle(scene):
    scene.fullest = {}

    assert parse(scene).slices == {"axial": 4, "coronal": 11, "sagittal": 8}


def test_an_address_is_read_back(scene):
    query = "plane=coronal&axial=3&coronal=23&sagittal=1&window=bone&opacity=70&segments=1,2"
    state = parse(scene, query)

    assert state.slices == {"axial": 2, "coronal": 22, "sagittal": 0}
    assert parse(scene, state.query()) == state
    assert state.query() == query


def test_links_change_one_thing_alone(scene):
    state = parse(scene, "window=bone&segments=none")

    other = parse(scene, state.at({"coronal": 7}))

    assert other.slices == {**state.slices, "coronal": 7}
    assert (other.window, other.segments) == ("bone", ())
    assert parse(scene, state.enlarged("sagittal")).plane == "sagittal"


@pytest.mark.parametrize(
    "query", ["axial=0&coronal=99&sagittal=-4", "axial=1&coronal=23&sagittal=x", "axial=%00"]
)
def test_slices_that_are_none_become_ones_that_are(scene, query):
    state = parse(scene, query)

    assert 0 <= state.slices["axial"] < 9
    assert 0 <= state.slices["coronal"] < 23
    assert 0 <= state.slices["sagittal"] < 17


def test_other_nonsense_becomes_what_is_usual(scene):
    state = parse(scene, "plane=<b>&window=x&opacity=1e9&segments=")

    assert (state.plane, state.window, state.opacity) == ("axial", "lung", 32)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([], None),
        (["all"], None),
        (["none"], ()),
        (["none", "2"], (2,)),
        (["2", "1"], (1, 2)),
        (["1,3"], (1, 3)),
        (["x"], None),
    ],
)
def test_segments_are_all_none_or_those_named(values, wanted):
    assert parse_segments(values) == wanted


def test_a_picture_looks_as_the_page_does(scene):
    state = parse(scene, "window=bone&segments=2&opacity=10")

    assert state.image_query() == "window=bone&segments=2&opacity=10"
    assert parse(scene).image_query() == "window=lung&segments=all&opacity=32"
    assert [state.shows(n) for n in (1, 2)] == [False, True]
