import pytest

from dicomnode.errors import ModelContractMismatch
from dicomnode.inference.classify import decide
from dicomnode.inference.schema.answers import ManifestClassification


def classification(decision: str, *from_scores: float | None) -> ManifestClassification:
    code = {"scheme": "99TEST", "meaning": "Something"}
    return ManifestClassification.model_validate(
        {
            "question": {**code, "value": "question"},
            "score_kind": "percent",
            "decision": decision,
            "rule": "As tested.",
            "classes": [
                {"code": {**code, "value": str(index)}, "from_score": from_score}
                for index, from_score in enumerate(from_scores)
            ],
        }
    )


@pytest.mark.parametrize(
    ("score", "index"), [(0.0, 0), (4.99, 0), (5.0, 1), (24.9, 1), (25.0, 2), (100.0, 2)]
)
def test_a_grade_begins_at_its_score(score: float, index: int):
    assert decide(classification("grades", 0, 5, 25), [score]) == index


def test_a_score_below_every_grade_is_refused():
    with pytest.raises(ModelContractMismatch, match=r"at least 0\.0, found -0\.5"):
        decide(classification("grades", 0, 5), [-0.5])


@pytest.mark.parametrize(
    ("scores", "index"), [([0.2, 0.7, 0.1], 1), ([0.4, 0.2, 0.4], 0)], ids=["largest", "first"]
)
def test_argmax_takes_the_first_of_the_largest(scores: list[float], index: int):
    assert decide(classification("argmax", None, None, None), scores) == index
