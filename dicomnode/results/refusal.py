"""The SR that says why a series was not analyzed: a refusal is a result too."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicomnode.config import ReportConfig
from dicomnode.errors import ResultError
from dicomnode.results.document import Evaluation, add_text, encode_document, private_code
from dicomnode.results.evidence import ResultContext, result_uid
from dicomnode.results.source import IDENTIFYING, value_of


def encode_refusal(
    *,
    reason: str,
    sentence: str,
    evidence: Sequence[Dataset],
    context: ResultContext,
    options: ReportConfig | None = None,
) -> Dataset:
    """Build the SR "not analyzed" (TID 1500).

    Parameters
    ----------
    reason : str
        Stable name in snake case, as `dicomnode.errors.SeriesError.reason`.
    sentence : str
        The same in plain words, for a radiologist.
    evidence : sequence of Dataset
        Headers of what was received, whatever it is; instances that cannot be referred to for
        want of a UID are left out.
    context : ResultContext
    options : ReportConfig, optional
        What the report claims of itself.

    Returns
    -------
    Dataset
        Ready to be written, Explicit VR Little Endian.

    Raises
    ------
    ResultError
        If no instance can be referred to.
    """
    usable = [each for each in evidence if all(value_of(each, keyword) for keyword in IDENTIFYING)]
    if not usable:
        raise ResultError(
            f"wanted at least one instance with its UIDs, found none among {len(evidence)}"
        )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=result_uid(context, "tracking-refusal", ()), identifier="Not analyzed"
        ),
        qualitative_evaluations=[
            QualitativeEvaluation(
                name=private_code("not_analyzed", "Reason why not analyzed"),
                value=private_code(reason, reason.replace("_", " ")),
            )
        ],
    )
    add_text(group, f"This series was not analyzed. {sentence}")
    return encode_document(
        kind="refusal",
        series_description="AI report (research use only): not analyzed",
        groups=[group],
        evaluations=[
            Evaluation(
                name=codes.DCM.CADProcessingAndFindingsSummary,
                value=codes.cid6047.NoAlgorithmsSucceededWithoutFindings,
            )
        ],
        evidence=usable,
        context=context,
        models=(),
        options=options,
    )
