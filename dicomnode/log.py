"""Structured logs: one event a line, stable event names, nothing of a patient.

Stages call `get_logger` and log an event name in snake case with typed fields.  UIDs, AE titles,
hosts and counts may be logged; names, IDs, dates and texts of a data set may not.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Literal, TextIO

import structlog

# Keywords of PS3.6 in lower case; snake case is compared without its underscores.
_FORBIDDEN = frozenset(
    (
        "patientname",
        "patientid",
        "otherpatientids",
        "patientbirthdate",
        "patientsex",
        "patientage",
        "accessionnumber",
        "studyid",
        "studydate",
        "seriesdate",
        "acquisitiondate",
        "contentdate",
        "studydescription",
        "seriesdescription",
        "protocolname",
        "imagecomments",
        "referringphysicianname",
        "operatorsname",
        "institutionname",
    )
)


Form = Literal["console", "json"]
"""For people, or one JSON object a line for machines."""


_form: Form = "console"


def form() -> Form:
    """Return the form in force, for processes that this one starts."""
    return _form


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose events carry `name` as ``component``."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(component=name)
    return logger


def bind_to_thread(**ids: str) -> None:
    """Put ids on everything that this thread logs from now on, also through libraries.

    Threads begin without: for those that serve one association only.
    """
    structlog.contextvars.bind_contextvars(**ids)


def bound(**ids: str) -> AbstractContextManager[None]:
    """Put ids on everything that is logged in the block, whoever logs it."""
    return structlog.contextvars.bound_contextvars(**ids)


def withhold_tracebacks(library: str, event: str) -> None:
    """From now on say `event` in place of a traceback that a library logs itself.

    For what must happen and is no fault, such as the end of what is used while it is used.
    """

    def say_plainly(record: logging.LogRecord) -> bool:
        if record.exc_info is None or record.exc_info[0] is None:
            return True
        get_logger(library).info(event, error=record.exc_info[0].__name__)
        return False

    show_tracebacks(library)
    logging.getLogger(library).addFilter(say_plainly)


def show_tracebacks(library: str) -> None:
    """Undo `withhold_tracebacks`."""
    logging.getLogger(library).filters.clear()


def configure(*, form: Form, level: str = "info") -> None:
    """Send every log line, ours and the libraries', to standard error in one form.

    Parameters
    ----------
    form : {"console", "json"}
        For people, or one JSON object a line for machines.
    level : str
        The lowest level shown: ``debug``, ``info``, ``warning`` or ``error``.
    """
    global _form  # noqa: PLW0603 - as global as what is configured below
    _form = form
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _refuse_patient_fields,
    ]
    last: list[structlog.typing.Processor]
    if form == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # The default shows the variables of every frame, data sets among them.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak at warning and above only: pynetdicom logs whole data sets at debug.
    root.setLevel(max(threshold, logging.WARNING))
    for name in ("pynetdicom", "dbos", "uvicorn", "alembic"):
        library = logging.getLogger(name)
        # A handler of ours keeps libraries from adding their own.
        library.handlers[:] = [handler]
        library.propagate = False
        library.setLevel(max(threshold, logging.WARNING))
    # pydicom's warnings quote the values they complain about, and come with every other file.
    # Its logger takes no level from us: importing pydicom, perhaps later, sets it back.
    handler.addFilter(lambda record: record.name.partition(".")[0] != "pydicom")
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    warnings.showwarning = _log_warning


def _refuse_patient_fields(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop fields that must never be logged, and say which one was dropped."""
    for key in event:
        if key.replace("_", "").lower() in _FORBIDDEN:
            event[key] = "[withheld]"
    return event


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say that and where a warning was given, not its text, which may quote what it warns of."""
    del message, file, line
    get_logger("warnings").warning(
        "python_warning", category=category.__name__, at=f"{filename}:{lineno}"
    )
