"""Does a pipeline want a series, and what is said of it?"""

import dataclasses

import pytest
from pydantic import ValidationError

from dicomnode.model.selection import Condition, Decision, SelectionRules, SeriesTraits
from dicomnode.series.selection import compete, decide

CHEST = SeriesTraits(
    values={
        "ImageType": (("ORIGINAL", "PRIMARY", "AXIAL"),),
        "SeriesDescription": (("Thorax 1.0 B70f",),),
        "SliceThickness": (("1.0",),),
        "ConvolutionKernel": (("B70f", "3"),),
        "KVP": (("120",),),
    },
    image_count=300,
    position_count=300,
    localizer_count=0,
    other_count=0,
    unreadable_count=0,
    plane="axial",
    spacing_mm=0.8,
)


def _like(**changes):
    values = {
        key: ((value,),) if isinstance(value, str) else value for key, value in changes.items()
    }
    own = {name: values.pop(name) for name in list(values) if name in SeriesTraits.__slots__}
    for name in ("plane",):
        if name in own:
            own[name] = own[name][0][0]
    return dataclasses.replace(CHEST, values={**CHEST.values, **values}, **own)


def _against(rules, traits):
    return [
        each.rule for each in decide(SelectionRules(**rules), traits).outcomes if not each.passed
    ]


def test_a_plain_chest_series_is_selected_and_every_rule_is_recorded():
    decision = decide(SelectionRules(), CHEST)

    assert decision.is_selected
    assert decision.sentence == "Selected: every rule passed."
    assert [each.rule for each in decision.outcomes] == [
        "slices",
        "reformats",
        "derived maps",
        "dose screens",
        "secondary images",
        "dose reports",
        "bolus tracking",
        "repeated positions",
        "number of slices",
        "plane",
    ]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"image_count": 0, "position_count": 0, "localizer_count": 2}, "slices"),
        ({"ImageType": (("DERIVED", "SECONDARY", "REFORMATTED"),)}, "reformats"),
        ({"ImageType": (("DERIVED", "PRIMARY", "MPR"),)}, "reformats"),
        ({"ImageType": (("DERIVED", "SECONDARY", "AXIAL", "CSA MPR"),)}, "reformats"),
        ({"ImageType": (("DERIVED", "PRIMARY", "MIP"),)}, "reformats"),
        ({"ImageType": (("DERIVED", "PRIMARY", "PERFUSION", "CBF"),)}, "derived maps"),
        ({"ImageType": (("DERIVED", "SECONDARY", "SCREEN SAVE"),)}, "dose screens"),
        ({"ImageType": (("ORIGINAL", "PRIMARY", "OTHER", "CT_SOM5 PROT"),)}, "dose screens"),
        ({"ImageType": (("DERIVED", "SECONDARY", "AXIAL"),)}, "secondary images"),
        ({"SeriesDescription": "Dose Report"}, "dose reports"),
        ({"SeriesDescription": "Patient Protocol"}, "dose reports"),
        ({"SeriesDescription": "Monitoring  10.0"}, "bolus tracking"),
        ({"SeriesDescription": "SmartPrep Series"}, "bolus tracking"),
        ({"SeriesDescription": "PreMonitoring"}, "bolus tracking"),
        ({"SeriesDescription": "Test Bolus"}, "bolus tracking"),
        ({"image_count": 20, "position_count": 1}, "repeated positions"),
        ({"image_count": 1, "position_count": 1}, "number of slices"),
        ({"plane": "sagittal"}, "plane"),
    ],
)
def test_what_is_left_out_unless_the_pipeline_says_otherwise(changes, rule):
    traits = _like(**changes)

    assert rule in _against({}, traits)
    if rule not in {"number of slices", "plane"}:
        assert rule not in _against({"leave_out_unsuitable": False}, traits)


@pytest.mark.parametrize(
    "description", ["Thorax nativ", "Lung 1mm", "Chest monitored breathing", "Dosed contrast chest"]
)
def test_plain_descriptions_pass(description):
    assert _against({}, _like(SeriesDescription=description)) == []


@pytest.mark.parametrize(
    ("rules", "passes", "fails"),
    [
        ({"equals": "B70f"}, "B70f", "B30f"),
        ({"in": ["B30f", "B31f"]}, "B31f", "B70f"),
        ({"regex": "^B[3-4]"}, "B31f", "B70f"),
        ({"regex": "(?i)lung", "negate": True}, "B31f", "LUNG"),
        ({"min": 80, "max": 140}, "120", "150"),
        ({"max": 2.5}, "2.5", "2.6"),
        ({"min": 2.5}, "3", "none"),
    ],
)
def test_a_condition_holds_for_every_image(rules, passes, fails):
    conditions = {"conditions": [{"keyword": "ConvolutionKernel", **rules}]}

    assert _against(conditions, _like(ConvolutionKernel=passes)) == []
    assert _against(conditions, _like(ConvolutionKernel=fails)) == ["ConvolutionKernel"]
    if "negate" not in rules:
        mixed = _like(ConvolutionKernel=((passes,), (fails,)))
        assert _against(conditions, mixed) == ["ConvolutionKernel"]
    absent = _like(ConvolutionKernel=())
    assert _against(conditions, absent) == ["ConvolutionKernel"]
    conditions["conditions"][0]["if_absent"] = "pass"
    assert _against(conditions, absent) == []


