"""What every test can ask for, and CI's rule on skipped tests.  Peers live in tests/support."""

import logging
import os
from pathlib import Path

import pytest
import structlog

# The commands that tests start would else be compiled anew at each of some hundred starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

CASES = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of real CT cases beside the checkout; the test is skipped where it is absent."""
    if not CASES.is_dir():
        pytest.skip("the real cases are not beside this checkout")
    return CASES


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """Commands that run in this process point the log at a stream that ends with the test."""
    names = (None, "pynetdicom", "dbos", "uvicorn", "alembic")
    loggers = [logging.getLogger(name) for name in names]  # noqa: TID251  (the libraries' own)
    before = [logger.handlers[:] for logger in loggers]
    yield
    structlog.reset_defaults()
    for logger, handlers in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers


def _may_be_skipped_in_ci(item):
    """Hardware may be absent, and the cases where their folder is; nothing else is excused."""
    if item.get_closest_marker("hardware"):
        return True
    return item.get_closest_marker("cases") is not None and not CASES.is_dir()


def _fail_instead(report):
    """Turn a skip into a failure that gives the reason: in CI a skipped test proves nothing."""
    path, line, reason = report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{path}:{line}: a test must not be skipped in CI: {reason}"


def _in_ci():
    return os.environ.get("CI", "").lower() in {"1", "true"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    # An expected failure is reported as skipped, too.
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and _in_ci() and not _may_be_skipped_in_ci(item):
        _fail_instead(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    report = yield
    # A module that skips itself, by importorskip for example, takes its tests along unseen.
    if report.outcome == "skipped" and _in_ci():
        _fail_instead(report)
    return report
