"""The conformance statement names every attribute that is written."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode import conformance
from dicomnode.config import ScConfig, SegConfig
from dicomnode.results import source
from dicomnode.results.capture import encode_captures
from dicomnode.results.refusal import encode_refusal
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from dicomnode.standard import codes
from tests.support.ct import make_series
from tests.support.findings import NO_LUNGS, make_findings

PAGE = Path(conformance.__file__).with_name("objects.md")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> set[str]:
    """The keywords of all attributes in all kinds of object."""
    made = make_findings(make_series(tmp_path_factory.mktemp("ct")))
    left, *others = made.findings.segments
    findings = replace(
        made.findings,
        segments=(replace(left, anatomic_region=codes.LUNG), *others),
        guards=(replace(NO_LUNGS, blocks=False),),
        notes=("A note.",),
    )
    shared = {"evidence": made.evidence, "context": made.context}
    segmentations = [
        encode_segmentation(findings, volume_sources=made.sources, options=options, **shared)
        for options in (SegConfig(), SegConfig(type="labelmap"))
    ]
    picture = np.zeros((2, 2, 3), np.uint8)
    objects = [
        *segmentations,
        encode_report(findings, segmentation=segmentations[0], **shared),
        encode_refusal(reason="missing_slices", sentence="A gap.", **shared),
        *(
            encode_captures([picture], models=findings.models, options=form, **shared)[0]
            for form in (ScConfig(), ScConfig(form="multi-frame"))
        ),
    ]
    return {element.keyword for each in objects for element in each.iterall()}


def test_every_attribute_that_is_written_is_named(written):
    named = set(re.findall(r"`(\w+)`", PAGE.read_text(encoding="utf-8")))

    taken_over = set(source._TYPE_2) | set(source._OPTIONAL) | set(source._ACQUISITION)
    assert sorted((written | taken_over) - named) == []
