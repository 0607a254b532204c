import errno
import os
import shutil
import time

import numpy as np
import pytest

from dicomnode.inference.shared_memory import FOLDER, Region, abandoned_regions


def test_an_array_outlives_its_region():
    region = Region(2 * 3 * 5)
    array = region.as_array((3, 5), np.int16)
    array[...] = np.arange(15).reshape(3, 5)

    region.release()

    assert not (FOLDER / region.name.lstrip("/")).exists()
    assert array[2, 4] == 14


def test_regions_are_private_and_named_apart():
    first, second = Region(16), Region(16)
    mode = (FOLDER / first.name.lstrip("/")).stat().st_mode
    first.release()
    second.release()

    assert first.name != second.name
    assert mode & 0o077 == 0


def test_want_of_room_is_told_before_a_page_is_touched():
    too_much = shutil.disk_usage(FOLDER).free + (1 << 30)

    with pytest.raises(OSError, match="space") as caught:
        Region(too_much)

    assert caught.value.errno == errno.ENOSPC
    assert not list(FOLDER.glob(f"dicomnode-tensor-{os.getpid()}-*"))


def test_a_region_in_use_is_not_abandoned_however_old():
    region = Region(16)
    path = FOLDER / region.name.lstrip("/")
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))

    found = list(abandoned_regions())
    region.release()

    assert path not in found


def test_a_region_without_owner_is_found():
    path = FOLDER / f"dicomnode-tensor-{os.getpid()}-left"
    path.write_bytes(b"left")
    young = path in set(abandoned_regions())
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))

    old = path in set(abandoned_regions())
    path.unlink()

    assert not young, "it may be about to be locked"
    assert old
