"""How much may be received, and that asking for it is cheap."""

import pytest

from dicomnode.errors import InstanceTooLarge, SpoolFull
from dicomnode.receive.limits import Limits
from dicomnode.spool.instances import InstanceStore


@pytest.fixture
def store(tmp_path):
    return InstanceStore(tmp_path, reserve_bytes=0)


class Usage:
    def __init__(self, size_bytes):
        self.size_bytes = size_bytes
        self.asked = 0

    def __call__(self, pipeline):
        assert pipeline == "chest"
        self.asked += 1
        return self.size_bytes


def test_without_limits_everything_passes(store):
    limits = Limits(store)

    limits.check("chest", 1 << 60)
    assert limits.shortage("chest") is None


def test_an_instance_over_the_size_is_too_large(store):
    limits = Limits(store, max_instance_bytes=1000)

    limits.check("chest", 1000)
    with pytest.raises(InstanceTooLarge, match="at most 1000 bytes") as caught:
        limits.check("chest", 1001)
    assert caught.value.status == 0xA700


def test_a_quota_counts_what_is_stored_and_what_comes(store):
    limits = Limits(store, quotas={"chest": 100}, stored_bytes=Usage(60))

    limits.check("chest", 40)
    with pytest.raises(SpoolFull, match="the quota of pipeline chest has no room for 41 bytes"):
        limits.check("chest", 41)
    limits.add("chest", 40)
    with pytest.raises(SpoolFull):
        limits.check("chest", 1)
    assert limits.shortage("chest") == "the quota of pipeline chest is used up"
    limits.check("lung", 1 << 40)


def test_how_much_is_stored_is_asked_once_in_a_while(store):
    now = [0.0]
    usage = Usage(10)
    limits = Limits(
        store,
        quotas={"chest": 100},
        stored_bytes=usage,
        refresh_seconds=5,
        clock=lambda: now[0],
    )
    for _ in range(3):
        limits.check("chest", 1)
    assert usage.asked == 1

    usage.size_bytes, now[0] = 100, 5.0

    with pytest.raises(SpoolFull):
        limits.check("chest", 1)
    assert usage.asked == 2


def test_below_the_headroom_there_is_a_shortage_and_stores_go_on(store):
    limits = Limits(store, headroom_bytes=1 << 60)

    assert "less than the headroom" in limits.shortage("chest")
    limits.check("chest", 1000)


def test_a_disk_that_does_not_answer_is_a_shortage(store, tmp_path):
    (tmp_path / "instances").rmdir()

    assert Limits(store).shortage("chest").startswith("the spool cannot be used")
