"""The annexes of the statement: objects and codes.  The attribute tables are in objects.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources

from dicomnode.conformance.markdown import Page
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.schema.vocabulary import CodeTable
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.results.document import PRIVATE_SCHEME


def write_annexes(page: Page, setups: Mapping[str, PipelineSetup]) -> None:
    """Write annexes A.A to A.E."""
    objects = _sections(
        resources.files("dicomnode.conformance").joinpath("objects.md").read_text(encoding="utf-8")
    )
    page.heading("A.A", "Information Object Definitions")
    page.heading("A.A.1", "Information Shared across Multiple IODs")
    page.text(
        "Attributes of all objects that are made. None has private attributes. Attributes of the "
        "IOD that are in no table are absent.",
        objects["In all objects"],
    )
    page.heading("A.A.2", "Segmentation and Label Map Segmentation IODs")
    page.text(objects["SEG"])
    page.heading("A.A.3", "Secondary Capture and Multi-Frame True Color Secondary Capture IODs")
    page.text(objects["SC"])
    page.heading("A.A.4", "Comprehensive 3D SR IOD")
    page.text("Annex A.B has attributes and content.")
    page.heading("A.B", "Structured Report Content Encoding")
    page.text(objects["SR"])
    page.heading("A.C", "Security Details")
    page.text("Section 8 has all.")
    page.heading("A.D", "Mapping of Attributes")
    page.text(
        "From the source series to results: annex A.A.1, column `value`. No worklist, no MPPS and "
        "no HL7 message is read or written."
    )
    page.heading("A.E", "Code Set Usage")
    page.text(
        f"Codes of SCT, DCM, LN, UCUM and UMLS as PS3.16 has them; {PRIVATE_SCHEME} (dicomnode) "
        "where no public scheme has the concept. What a pipeline finds follows from the manifests "
        "of its models:"
    )
    page.table(
        ("pipeline", "model", "use", "scheme", "value", "meaning"),
        (
            (name, model.name, use, code.scheme, code.value, code.meaning)
            for name, setup in setups.items()
            for model in setup.manifests
            for use, code in _codes(model)
        ),
    )


def _codes(model: Manifest) -> Iterator[tuple[str, CodeTable]]:
    yield from _distinct(_segment_codes(model))
    for ratio in model.ratios:
        yield "ratio", ratio.name
    if model.classification is not None:
        yield "question", model.classification.question
        for each in model.classification.classes:
            yield "class", each.code
    for measurement in model.measurements:
        yield f"measurement in {measurement.unit}", measurement.name


def _segment_codes(model: Manifest) -> Iterator[tuple[str, CodeTable]]:
    for segment in model.segments:
        yield "category", segment.category
        yield "type", segment.type
        if segment.laterality is not None:
            yield "laterality", segment.laterality
        if segment.anatomic_region is not None:
            yield "anatomic region", segment.anatomic_region


def _distinct(pairs: Iterable[tuple[str, CodeTable]]) -> Iterator[tuple[str, CodeTable]]:
    seen: set[tuple[str, str, str]] = set()
    for use, code in pairs:
        key = (use, code.scheme, code.value)
        if key not in seen:
            seen.add(key)
            yield use, code


def _sections(text: str) -> dict[str, str]:
    """Return what follows each heading, by heading."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {title: body.strip() for title, body in zip(parts[1::2], parts[2::2], strict=True)}
