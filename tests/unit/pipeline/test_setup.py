import pytest

from dicomnode.config import Config
from dicomnode.errors import ConfigError
from dicomnode.pipeline.setup import build_setups


def config(segment: list[str], classify: list[str]) -> Config:
    return Config(
        pipelines={
            "ct": {
                "ae_title": "CT",
                "segment": segment,
                "classify": classify,
                "destinations": ["out"],
            }
        },
        destinations={"out": {"kind": "folder", "path": "out"}},
    )


def test_models_are_asked_in_order_and_their_manifests_make_the_version():
    first = build_setups(config(["lung"], []))["ct"]
    second = build_setups(config(["lung", "opacities"], ["opacity"]))["ct"]

    assert [each.name for each in second.manifests] == ["lung", "opacities", "opacity"]
    assert second.triton_models == ("lung_segmentation", "opacity_segmentation", "opacity_burden")
    assert first.version != second.version


@pytest.mark.parametrize(
    ("segment", "classify", "fault"),
    [
        (["opacities", "lung"], [], "ct.segment.0: 'opacities' needs a segment (Lung, Left)"),
        (["clara-lung", "opacities"], [], "ct.segment.1: 'opacities' needs a segment (Lung, Right"),
        (["lung"], ["lungs"], "classify.0: no model is called 'lungs'"),
        (["opacity"], [], "segment.0: wanted a model that can segment"),
    ],
    ids=["wrong order", "no side", "unknown", "wrong task"],
)
def test_what_a_model_needs_of_those_before_it_must_be_there(segment, classify, fault):
    with pytest.raises(ConfigError) as caught:
        build_setups(config(segment, classify))

    assert fault in "\n".join(caught.value.faults)


def test_a_site_sets_the_limit_of_a_model_and_its_manifest_stays_the_same():
    plain = config(["lung"], [])
    limited = plain.model_copy(
        update={
            "inference": plain.inference.model_copy(
                update={"max_in_flight": {"lung_segmentation": 7}}
            )
        }
    )

    before, after = build_setups(plain)["ct"], build_setups(limited)["ct"]

    assert [each.triton.max_in_flight for each in after.manifests] == [7]
    assert [each.triton.max_in_flight for each in before.manifests] == [2]
    assert after.version == before.version


def test_a_limit_for_a_model_that_is_none_is_refused():
    plain = config(["lung"], [])
    limited = plain.model_copy(
        update={"inference": plain.inference.model_copy(update={"max_in_flight": {"lungs": 7}})}
    )

    with pytest.raises(ConfigError, match=r"inference\.max_in_flight\.lungs: no manifest is of"):
        build_setups(limited)
