"""The volumes behind the pictures: assembled from the spool once, then kept in memory for a while.

Slices are drawn in `slices`.  Loading runs in threads of its own; nobody who waits holds one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.console.parts import Parts
from dicomnode.database import Database
from dicomnode.database.job_rows import JobRow
from dicomnode.database.series_rows import list_instances
from dicomnode.errors import ResultError
from dicomnode.imaging.contents import open_series
from dicomnode.imaging.grid import needs_resampling, to_model_grid
from dicomnode.imaging.policy import STRICT, GatePolicy
from dicomnode.imaging.volume import SeriesFault, assemble_series
from dicomnode.log import get_logger
from dicomnode.model.findings import LabelMap
from dicomnode.model.series import content_digest
from dicomnode.model.volume import VolumeGeometry
from dicomnode.pipeline.objects import SEG_FILE
from dicomnode.results.shown import ShownSegment, read_segmentation
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.results import Outbox

_LOADS: Final = 2
"""Volumes assembled at the same time, at most: each needs its memory twice meanwhile."""

_EVERY: Final = 2
"""Steps in which segments are looked for."""

_GONE: Final = (
    "The received instances of this series have been removed after their time (retention), "
    "so there are no slices to show. The archive that sent them still has them."
)

_log = get_logger("console")


class NoPicture(Exception):
    """A job whose slices cannot be shown.

    Attributes
    ----------
    status : int
        Of HTTP: 404 where there never was a volume, 410 where what it was made of is gone, 503
        where it is not there yet.
    sentence : str
        Why, for people.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What can be seen of a job: its volume and segments, turned as people look at them.

    Attributes
    ----------
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Slices grow to the head, rows to the back, columns to the patient's left, as nearly as
        the series allows; evenly spaced and at right angles.
    label_map : LabelMap
        On the same grid.
    segments : tuple of ShownSegment
        Empty where no segment was found, or none are there to be shown.
    fullest : mapping of int to tuple of int
        By segment number, the indices (slice, row, column) of the planes that show most of it.
    notes : tuple of str
        What a viewer should be told, in words.
    is_resampled : bool
        Whether slices were uneven or tilted, so that what is shown is interpolated.
    paths : tuple of pathlib.Path
        What it was made of.
    """

    voxels_hu: NDArray[np.int16]
    label_map: LabelMap
    segments: tuple[ShownSegment, ...]
    fullest: Mapping[int, tuple[int, int, int]]
    notes: tuple[str, ...]
    is_resampled: bool
    paths: tuple[Path, ...]

    @property
    def geometry(self) -> VolumeGeometry:
        """Where the voxels lie."""
        return self.label_map.geometry

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        return self.voxels_hu.nbytes + self.label_map.labels.nbytes


class Volumes:
    """Loads scenes and keeps those asked for last.

    Parameters
    ----------
    database : Database
    store : InstanceStore
    outbox : Outbox
    gates : mapping of str to GatePolicy
        By pipeline: slices must pass the gate as they did for the analysis.
    limit_bytes : int
        What kept scenes may take together.  The latest is kept however large it is.
    """

    def __init__(
        self,
        database: Database,
        store: InstanceStore,
        outbox: Outbox,
        *,
        gates: Mapping[str, GatePolicy],
        limit_bytes: int,
    ) -> None:
        self._database = database
        self._store = store
        self._outbox = outbox
        self._gates = gates
        self._cache = SceneCache(limit_bytes)

    def request(self, job: JobRow) -> Future[Scene]:
        """Return the scene of a job, now or later; several that ask for one share its loading.

        The future raises `NoPicture` if the job has none.
        """
        key = f"{job.id} {job.files.get(SEG_FILE, '')}"
        return self._cache.request(key, lambda: self._load(job))

    def _load(self, job: JobRow) -> Scene:
        if job.state == "refused":
            raise NoPicture(404, f"The series makes no volume: {job.sentence}")
        paths = self._paths(job)
        try:
            found = assemble_series(open_series(paths), self._gates.get(job.pipeline, STRICT))
        except SeriesFault as fault:
            sentence = f"The series makes no volume: {fault.error}"
            raise NoPicture(404, sentence) from fault
        except OSError as error:
            raise NoPicture(410, _GONE) from error
        volume = found.volume
        notes = volume.notes
        labels = LabelMap(
            labels=np.zeros(volume.geometry.shape_kji, np.uint8), geometry=volume.geometry
        )
        segments: tuple[ShownSegment, ...] = ()
        if SEG_FILE in job.files:
            try:
                labels, segments = read_segmentation(
                    self._outbox.path(job.files[SEG_FILE]),
                    sources=volume.sources,
                    geometry=volume.geometry,
                )
            except ResultError as error:
                _log.warning("segments_not_shown", job=job.id, why=str(error))
                notes = (*notes, f"The segments cannot be shown: {error}.")
        elif not job.files and job.state in {"done", "superseded"}:
            notes = (*notes, "The results have been removed after their time; the CT is shown.")
        grid = to_model_grid(volume, "LPS")
        turned = LabelMap(
            labels=grid.apply(labels.labels), geometry=grid.geometry, overlaps=labels.overlaps
        )
        return Scene(
            voxels_hu=grid.voxels_hu,
            label_map=turned,
            segments=segments,
            notes=notes,
            fullest=find_fullest(turned, segments),
            is_resampled=needs_resampling(volume.geometry),
            paths=found.paths,
        )

    def _paths(self, job: JobRow) -> list[Path]:
        """Return the files that the job was made of, exactly those."""
        with self._database.begin() as transaction:
            refs = list_instances(transaction, job.pipeline, job.series_instance_uid)
            if refs and content_digest(refs) != job.digest:
                # Later instances came; this revision is what there was when it was closed.
                refs = list_instances(
                    transaction, job.pipeline, job.series_instance_uid, until=job.created_at
                )
        if not refs:
            raise NoPicture(410, _GONE)
        if content_digest(refs) != job.digest:
            raise NoPicture(
                410,
                "The instances that this job was made of are no longer all here: others have "
                "taken their place. Look at the series' latest job.",
            )
        paths = [self._store.path(ref.key) for ref in refs]
        if not all(path.is_file() for path in paths):
            raise NoPicture(410, _GONE)
        return paths


def open_volumes(parts: Parts) -> Volumes:
    """Return the volumes of a console, as it is configured."""
    return Volumes(
        parts.database,
        parts.store,
        parts.outbox,
        gates={name: each.gate for name, each in parts.setups.items()},
        limit_bytes=parts.config.console.volume_cache_bytes,
    )


def find_fullest(
    label_map: LabelMap, segments: Sequence[ShownSegment]
) -> dict[int, tuple[int, int, int]]:
    """Find the planes that show most of each segment, looking at every other voxel.

    Returns
    -------
    dict of int to tuple of int
        By segment number: slice, row, column.  A segment without voxels has none.
    """
    labels = label_map.labels
    coarse = labels[::_EVERY, ::_EVERY, ::_EVERY]
    counts = [
        np.array([np.bincount(plane.ravel(), minlength=256) for plane in np.moveaxis(coarse, n, 0)])
        for n in range(3)
    ]
    found: dict[int, tuple[int, int, int]] = {}
    for segment in segments:
        values = label_map.values_of(segment.number)
        along = [each[:, values].sum(axis=1) for each in counts]
        if along[0].any():
            k, j, i = (int(each.argmax()) * _EVERY for each in along)
            found[segment.number] = (k, j, i)
        elif (mask := values[labels]).any():
            # So small that it lies between the voxels that were looked at.
            k, j, i = (int(n) for n in np.argwhere(mask)[0])
            found[segment.number] = (k, j, i)
    return found


class SceneCache:
    """Scenes by name, the least recently used leaving first; each is loaded by one alone.

    Parameters
    ----------
    limit_bytes : int
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._ready: OrderedDict[str, Scene] = OrderedDict()
        self._coming: dict[str, Future[Scene]] = {}
        self._pool = ThreadPoolExecutor(_LOADS, thread_name_prefix="console-volume")

    def request(self, key: str, load: Callable[[], Scene]) -> Future[Scene]:
        """Return what is kept under `key`, or have it loaded."""
        with self._lock:
            scene = self._ready.get(key)
        if scene is not None and not all(path.is_file() for path in scene.paths):
            # Removed from the spool means removed: memory does not outlive retention.
            self._forget(key)
            scene = None
        with self._lock:
            if scene is None:
                scene = self._ready.get(key)  # loaded meanwhile
            if scene is not None:
                if key in self._ready:
                    self._ready.move_to_end(key)
                done: Future[Scene] = Future()
                done.set_result(scene)
                return done
            coming = self._coming.get(key)
            if coming is None or coming.cancelled():
                coming = self._coming[key] = self._pool.submit(self._run, key, load)
            return coming

    def _run(self, key: str, load: Callable[[], Scene]) -> Scene:
        try:
            scene = load()
        except BaseException:
            with self._lock:
                self._coming.pop(key, None)
            raise
        with self._lock:
            self._ready[key] = scene
            self._coming.pop(key, None)
            kept = sum(each.size_bytes for each in self._ready.values())
            while kept > self._limit_bytes and len(self._ready) > 1:
                _key, oldest = self._ready.popitem(last=False)
                kept -= oldest.size_bytes
        return scene

    def _forget(self, key: str) -> None:
        with self._lock:
            self._ready.pop(key, None)
