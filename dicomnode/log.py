"""Structured logs: one event a line, stable event names, nothing of a patient.

Stages call `get_logger` and log an event name in snake case with typed fields.  UIDs, AE titles,
hosts and counts may be logged; names, IDs, dates and texts of a data set may not.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

_FORBIDDEN = frozenset(
    ("patient_name", "patient_id", "patient_birth_date", "patient_sex", "accession_number")
    + ("study_description", "series_description", "referring_physician_name", "institution_name")
)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose events carry `name` as ``logger``."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(logger=name)
    return logger


def configure(*, form: Literal["console", "json"], level: str = "info") -> None:
    """Send every log line, ours and the libraries', to standard error in one form.

    Parameters
    ----------
    form : {"console", "json"}
        For people, or one JSON object a line for machines.
    level : str
        The lowest level shown: ``debug``, ``info``, ``warning`` or ``error``.
    """
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
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
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
    for name in ("pynetdicom", "pydicom", "dbos", "uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(max(threshold, logging.WARNING))
    # pydicom's warnings quote the values they complain about.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def _refuse_patient_fields(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop fields that must never be logged, and say which one was dropped."""
    for key in _FORBIDDEN & event.keys():
        event[key] = "[withheld]"
    return event
