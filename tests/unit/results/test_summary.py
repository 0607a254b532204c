from __future__ import annotations

import json
import math
from dataclasses import replace

from dicomnode.results.summary import summarize
from tests.support.findings import NO_LUNGS


def test_everything_found_is_there_as_json(made):
    summary = json.loads(json.dumps(summarize(made.findings, context=made.context)))

    assert summary["series_instance_uid"] == made.context.series_instance_uid
    assert (summary["revision"], summary["pipeline"]) == (1, "covid-ct")
    assert summary["created"] == "2026-03-04T05:06:07.000089+00:00"
    assert summary["research_use"] == "Research use only. Not for diagnosis."
    assert [model["name"] for model in summary["models"]] == ["lung-classical", "opacity-burden"]
    assert summary["models"][0]["manifest_digest"] == "0f" * 32
    [left, effusion, right] = summary["segments"]
    assert (left["number"], left["seg_segment_number"], left["label"]) == (1, 1, "Left lung")
    assert (effusion["seg_segment_number"], effusion["volume_ml"]) == (None, 0.0)
    assert (right["number"], right["seg_segment_number"]) == (4, 2)
    assert right["laterality"]["meaning"] == "Right"
    [burden] = summary["classifications"]
    assert burden["answer"] == {"value": "mild", "scheme": "99DCMNODE", "meaning": "Mild"}
    assert burden["scores"][1] == {"class": "mild", "score": 0.876543211}
    assert burden["measurements"][0]["unit"] == "%"


def test_guards_are_told_with_their_consequence(made):
    summary = summarize(replace(made.findings, guards=(NO_LUNGS,)), context=made.context)

    assert summary["guards"] == [
        {"name": "no_lungs", "sentence": "No lungs were found in this series.", "blocks": True}
    ]


def test_a_number_that_could_not_be_computed_is_null(made):
    left, *others = made.findings.segments
    broken = replace(left, measurements=(replace(left.measurements[0], value=math.nan),))
    findings = replace(made.findings, segments=(broken, *others))

    text = json.dumps(summarize(findings, context=made.context), allow_nan=False)

    assert json.loads(text)["segments"][0]["measurements"][0]["value"] is None
