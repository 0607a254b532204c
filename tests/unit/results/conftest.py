"""One made-up series with findings for all tests of results; nothing changes it."""

from __future__ import annotations

import pytest

from tests.support.ct import make_series
from tests.support.findings import Made, make_findings


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    return make_findings(make_series(tmp_path_factory.mktemp("ct"), seed=3))
