"""From C-STORE to the job list, in a whole node: which series are analyzed, when, and how again."""

import json
import threading
import time

import pydicom
import pytest
from typer.testing import CliRunner

from dicomnode.cli.main import app
from dicomnode.config import Config
from dicomnode.database.decision_rows import list_decisions
from dicomnode.database.job_rows import END_STATES, list_deliveries, list_jobs
from dicomnode.database.series_rows import list_faults, list_series
from dicomnode.node.composition import Node
from dicomnode.send.store_scu import send_instances
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def node(data_dir):
    config = Config.model_validate(
        {
            "data_dir": data_dir,
            "receive": {"port": 0},
            "console": {"port": 0},
            "pipelines": {
                "chest": {
                    "ae_title": "CHEST",
                    "destinations": ["out"],
                    "completion": {"quiet_seconds": 4.0, "settle_seconds": 0.5},
                },
                "thin": {
                    "ae_title": "THIN",
                    "destinations": ["out"],
                    "completion": {"quiet_seconds": 4.0, "settle_seconds": 0.5},
                    "selection": {
                        "best_of_study": [{"by": "SliceThickness", "order": "lowest"}],
                        "study_quiet_seconds": 1.0,
                    },
                },
            },
            "destinations": {"out": {"kind": "folder", "path": data_dir / "out"}},
        }
    )
    node = Node(config)
    node.start()
    yield node
    node.stop()


def _send(node, paths, to="CHEST"):
    address = AEAddress(to, "127.0.0.1", node.receive_port)
    outcomes = send_instances(paths, to=address, calling_ae_title="SENDER", timeout_seconds=20.0)
    assert all(each.accepted for each in outcomes)


def _uid(paths):
    return str(pydicom.dcmread(paths[0], stop_before_pixels=True).SeriesInstanceUID)


