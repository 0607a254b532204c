"""What completion asks: whether slices lie without a gap, how many instances an archive has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dicomnode.errors import SendError, SeriesError
from dicomnode.imaging.contents import open_series
from dicomnode.imaging.geometry import order_slices
from dicomnode.log import get_logger
from dicomnode.model.instance import InstanceRef
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.send.find_scu import count_series_instances
from dicomnode.spool.instances import InstanceStore
from dicomnode.standard.ae import AEAddress

_log = get_logger("pipeline")


class SeriesInquiry:
    """Answers from the spool and from archives.

    Parameters
    ----------
    store : InstanceStore
    setups : mapping of str to PipelineSetup
        By pipeline name.
    """

    def __init__(self, store: InstanceStore, setups: Mapping[str, PipelineSetup]) -> None:
        self._store = store
        self._setups = setups

    def is_contiguous(self, refs: Iterable[InstanceRef]) -> bool:
        """Whether the slices of a series lie without a gap; headers are read, no pixels."""
        contents = open_series([self._store.path(ref.key) for ref in refs])
        if contents.unplaced or contents.unsupported is not None:
            return False
        try:
            # Images at one position are not compared: more of a second acquisition may come.
            order_slices(contents.slices, is_same_image=lambda _one, _other: False)
        except SeriesError:
            return False
        return True

    def expected_count(
        self,
        pipeline: str,
        *,
        study_instance_uid: str,
        series_instance_uid: str,
        calling_ae_title: str,
    ) -> int | None:
        """Ask the pipeline's archive how many instances a series has; None if it does not say."""
        setup = self._setups[pipeline]
        query = setup.config.completion.expected_count
        ae_title = (query.ae_title if query is not None else None) or calling_ae_title
        if query is None or not ae_title:
            return None
        try:
            return count_series_instances(
                AEAddress(ae_title, query.host, query.port),
                calling_ae_title=setup.config.ae_title,
                study_instance_uid=study_instance_uid,
                series_instance_uid=series_instance_uid,
                timeout_seconds=query.timeout_seconds,
                tls=query.tls,
            )
        except SendError as error:
            _log.warning("series_not_counted", pipeline=pipeline, error=str(error))
            return None
