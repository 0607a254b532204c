"""Manifests to start from."""

from pathlib import Path

import pytest

TEST_MODELS = Path(__file__).resolve().parents[2] / "support" / "triton_models"


@pytest.fixture
def segmenting() -> str:
    """The text of a manifest of task segment with two lungs."""
    return (TEST_MODELS / "threshold" / "manifest.toml").read_text()


@pytest.fixture
def classifying() -> str:
    """The text of a manifest of task classify with two grades."""
    return (TEST_MODELS / "brightness" / "manifest.toml").read_text()
