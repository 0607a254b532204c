"""CI's rule on skipped tests, tried on checkouts made for it: a skip is a failure, but for two."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest

def test_that_runs():
    pass

def test_without_a_peer():
    pytest.skip("no peer")

@pytest.mark.skip(reason="not today")
def test_marked():
    pass

@pytest.fixture
def peer():
    pytest.skip("no peer for the fixture")

def test_with_a_fixture(peer):
    pass

@pytest.mark.slow
def test_slow():
    pytest.skip("no time")

@pytest.mark.cases
def test_with_cases(cases):
    assert cases.is_dir()

@pytest.mark.cases
def test_with_a_case_that_is_missing():
    pytest.skip("this case is missing")

@pytest.mark.hardware
def test_with_hardware():
    pytest.skip("no accelerator")

@pytest.mark.xfail(reason="known")
def test_known_to_fail():
    assert False
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout with this project's conftest and settings; returns what pytest says of it."""
    folder = tmp_path / "checkout"
    (folder / "tests").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")

    def outcomes(text, *, ci, with_cases=False):
        (folder / "tests" / "test_it.py").write_text(text, encoding="utf-8")
        if with_cases:
            (tmp_path / "shared" / "data").mkdir(parents=True)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfsEx", "tests"),
                *("-p", "pytest_timeout"),
            ],
            cwd=folder,
            # Without the plugins of all that is installed it starts three times as fast.
            env={**os.environ, "CI": ci, "COLUMNS": "200", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        failed = set(
            re.findall(r"^(?:FAILED|ERROR) \S+?(?:::(\w+))?(?: - |$)", done.stdout, re.MULTILINE)
        )
        return done.returncode, failed, done.stdout

    return outcomes


def test_in_ci_a_skip_is_a_failure_but_for_hardware_and_absent_cases(checkout):
    code, failed, output = checkout(TESTS, ci="true")

    assert code == 1
    assert failed == {
        "test_without_a_peer",
        "test_marked",
        "test_with_a_fixture",
        "test_slow",
    }
    assert "a test must not be skipped in CI: Skipped: no peer" in output
    assert re.search(r"1 passed, 3 skipped, 1 xfailed", output)


def test_in_ci_with_the_cases_at_hand_their_tests_run_and_may_not_be_skipped(checkout):
    code, failed, output = checkout(TESTS, ci="true", with_cases=True)

    assert code == 1
    assert failed == {
        "test_without_a_peer",
        "test_marked",
        "test_with_a_fixture",
        "test_slow",
        "test_with_a_case_that_is_missing",
    }
    assert re.search(r"2 passed, 1 skipped, 1 xfailed", output)


def test_elsewhere_a_skip_is_a_skip(checkout):
    code, failed, output = checkout(TESTS, ci="")

    assert code == 0
    assert failed == set()
    assert re.search(r"1 passed, 7 skipped, 1 xfailed", output)


@pytest.mark.parametrize(
    "text",
    [
        'import pytest\npytest.importorskip("no_such_module")\n\ndef test_it(): pass\n',
        'import pytest\npytest.skip("not here", allow_module_level=True)\n',
    ],
    ids=["importorskip", "module level"],
)
def test_in_ci_a_module_may_not_skip_itself(checkout, text):
    code, _failed, output = checkout(text, ci="true")

    assert code == 2
    assert "a test must not be skipped in CI" in output
    assert re.search(r"1 error", output)


def test_in_ci_a_class_may_carry_the_marker(checkout):
    code, failed, _output = checkout(
        "import pytest\n"
        "@pytest.mark.hardware\n"
        "class TestAccelerator:\n"
        '    def test_it(self): pytest.skip("no accelerator")\n'
        "    def test_other(self): pass\n",
        ci="true",
    )

    assert (code, failed) == (0, set())
