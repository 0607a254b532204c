"""Stands in for a Triton client where the jobs around it are tested: fast, or as bad as wanted."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dicomnode.errors import InferenceCancelled, InferenceTimeout, InferenceUnavailable
from dicomnode.inference.schema.manifest import Manifest

LUNG_LIKE_HU = -500


class FakeTriton:
    """Answers what the shipped models' manifests promise.

    Parameters
    ----------
    seconds
        Time that each answer takes.
    fail_share
        Share of calls that end with an error that a later attempt can mend.
    unavailable_first
        Folder; a volume that is not on record there is put on it and not answered, once, if it
        has this many slices.
    """

    address = "fake:8001"

    def __init__(
        self,
        *,
        seconds: float = 0.0,
        fail_share: float = 0.0,
        unavailable_first: tuple[Path, int] | None = None,
    ) -> None:
        self._seconds = seconds
        self._fail_share = fail_share
        self._unavailable_first = unavailable_first
        self.calls: list[str] = []

    def close(self) -> None:
        """Have nothing to close."""

    def on_behalf_of(self, _asker: object) -> FakeTriton:
        return self

    def missing(self, _models: Iterable[str] = ()) -> str:
        return ""

    def wait_ready(self, models: Iterable[str], **_named: Any) -> None:
        """Be ready."""

    def server_identity(self) -> str:
        return "fake 1.0"

    @contextmanager
    def keeping_inputs(self) -> Iterator[FakeTriton]:
        """Yield itself: nothing goes through shared memory."""
        yield self

    def check_contract(self, manifest: Manifest) -> Manifest:
        """Keep every contract."""
        return manifest

    def resolved(self, manifest: Manifest) -> Manifest:
        """Know of no dimension that the manifest leaves open."""
        return manifest

    def infer(
        self,
        manifest: Manifest,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        *,
        cancelled: Callable[[], bool] | None = None,
        **_named: Any,
    ) -> dict[str, Any]:
        self.calls.append(manifest.name)
        voxels = inputs["VOLUME_HU"]
        ends_at = time.monotonic() + self._seconds
        while time.monotonic() < ends_at:
            if cancelled is not None and cancelled():
                raise InferenceCancelled("given up")
            threading.Event().wait(0.02)  # the model computes
        if random.random() < self._fail_share:  # noqa: S311
            raise random.choice([InferenceUnavailable, InferenceTimeout])("flaky")  # noqa: S311
        if self._unavailable_first is not None:
            folder, slices = self._unavailable_first
            name = hashlib.sha256(np.ascontiguousarray(voxels).data).hexdigest()
            if len(voxels) == slices and _first(folder / name):
                raise InferenceUnavailable("away")
        answers: dict[str, Any] = {}
        for name, (dtype, shape) in outputs.items():
            answer = np.zeros(shape, dtype)
            if shape == voxels.shape:
                # Two segments where there is something like lung, left and right of the middle.
                middle = shape[2] // 2
                answer[..., :middle] = voxels[..., :middle] < LUNG_LIKE_HU
                answer[..., middle:] = 2 * (voxels[..., middle:] < LUNG_LIKE_HU)
            answers[name] = answer
        return answers


def _first(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
