"""Tensors that stay in shared memory for several calls: the models of a job see the same volume.

Memory that is had anew is the dearest part of a call: every page of it is faulted in by client and
server, and under a hypervisor that takes free memory back, had from the host first.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from numpy.typing import NDArray

from dicomnode.inference.regions import RegisteredRegions
from dicomnode.inference.shared_memory import Region

_Key = tuple[int, tuple[int, ...], tuple[int, ...], str]


class KeptTensors:
    """Read-only arrays in the shared memory of one client, each put there once.

    Parameters
    ----------
    regions : RegisteredRegions
    until : contextlib.ExitStack
        Takes all of them back when it closes.
    """

    def __init__(self, regions: RegisteredRegions, until: ExitStack) -> None:
        self._regions = regions
        self._until = until
        # The array is kept as well: its place in memory is its name only as long as it lives.
        self._kept: dict[_Key, tuple[NDArray[Any], Region]] = {}

    def place(self, array: NDArray[Any], until: ExitStack) -> Region | None:
        """Return a region that holds the array and that the server knows.

        One that may be written to is placed for this call alone: it may hold other values at the
        next.

        Parameters
        ----------
        array : numpy.ndarray
        until : contextlib.ExitStack
            Of this call.

        Returns
        -------
        Region or None
            As `RegisteredRegions.lend`.
        """
        if array.flags.writeable:
            return self._regions.place(array, until)
        key = (array.ctypes.data, array.shape, array.strides, array.dtype.str)
        if key in self._kept:
            region = self._kept[key][1]
            self._regions.renew(region)
            return region
        placed = self._regions.place(array, self._until)
        if placed is not None:
            self._kept[key] = array, placed
        return placed
