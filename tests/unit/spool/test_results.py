"""Results wait in the outbox; working files come and go."""

import pytest

from dicomnode.errors import StateError
from dicomnode.spool.results import Outbox

JOB = "1.2.3.4:abcdef0123456789:chest-ct-1a2b3c4d"


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path)


def test_a_result_is_found_by_its_key(outbox):
    key = outbox.write(JOB, "seg.dcm", b"segmentation")

    assert key.startswith("outbox/")
    assert outbox.path(key).read_bytes() == b"segmentation"


def test_repeating_a_result_gives_the_same_key(outbox):
    assert outbox.write(JOB, "seg.dcm", b"one") == outbox.write(JOB, "seg.dcm", b"one")


def test_jobs_do_not_share_results(outbox):
    one = outbox.write(JOB, "seg.dcm", b"one")
    two = outbox.write(JOB + "x", "seg.dcm", b"two")

    assert (outbox.path(one).read_bytes(), outbox.path(two).read_bytes()) == (b"one", b"two")


def test_names_hold_no_colon(outbox):
    assert ":" not in outbox.write(JOB, "seg.dcm", b"one")
    assert ":" not in outbox.work_dir(JOB).name


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "a@b", ".hidden", "a\x00", "x" * 201])
def test_a_job_id_that_is_no_name_is_refused(outbox, job_id):
    with pytest.raises(StateError, match="job id"):
        outbox.work_dir(job_id)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "x" * 129])
def test_a_name_that_is_no_plain_one_is_refused(outbox, name):
    with pytest.raises(StateError, match="file name"):
        outbox.write(JOB, name, b"")


@pytest.mark.parametrize("key", ["instances/a/b", "outbox/../instances/x", "outbox"])
def test_a_key_that_leads_elsewhere_is_refused(outbox, key):
    with pytest.raises(StateError):
        outbox.path(key)


def test_working_files_are_cleared_and_results_stay(outbox):
    key = outbox.write(JOB, "seg.dcm", b"one")
    (outbox.work_dir(JOB) / "volume.npy").write_bytes(b"...")

    outbox.clear_work(JOB)
    outbox.clear_work(JOB)

    assert list(outbox.work_dir(JOB).iterdir()) == []
    assert outbox.path(key).exists()


def test_results_are_removed_by_job(outbox):
    key = outbox.write(JOB, "seg.dcm", b"one")
    other = outbox.write("2.3:x:y", "seg.dcm", b"two")

    outbox.remove(JOB)

    assert not outbox.path(key).exists()
    assert outbox.path(other).exists()
