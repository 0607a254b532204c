import os
from pathlib import Path

import numpy as np
import pytest

from dicomnode.errors import StateError
from dicomnode.spool.array_file import ArrayFile
from dicomnode.spool.durable import PART, remove_leftovers

SHAPE = (3, 5, 7)


def names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def test_what_was_filled_in_is_read_back_by_numpy(tmp_path):
    values = np.arange(105, dtype=np.int16).reshape(SHAPE) - 50

    with ArrayFile(tmp_path / "work" / "volume.npy", np.int16) as file:
        array = file.make(SHAPE)
        array[...] = values
        file.keep()

    assert names(tmp_path / "work") == ["volume.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "work" / "volume.npy"), values)
    np.testing.assert_array_equal(array, values)


def test_an_array_that_was_made_again_takes_the_place_of_the_first(tmp_path):
    with ArrayFile(tmp_path / "volume.npy", np.int16) as file:
        first = file.make(SHAPE)
        first[...] = 1
        second = file.make((2, 5, 7))
        second[...] = 2
        held = file.holds(first), file.holds(second)
        file.keep()

    assert held == (False, True)
    assert first.sum() == 105
    np.testing.assert_array_equal(np.load(tmp_path / "volume.npy"), np.full((2, 5, 7), 2, np.int16))


def test_nothing_is_left_of_what_was_not_kept(tmp_path):
    (tmp_path / "volume.npy").write_bytes(b"of before")

    with ArrayFile(tmp_path / "volume.npy", np.int16) as file:
        file.make(SHAPE)
        during = names(tmp_path)

    assert len(during) == 2
    assert names(tmp_path) == ["volume.npy"]
    assert (tmp_path / "volume.npy").read_bytes() == b"of before"


def test_nobody_takes_what_is_being_filled_for_a_leftover(tmp_path):
    with ArrayFile(tmp_path / "volume.npy", np.int16) as file:
        file.make(SHAPE)
        (part,) = tmp_path.glob(f"*{PART}")
        removed = remove_leftovers(tmp_path)

    assert part.name.startswith(str(os.getpid()))
    assert removed == 0


def test_want_of_room_is_told_before_a_voxel_is_written(tmp_path):
    free = os.statvfs(tmp_path)
    slices = free.f_bavail * free.f_frsize // (2 << 20) + 1024

    with (
        ArrayFile(tmp_path / "volume.npy", np.int16) as file,
        pytest.raises(OSError, match="space"),
    ):
        file.make((slices, 1024, 1024))

    assert names(tmp_path) == []


def test_only_what_was_made_can_be_kept(tmp_path):
    with (
        ArrayFile(tmp_path / "volume.npy", np.int16) as file,
        pytest.raises(StateError, match="found none"),
    ):
        file.keep()
