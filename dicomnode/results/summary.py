"""Findings -> the content of ``findings.json``: the same facts as the SR, for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydicom.sr.coding import Code

from dicomnode.model.findings import Classification, Findings, Measurement, ModelIdentity, Segment
from dicomnode.results.evidence import RESEARCH_USE, ResultContext
from dicomnode.results.segments import segment_numbers


def summarize(findings: Findings, *, context: ResultContext) -> dict[str, object]:
    """Return everything that was found as values that `json.dumps` takes.

    Parameters
    ----------
    findings : Findings
    context : ResultContext

    Returns
    -------
    dict
        Codes are objects with ``value``, ``scheme`` and ``meaning``; numbers that could not be
        computed are null.  A segment's ``number`` is that of the label map, its
        ``seg_segment_number`` that in the SEG, null where the SEG has no such segment.
    """
    numbers = segment_numbers(findings)
    return {
        "research_use": RESEARCH_USE,
        "series_instance_uid": context.series_instance_uid,
        "revision": context.revision,
        "pipeline": context.pipeline,
        "pipeline_version": context.pipeline_version,
        "created": context.created.isoformat(),
        "software": f"{context.manufacturer_model_name} {context.software_versions}",
        "models": [_model(model) for model in findings.models],
        "segments": [_segment(each, numbers.get(each.number)) for each in findings.segments],
        "classifications": [_classification(each) for each in findings.classifications],
        "guards": [
            {"name": guard.name, "sentence": guard.sentence, "blocks": guard.blocks}
            for guard in findings.guards
        ],
        "notes": list(findings.notes),
    }


def _model(model: ModelIdentity) -> dict[str, object]:
    return {
        "name": model.name,
        "version": model.version,
        "manufacturer": model.manufacturer,
        "family": _code(model.family),
        "manifest_digest": model.manifest_digest,
        "triton_model": model.triton_model,
        "server": model.server,
        "asked_at": model.asked_at or None,
    }


def _segment(segment: Segment, number_in_seg: int | None) -> dict[str, object]:
    return {
        "number": segment.number,
        "seg_segment_number": number_in_seg,
        "label": segment.label,
        "category": _code(segment.category),
        "property_type": _code(segment.property_type),
        "laterality": _code(segment.laterality) if segment.laterality else None,
        "anatomic_region": _code(segment.anatomic_region) if segment.anatomic_region else None,
        "color_rgb": list(segment.color_rgb),
        "model": segment.model.name,
        "volume_ml": _number(segment.volume_ml),
        "measurements": _measurements(segment.measurements),
    }


def _classification(classification: Classification) -> dict[str, object]:
    return {
        "question": _code(classification.question),
        "answer": _code(classification.answer),
        "scores": [
            {"class": name, "score": _number(score)} for name, score in classification.scores
        ],
        "score_kind": classification.score_kind,
        "rule": classification.rule,
        "threshold": classification.threshold,
        "model": classification.model.name,
        "measurements": _measurements(classification.measurements),
    }


def _measurements(measurements: Iterable[Measurement]) -> list[dict[str, object]]:
    return [
        {
            "name": _code(each.name),
            "value": _number(each.value),
            "unit": each.unit.value,
            "derivation": _code(each.derivation) if each.derivation else None,
        }
        for each in measurements
    ]


def _code(code: Code) -> dict[str, str]:
    return {"value": code.value, "scheme": code.scheme_designator, "meaning": code.meaning}


def _number(value: float) -> float | None:
    """Return a plain float; None for what JSON cannot say."""
    return float(value) if math.isfinite(value) else None
