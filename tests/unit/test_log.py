"""Logs: one event a line, in one form, and nothing of a patient in any of it."""

import json
import subprocess
import sys
import textwrap

import pytest

PATIENT = "Doe^Jane"


def run(form: str, level: str, body: str) -> list[str]:
    """Run `body` in a process of its own, as logging is a process's, and return its lines."""
    program = (
        "import logging, warnings, structlog\n"
        "from dicomnode.log import configure, get_logger\n"
        f"configure(form={form!r}, level={level!r})\n"
        "log = get_logger('dicomnode.test')\n" + textwrap.dedent(body)
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "", "standard output is for data"
    return done.stderr.splitlines()


def test_an_event_is_one_json_object_on_one_line():
    (line,) = run("json", "info", "log.info('instance_stored', size_bytes=7, sop='1.2.3')")

    event = json.loads(line)

    assert (event["event"], event["size_bytes"], event["sop"]) == ("instance_stored", 7, "1.2.3")
    assert (event["level"], event["component"]) == ("info", "dicomnode.test")
    assert event["timestamp"].endswith("Z")


def test_a_library_s_record_has_the_same_form():
    (line,) = run("json", "info", "logging.getLogger('uvicorn').warning('shutting %s', 'down')")

    event = json.loads(line)

    assert (
        event["event"],
        event["level"],
        event["logger"],
    ) == ("shutting down", "warning", "uvicorn")


def test_an_exception_stays_on_its_line_in_json():
    (line,) = run(
        "json",
        "info",
        """
        try:
            raise OSError("no space left")
        except OSError:
            log.exception("spool_failed")
        """,
    )

    assert "no space left" in json.loads(line)["exception"]


def test_the_level_holds_back_what_is_below():
    lines = run("json", "warning", "log.info('a'); log.warning('b')")

    assert [json.loads(line)["event"] for line in lines] == ["b"]


@pytest.mark.parametrize("level", ["debug", "info"])
def test_libraries_speak_at_warning_and_above_only(level):
    # pynetdicom logs whole data sets at debug.
    lines = run(
        "json",
        level,
        """
        for name in ("pynetdicom", "pynetdicom.acse", "dbos", "uvicorn.access", "other"):
            logging.getLogger(name).info("talk")
            logging.getLogger(name).debug("talk")
        """,
    )

    assert lines == []


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "field",
    ["patient_name", "patient_id", "PatientName", "PatientID", "accession_number", "StudyDate"],
)
def test_a_field_of_a_patient_is_withheld_and_named(form, field):
    (line,) = run(form, "info", f"log.info('event', {field}={PATIENT!r}, series_uid='1.2.3')")

    assert PATIENT not in line
    assert field in line
    assert "[withheld]" in line
    assert "1.2.3" in line


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_bound_field_of_a_patient_is_withheld(form):
    (line,) = run(
        form,
        "info",
        f"structlog.contextvars.bind_contextvars(patient_id={PATIENT!r}); log.info('event')",
    )

    assert PATIENT not in line


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("logger", ["log", "logging.getLogger('dbos')"])
def test_a_traceback_shows_no_values_of_variables(form, logger):
    # rich, where it is installed, would print the locals of every frame: data sets among them.
    lines = run(
        form,
        "info",
        f"""
        def analyze():
            name = "".join(["Doe", "^", "Jane"])
            raise OSError("no space left")
        try:
            analyze()
        except OSError:
            {logger}.exception("analysis_failed")
        """,
    )

    assert "no space left" in "\n".join(lines)
    assert PATIENT not in "\n".join(lines)


@pytest.mark.parametrize("form", ["json", "console"])
def test_pydicom_s_complaints_do_not_quote_values(form):
    lines = run(
        form,
        "debug",
        r"""
        from pydicom import Dataset, config
        ds = Dataset()
        config.settings.reading_validation_mode = config.WARN
        config.settings.writing_validation_mode = config.WARN
        ds.PatientID = "Doe^Jane" * 20
        ds.PatientBirthDate = "Doe^Jane"
        logging.getLogger("pydicom").warning("value Doe^Jane is too long")
        """,
    )

    assert PATIENT not in "\n".join(lines)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_warning_of_a_library_is_an_event_without_its_text(form):
    # The text of a warning may quote what it warns of.
    (line,) = run(form, "info", "warnings.warn('strange value Doe^Jane', UserWarning)")

    assert PATIENT not in line
    assert "UserWarning" in line


def test_configuring_twice_does_not_double_lines():
    lines = run(
        "json",
        "info",
        "configure(form='json'); log.info('a'); logging.getLogger('x').warning('b')",
    )

    assert len(lines) == 2


def test_importing_the_package_configures_nothing():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import logging, dicomnode.log; print(logging.getLogger().handlers)",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == "[]"