def test_wanted_and_found_are_said_with_the_values_seen():
    rules = SelectionRules(
        conditions=[{"keyword": "ConvolutionKernel", "in": ["B30f", "B31f"]}],
        max_slice_thickness_mm=0.75,
        max_spacing_mm=0.5,
        min_slices=400,
        planes=["coronal", "sagittal"],
    )

    assert decide(rules, CHEST).sentence == (
        "Not selected: number of slices: wanted 400 to 5000 positions, found 300; "
        "plane: wanted coronal or sagittal, found axial; "
        "spacing: wanted at most 0.5 mm, found 0.800 mm; "
        "slice thickness: wanted at most 0.75 mm, found '1.0'; "
        r"ConvolutionKernel: wanted one of 'B30f', 'B31f', found 'B70f\3'"
    )


def test_of_many_values_a_few_are_shown():
    many = _like(KVP=tuple((str(each),) for each in range(80, 90)))
    rules = SelectionRules(conditions=[{"keyword": "KVP", "max": 85}])

    assert decide(rules, many).outcomes[-1].found == "'80', '81', '82', '83' and 6 more"


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ({"keyword": "PatientName", "equals": "X"}, "attribute of the patient"),
        ({"keyword": "PatientID", "regex": "X"}, "attribute of the patient"),
        ({"keyword": "NoSuchThing", "equals": "X"}, "no keyword of PS3.6"),
        ({"keyword": "PixelData", "equals": "X"}, "no values that can be compared"),
        ({"keyword": "KVP"}, "one of equals, in, regex"),
        ({"keyword": "KVP", "equals": "1", "min": 2}, "one of equals, in, regex"),
        ({"keyword": "KVP", "regex": "("}, "no regular expression"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(rules, fault):
    with pytest.raises(ValidationError, match=fault):
        Condition.model_validate(rules)


SOFT_THIN = [
    {"by": "ConvolutionKernel", "order": ["^B[23]", "^B[45]"]},
    {"by": "SliceThickness", "order": "lowest"},
    {"by": "slices", "order": "highest"},
]


def _ranked(**changes):
    return decide(SelectionRules(best_of_study=SOFT_THIN), _like(**changes))


def test_the_best_of_a_study_is_found_in_the_stated_order():
    thin_soft = _ranked(ConvolutionKernel="B31f", SliceThickness="1")
    thick_soft = _ranked(ConvolutionKernel="B31f", SliceThickness="5")
    middle = _ranked(ConvolutionKernel="B45f", SliceThickness="0.6")
    sharp = _ranked(ConvolutionKernel="B70f", SliceThickness="0.6")
    series = {"1.1": thick_soft, "1.2": sharp, "1.3": thin_soft, "1.4": middle}

    chosen = [
        uid
        for uid, own in series.items()
        if compete(
            own, uid=uid, others=[(o, each) for o, each in series.items() if o != uid]
        ).is_selected
    ]

    assert chosen == ["1.3"]
    assert sorted(series, key=lambda uid: series[uid].rank) == ["1.3", "1.1", "1.4", "1.2"]
    told = compete(sharp, uid="1.2", others=[("1.1", thick_soft), ("1.3", thin_soft)])
    assert told.outcomes[-1].found == "series 1.3 is better"


def test_of_equals_exactly_one_is_chosen():
    one, other = _ranked(), _ranked()

    assert compete(one, uid="1.1", others=[("1.2", other)]).is_selected
    assert not compete(other, uid="1.2", others=[("1.1", one)]).is_selected


def test_a_series_that_does_not_fit_does_not_compete():
    unfit = _ranked(plane="coronal", SliceThickness="0.1")

    assert compete(_ranked(), uid="1.1", others=[("1.2", unfit)]).is_selected
    assert compete(unfit, uid="1.2", others=[]) == unfit


def test_a_series_that_lost_before_can_still_be_the_better_one():
    best = _ranked(SliceThickness="0.5")
    lost = compete(best, uid="1.1", others=[("1.0", _ranked(SliceThickness="0.4"))])

    assert not lost.is_selected
    assert not compete(_ranked(), uid="1.2", others=[("1.1", lost)]).is_selected


def test_a_decision_without_rules_selects():
    assert Decision(outcomes=()).is_selected
