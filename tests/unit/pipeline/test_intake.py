"""Files taken in a process that has no receiver: rows at once, and which of two alike stays."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from pydicom import dcmread

from dicomnode.database.series_rows import list_instances, list_series
from tests.support.console import make_config, make_parts
from tests.support.ct import make_series


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


def parts_with(tmp_path, stack, **pipeline):
    config = make_config(tmp_path)
    chest = config.pipelines["chest"].model_copy(update=pipeline)
    return make_parts(config.model_copy(update={"pipelines": {"chest": chest}}), stack)


def take(parts, path):
    batch = parts.intake.open("chest", host="127.0.0.1")
    with path.open("rb") as file:
        taken = batch.take(file)
    batch.close(is_whole=True)
    return taken


def stored(parts):
    with parts.database.begin() as transaction:
        [series] = list_series(transaction)
        return list_instances(transaction, "chest", series.series_instance_uid)


@pytest.mark.parametrize(
    ("duplicates", "outcome", "stays"),
    [
        ("keep-first", "stored", "first"),
        ("replace", "stored", "second"),
        ("refuse", "refused", "first"),
    ],
)
def test_of_two_data_sets_under_one_uid_the_pipeline_says_which_stays(
    tmp_path, stack, duplicates, outcome, stays
):
    parts = parts_with(tmp_path, stack, duplicates=duplicates)
    first = make_series(tmp_path / "ct")[0]
    changed = dcmread(first)
    changed.SeriesDescription = "changed"
    second = tmp_path / "second.dcm"
    changed.save_as(second)

    take(parts, first)
    taken = take(parts, second)

    assert taken.outcome == outcome
    [ref] = stored(parts)
    kept = dcmread(parts.store.path(ref.key))
    assert (kept.get("SeriesDescription") == "changed") is (stays == "second")


def test_a_pipeline_that_refuses_other_classes_refuses_them(tmp_path, stack):
    parts = parts_with(tmp_path, stack, other_classes="refuse")
    report = dcmread(make_series(tmp_path / "ct")[0])
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    path = tmp_path / "report.dcm"
    report.save_as(path)

    taken = take(parts, path)

    assert taken.outcome == "refused"
    assert "1.2.840.10008.5.1.4.1.1.88.22" in taken.words