def _wait(node, condition, seconds=40.0):
    """Wait until a query gives something."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < end:
        with node.database.begin() as transaction:
            found = condition(transaction)
        if found:
            return found
        pause.wait(0.05)  # the database has no call that waits
    pytest.fail("it did not come to pass in time")


def _ended_job(node, uid, revision=1):
    def look(transaction):
        jobs = list_jobs(transaction, series_instance_uid=uid)
        return [each for each in jobs if each.revision == revision and each.state in END_STATES]

    return _wait(node, look)[0]


def _report(data_dir, job):
    return pydicom.dcmread(Outbox(data_dir).path(job.files["sr.dcm"]))


def _texts(report):
    return " ".join(str(each.value) for each in report.iterall() if each.keyword == "TextValue")


def test_a_contiguous_series_is_closed_after_the_settle_time(node, tmp_path):
    paths = make_series(tmp_path, shape_kji=(40, 24, 26))
    uid = _uid(paths)

    _send(node, paths)
    released = time.monotonic()
    _wait(node, lambda transaction: list_jobs(transaction, series_instance_uid=uid))
    waited = time.monotonic() - released

    with node.database.begin() as transaction:
        (row,) = list_series(transaction, series_instance_uid=uid)
    assert row.closed_because == "contiguous"
    assert waited < 3.0
    assert _ended_job(node, uid).state == "done"


def test_late_instances_make_a_report_that_names_the_former(node, data_dir, tmp_path):
    paths = make_series(tmp_path, shape_kji=(12, 24, 26))
    uid = _uid(paths)
    _send(node, paths[:8])
    first = _ended_job(node, uid)
    assert first.state == "done"

    _send(node, paths[8:])
    second = _ended_job(node, uid, revision=2)

    assert second.state == "done"
    former, report = _report(data_dir, first), _report(data_dir, second)
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == former.StudyInstanceUID
    assert series.SeriesInstanceUID == former.SeriesInstanceUID
    assert instance.ReferencedSOPInstanceUID == former.SOPInstanceUID != report.SOPInstanceUID
    assert "replaces the one on revision 1" in _texts(report)
    assert "PredecessorDocumentsSequence" not in former
    marked = _wait(
        node,
        lambda transaction: [
            each
            for each in list_jobs(transaction, series_instance_uid=uid)
            if each.id == first.id and each.state == "superseded"
        ],
    )
    assert marked[0].sentence == "Revision 2 of the series has results of its own."


def test_a_series_that_is_not_wanted_is_explained_and_sent_nowhere(node, data_dir, tmp_path):
    paths = make_series(tmp_path / "in", orientation=(0, 1, 0, 0, 0, -1))
    uid = _uid(paths)

    _send(node, paths)
    job = _ended_job(node, uid)

    assert job.state == "not_selected"
    assert job.sentence == "Not selected: plane: wanted axial, found sagittal"
    assert job.files == {}
    with node.database.begin() as transaction:
        assert list_deliveries(transaction, job.id) == ()
        (decision,) = list_decisions(transaction, uid)
    assert not decision.decision.is_selected
    assert not list(data_dir.glob(f"out/*{uid}*"))
    config = tmp_path / "dicomnode.toml"
    config.write_text(
        f'data_dir = "{data_dir}"\n[pipelines.chest]\nae_title = "CHEST"\n'
        'destinations = ["out"]\n[destinations.out]\nkind = "folder"\npath = "x"\n'
    )
    shown = CliRunner().invoke(app, ["series", "show", uid, "--config", str(config), "--json"])
    assert shown.exit_code == 0, shown.output
    (told,) = json.loads(shown.stdout)["decisions"]
    rules = {each["rule"]: each for each in told["rules"]}
    assert rules["plane"] == {
        "rule": "plane",
        "wanted": "axial",
        "found": "sagittal",
        "passed": False,
    }
    assert rules["number of slices"]["passed"]


def test_a_truncated_instance_is_put_aside_and_a_whole_one_takes_its_place(
    node, data_dir, tmp_path
):
    paths = make_series(tmp_path, shape_kji=(10, 24, 26))
    uid = _uid(paths)
    whole = paths[4].read_bytes()
    ds = pydicom.dcmread(paths[4])
    ds.PixelData = ds.PixelData[:400]
    ds.save_as(paths[4])

    _send(node, paths)
    refused = _ended_job(node, uid)

    assert (refused.state, refused.reason) == ("refused", "missing_slices")
    kept = [
        each
        for each in Quarantine(data_dir).list()
        if each.facts.get("sop_instance_uid") == ds.SOPInstanceUID
    ]
    assert "counts as missing: wanted 1248 bytes of Pixel Data, found 400" in kept[0].reason
    with node.database.begin() as transaction:
        ((faulty, _),) = list_faults(transaction, "chest", uid)
    assert faulty == ds.SOPInstanceUID

    paths[4].write_bytes(whole)
    _send(node, [paths[4]])
    done = _ended_job(node, uid, revision=2)

    assert done.state == "done"
    assert (
        _report(data_dir, done)
        .PredecessorDocumentsSequence[0]
        .ReferencedSeriesSequence[0]
        .ReferencedSOPSequence[0]
        .ReferencedSOPInstanceUID
        == _report(data_dir, refused).SOPInstanceUID
    )


def test_of_a_study_only_the_best_series_is_analyzed(node, tmp_path):
    study = {"StudyInstanceUID": "1.2.826.0.1.3680043.8.498.4242"}
    thick = make_series(tmp_path / "a", shape_kji=(5, 24, 26), SliceThickness="5", **study)
    thin = make_series(tmp_path / "b", shape_kji=(9, 24, 26), SliceThickness="1", **study)

    _send(node, thick, to="THIN")
    _send(node, thin, to="THIN")

    lost = _ended_job(node, _uid(thick))
    assert _ended_job(node, _uid(thin)).state == "done"
    assert lost.state == "not_selected"
    assert f"series {_uid(thin)} is better" in lost.sentence


def test_a_tilted_series_is_analyzed_on_its_own_slices(node, data_dir, tmp_path):
    paths = make_series(
        tmp_path,
        shape_kji=(9, 24, 26),
        ImagePositionPatient=lambda k: [-41.5, 12.25 + 0.6 * k, -203 + 2.5 * k],
    )

    _send(node, paths)
    job = _ended_job(node, _uid(paths))

    assert job.state == "done"
    assert "The gantry was tilted by 13.5 degrees." in _texts(_report(data_dir, job))
