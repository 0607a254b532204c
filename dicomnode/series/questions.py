"""Finding out what only others know: whether slices lie without a gap, how many an archive has.

What follows from the answers, `completion` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from dicomnode.database import Database, is_away
from dicomnode.database.series_rows import get_series, list_instances
from dicomnode.log import bound, get_logger
from dicomnode.model.instance import InstanceRef
from dicomnode.series.completion import AskCount, Counted, Survey, Surveyed

_AT_ONCE: Final = 4
"""Archives that are asked at the same time."""

_log = get_logger("series")

_Key = tuple[str, str]  # pipeline, Series Instance UID


class Inquiry(Protocol):
    """What cannot be found out here."""

    def is_contiguous(self, refs: Iterable[InstanceRef]) -> bool:
        """Whether the slices of a series lie without a gap."""

    def expected_count(
        self,
        pipeline: str,
        *,
        study_instance_uid: str,
        series_instance_uid: str,
        calling_ae_title: str,
    ) -> int | None:
        """Ask the pipeline's archive how many instances a series has; None if it does not say."""


class Questions:
    """Asks for open series.

    Parameters
    ----------
    database : Database
    inquiry : Inquiry or None
        None: nothing can be found out.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self, database: Database, inquiry: Inquiry | None, *, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._inquiry = inquiry
        self._clock = clock
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="series-ask")

    def stop(self) -> None:
        """Ask nothing more; return when nobody is being asked."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def survey(self, key: _Key, survey: Survey) -> Surveyed:
        """Look whether slices lie without a gap; what cannot be looked at is not contiguous."""
        is_contiguous = False

        def look() -> None:
            nonlocal is_contiguous
            with self._database.begin() as transaction:
                refs = list_instances(transaction, *key)
            if self._inquiry is not None:
                is_contiguous = self._inquiry.is_contiguous(refs)

        with bound(pipeline=key[0], series=key[1]):
            attempt("series_survey_failed", look)
        return Surveyed(self._clock(), survey.number, is_contiguous)

    def ask(self, key: _Key, question: AskCount, answer: Callable[[_Key, Counted], None]) -> None:
        """Ask the archive, in a thread of the pool; no answer counts as not known."""
        self._pool.submit(self._ask, key, question, answer)

    def _ask(self, key: _Key, question: AskCount, answer: Callable[[_Key, Counted], None]) -> None:
        expected: int | None = None
        total = 0

        def ask() -> None:
            nonlocal expected, total
            with self._database.begin() as transaction:
                row = get_series(transaction, *key)
            if row is None or self._inquiry is None:
                return
            total = row.instance_count
            expected = self._inquiry.expected_count(
                key[0],
                study_instance_uid=row.study_instance_uid,
                series_instance_uid=row.series_instance_uid,
                calling_ae_title=row.calling_ae_title,
            )

        with bound(pipeline=key[0], series=key[1]):
            attempt("series_count_failed", ask)
            _log.info("series_counted", expected=expected, total=total)
        answer(key, Counted(self._clock(), question.number, expected, total))


def attempt(failed: str, action: Callable[[], None]) -> None:
    """Do what may fail without harm to other series; say so if it does."""
    try:
        action()
    except Exception as error:  # noqa: BLE001  (one series must not stop the closing of others)
        if is_away(error):
            _log.warning(failed, error=type(error).__name__)
        else:
            _log.exception(failed, error=type(error).__name__)
