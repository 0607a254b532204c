"""Volumes are assembled once, of exactly what the job was made of, and kept within bounds."""

import threading
from collections import OrderedDict
from concurrent.futures import CancelledError
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest

from dicomnode.console.volumes import NoPicture, SceneCache, find_fullest, open_volumes
from dicomnode.database.job_rows import set_job
from dicomnode.model.findings import LabelMap
from dicomnode.model.volume import VolumeGeometry
from dicomnode.results.shown import ShownSegment
from tests.support.console import make_config, make_parts
from tests.support.ct import SHAPE_KJI, make_series
from tests.support.findings import make_overlapping
from tests.support.viewed import close, job_row, keep_results, make_viewed_job, receive, stored

SECONDS = 30


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    with ExitStack() as stack:
        yield make_parts(make_config(tmp_path_factory.mktemp("console")), stack)


@pytest.fixture
def volumes(parts):
    return open_volumes(parts)


def scene_of(volumes, parts, job_id):
    return volumes.request(job_row(parts, job_id)).result(SECONDS)


def refusal_of(volumes, parts, job_id):
    with pytest.raises(NoPicture) as caught:
        scene_of(volumes, parts, job_id)
    return caught.value


# --- what a scene holds


def test_a_scene_holds_volume_and_segments_of_a_job(parts, volumes, tmp_path):
    job = make_viewed_job(parts, tmp_path / "ct")

    scene = scene_of(volumes, parts, job.id)

    assert scene.voxels_hu.shape == scene.label_map.labels.shape == SHAPE_KJI
    assert [each.label for each in scene.segments] == ["Left lung", "Right lung"]
    assert np.count_nonzero(scene.label_map.labels) == np.count_nonzero(
        job.made.findings.label_map.labels
    )
    assert scene.size_bytes == 3 * np.prod(SHAPE_KJI)
    assert not scene.is_resampled


def test_a_series_from_feet_to_head_or_not_is_turned_and_its_segments_with_it(
    parts, volumes, tmp_path
):
    job = make_viewed_job(parts, tmp_path / "ct", orientation=(-1, 0, 0, 0, 1, 0))
    written = job.made.findings.label_map.labels

    scene = scene_of(volumes, parts, job.id)

    assert scene.geometry.affine_ijk_to_lps[2, 2] > 0
    assert np.array_equal(scene.label_map.labels > 0, written[::-1, :, ::-1] > 0)


def test_a_job_without_a_seg_shows_the_ct(parts, volumes, tmp_path):
    job_id = close(parts, receive(parts, make_series(tmp_path / "ct")), state="running")

    scene = scene_of(volumes, parts, job_id)

    assert scene.segments == ()
    assert not scene.label_map.labels.any()


def test_segments_that_do_not_fit_are_left_out_and_that_is_said(parts, volumes, tmp_path):
    job = make_viewed_job(parts, tmp_path / "ct")
    keep_results(parts, job.id, {"seg.dcm": b"damaged"})

    scene = scene_of(volumes, parts, job.id)

    assert scene.segments == ()
    assert any("The segments cannot be shown" in note for note in scene.notes)


def test_results_that_were_removed_are_spoken_of(parts, volumes, tmp_path):
    job = make_viewed_job(parts, tmp_path / "ct")
    keep_results(parts, job.id, {})

    assert any("removed after their time" in n for n in scene_of(volumes, parts, job.id).notes)


def test_where_most_of_a_segment_lies_is_known(parts, volumes, tmp_path):
    job = make_viewed_job(parts, tmp_path / "ct", make=make_overlapping)

    scene = scene_of(volumes, parts, job.id)

    k, j, i = scene.fullest[3]
    lesion = scene.label_map.values_of(3)[scene.label_map.labels]
    assert all(plane.any() for plane in (lesion[k], lesion[:, j], lesion[:, :, i]))


def test_a_segment_of_one_voxel_is_found_too():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 3, 1] = 2
    geometry = VolumeGeometry(shape_kji=(4, 4, 4), affine_ijk_to_lps=np.eye(4))
    segments = [
        ShownSegment(number=n, label="", color_rgb=(0, 0, 0), is_abnormal=False) for n in (1, 2)
    ]

    assert find_fullest(LabelMap(labels=labels, geometry=geometry), segments) == {2: (1, 3, 1)}


# --- what it is made of


def test_an_earlier_revision_is_shown_as_it_was(parts, volumes, tmp_path):
    paths = make_series(tmp_path / "ct")
    first = close(parts, receive(parts, paths[:6]), state="superseded")
    later = close(parts, receive(parts, paths), state="done")

    assert scene_of(volumes, parts, first).voxels_hu.shape[0] == 6
    assert scene_of(volumes, parts, later).voxels_hu.shape[0] == 9


