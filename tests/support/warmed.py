"""Writes a small SEG and SR when it is imported, for a process from which others are forked.

highdicom reads the standard's modules and attributes at the first object of a process, which takes
longer than all else that is done for a small series.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from tests.support.ct import make_series
from tests.support.findings import make_findings

with tempfile.TemporaryDirectory() as folder:
    made = make_findings(make_series(Path(folder)))
    segmentation = encode_segmentation(
        made.findings,
        volume_sources=made.sources,
        evidence=made.evidence,
        context=made.context,
        options=None,
    )
    encode_report(
        made.findings, evidence=made.evidence, segmentation=segmentation, context=made.context
    )
