"""What the models of `triton_models` are asked and answer, and what that leaves in memory."""

from __future__ import annotations

import os

import numpy as np

from dicomnode.inference.client import TritonClient
from dicomnode.inference.shared_memory import FOLDER, PREFIX
from tests.support.node import wait_until

RAISE, DIE, STALL, SHORT, LARGE, UNKNOWN_LABEL = range(1, 7)
"""What the model ``awkward`` can be told to do."""

# Large enough that tensors go through shared memory; unequal on every axis.
SHAPE = (19, 230, 270)
SPACING_KJI_MM = (2.5, 0.9, 0.7)

LABELS = {"LABELS": (np.uint8, SHAPE)}


def make_voxels() -> np.ndarray:
    voxels = np.random.default_rng(5).integers(-1000, 500, SHAPE, dtype=np.int16)
    voxels.flags.writeable = False
    return voxels


def expected_labels(voxels_hu: np.ndarray) -> np.ndarray:
    """What the model ``threshold`` makes of a volume."""
    labels = (voxels_hu < -500).astype(np.uint8)
    labels[:, :, SHAPE[2] // 2 :] *= 2
    return labels


def order(number: int, argument: int = 0) -> dict[str, np.ndarray]:
    """Tell the model ``awkward`` what to do."""
    volume = np.zeros(SHAPE, np.int16)
    volume.flat[:2] = number, argument
    return {"VOLUME_HU": volume}


def our_regions(pid: int | None = None) -> list[str]:
    return [path.name for path in FOLDER.glob(f"{PREFIX}{pid or os.getpid()}-*")]


def registered(client: TritonClient) -> list[str]:
    return list(client._client.get_system_shared_memory_status().regions)


def wait_until_returned(client: TritonClient) -> None:
    """Triton lets go of a region a moment after it answered; the next call returns it."""

    def is_returned() -> bool:
        client._regions.unregister_held()
        return registered(client) == []

    wait_until(is_returned, 30, "the server let go of all regions")
