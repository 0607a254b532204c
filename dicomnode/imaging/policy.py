"""What a pipeline lets pass the geometry gate.  Values only; the gate itself is `geometry`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GapPolicy = Literal["refuse", "largest_block"]
AcquisitionPolicy = Literal["refuse", "first", "last", "most_slices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """How strict the gate is.

    Attributes
    ----------
    gaps : {"refuse", "largest_block"}
        What becomes of a series with missing slices: refused, or its largest block without a gap
        is analyzed and the results say so.
    acquisitions : {"refuse", "first", "last", "most_slices"}
        What becomes of several acquisitions or reconstructions at the same positions: refused, or
        the one by acquisition time (else by value), or the one of most slices (of equals the
        first) is analyzed and the results say so.
    min_slices : int
        Fewer are refused.
    irregular_tolerance : float
        How far a slice may lie from its place on the regular grid, as a fraction of the spacing,
        and the series still be resampled; beyond it is refused.
    """

    gaps: GapPolicy = "refuse"
    acquisitions: AcquisitionPolicy = "refuse"
    min_slices: int = 3
    irregular_tolerance: float = 0.25


STRICT = GatePolicy()
"""The policy of a pipeline that says nothing."""