def test_a_revision_whose_instances_were_replaced_is_not_shown_wrongly(parts, volumes, tmp_path):
    paths = make_series(tmp_path / "ct")
    first = close(parts, receive(parts, paths[:6]), state="superseded")
    close(parts, receive(parts, paths), state="done")
    with parts.database.begin() as transaction:
        set_job(transaction, first, digest="0" * 16)

    refused = refusal_of(volumes, parts, first)

    assert refused.status == 410
    assert "others have taken their place" in refused.sentence


def test_instances_that_were_removed_are_gone(parts, volumes, tmp_path):
    job = make_viewed_job(parts, tmp_path / "ct")
    for path in stored(parts, job):
        path.unlink()

    refused = refusal_of(volumes, parts, job.id)

    assert refused.status == 410
    assert "removed after their time (retention)" in refused.sentence


def test_memory_does_not_outlive_retention(parts, volumes, tmp_path):
    job = make_viewed_job(parts, tmp_path / "ct")
    scene_of(volumes, parts, job.id)
    stored(parts, job)[0].unlink()

    assert refusal_of(volumes, parts, job.id).status == 410


def test_a_series_that_makes_no_volume_says_why(parts, volumes, tmp_path):
    paths = make_series(tmp_path / "ct")
    job_id = close(parts, receive(parts, [*paths[:3], *paths[5:]]), state="failed")

    refused = refusal_of(volumes, parts, job_id)

    assert refused.status == 404
    assert refused.sentence.startswith("The series makes no volume: ")


def test_a_series_that_was_refused_is_not_tried_again(parts, volumes, tmp_path):
    uid = receive(parts, make_series(tmp_path / "ct"))
    job_id = close(parts, uid, state="refused", sentence="Two slices are missing.")

    assert refusal_of(volumes, parts, job_id).sentence.endswith("Two slices are missing.")


# --- the cache


class Scene(SimpleNamespace):
    def __init__(self, size_bytes, paths=()):
        super().__init__(size_bytes=size_bytes, paths=paths)


def load_into(cache, key, scene):
    return cache.request(key, lambda: scene).result(SECONDS)


def test_several_that_ask_at_once_share_one_loading():
    cache, go, loads = SceneCache(100), threading.Event(), []

    def load():
        loads.append(1)
        assert go.wait(SECONDS)
        return Scene(10)

    waiting = [cache.request("one", load) for _ in range(5)]
    go.set()

    assert len({id(each.result(SECONDS)) for each in waiting}) == 1
    assert loads == [1]


def test_what_is_kept_is_not_loaded_again():
    cache = SceneCache(100)
    kept = load_into(cache, "one", Scene(10))

    assert load_into(cache, "one", Scene(10)) is kept


def test_what_is_loaded_while_one_asks_is_not_loaded_again(monkeypatch):
    cache, scene = SceneCache(100), Scene(10)

    class Meanwhile(OrderedDict):
        def get(self, key, default=None):
            found = super().get(key, default)
            self[key] = scene
            return found

    monkeypatch.setattr(cache, "_ready", Meanwhile())

    assert load_into(cache, "one", Scene(10)) is scene


def test_the_one_not_asked_for_longest_leaves_first():
    cache = SceneCache(25)
    first, second = (load_into(cache, key, Scene(10)) for key in ("one", "two"))
    assert load_into(cache, "one", Scene(10)) is first

    load_into(cache, "three", Scene(10))

    assert load_into(cache, "one", Scene(10)) is first
    assert load_into(cache, "two", Scene(10)) is not second


def test_the_latest_is_kept_however_large():
    cache = SceneCache(25)
    large = load_into(cache, "large", Scene(1000))

    assert load_into(cache, "large", Scene(1000)) is large


def test_a_failure_is_told_to_all_and_not_kept():
    cache = SceneCache(25)

    def fail():
        raise NoPicture(404, "no")

    with pytest.raises(NoPicture):
        cache.request("one", fail).result(SECONDS)

    assert load_into(cache, "one", Scene(1)).size_bytes == 1


def test_who_leaves_does_not_take_the_volume_from_the_others():
    cache, go = SceneCache(25), threading.Event()
    blocked = [cache.request(str(n), lambda: (go.wait(SECONDS), Scene(1))[1]) for n in range(2)]
    queued = cache.request("queued", lambda: Scene(1))
    queued.cancel()
    go.set()
    for each in blocked:
        each.result(SECONDS)

    with pytest.raises(CancelledError):
        queued.result(SECONDS)
    assert load_into(cache, "queued", Scene(1)).size_bytes == 1
