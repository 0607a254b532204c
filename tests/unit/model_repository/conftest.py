"""The shipped models' own modules, which Triton finds beside each model.py."""

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3] / "dicomnode" / "model_repository"

for name in ("lung_segmentation", "opacity_burden"):
    sys.path.append(str(REPOSITORY / name / "1"))


@pytest.fixture(scope="session")
def thorax():
    """A whole made-up thorax at 2 x 1.8 mm pixels: HU, truth, spacing."""
    from dicomnode.demo.phantom import chest_ct

    spacing = (4.0, 2.0, 1.8)
    hu, truth = chest_ct(slices=80, rows=180, columns=200, spacing_kji_mm=spacing)
    return hu, truth, spacing
