"""Uploads: what is called stored is durable and on record; the rest is named one by one."""

from __future__ import annotations

import re

import pytest
import structlog
from pydicom import dcmread

from dicomnode.database.note_rows import list_notes
from dicomnode.database.series_rows import list_instances, list_series
from tests.support.console import Browser, make_client, make_config, make_parts
from tests.support.ct import make_series

PATH = "/api/v1/pipelines/chest/instances"


@pytest.fixture
def files(tmp_path):
    return make_series(tmp_path / "ct")


def as_form(*paths):
    return [("files", (path.name, path.read_bytes(), "application/dicom")) for path in paths]


def instances(parts):
    with parts.database.begin() as transaction:
        return [
            ref
            for row in list_series(transaction)
            for ref in list_instances(transaction, row.pipeline, row.series_instance_uid)
        ]


def test_files_of_a_form_are_stored_byte_for_byte(client, parts, files):
    answer = client.post(PATH, files=as_form(*files)).json()

    assert (answer["stored"], answer["ignored"], answer["refused"]) == (9, 0, 0)
    assert answer["series_instance_uids"] == [str(dcmread(files[0]).SeriesInstanceUID)]
    stored = instances(parts)
    assert len(stored) == 9
    for ref in stored:
        [sent] = [each for each in files if dcmread(each).SOPInstanceUID == ref.sop_instance_uid]
        kept = parts.store.path(ref.key)
        assert dcmread(kept).PixelData == dcmread(sent).PixelData
        assert parts.store.is_whole(ref)
        assert parts.store.source_ae_title(ref) == "CONSOLE-UPLOAD"


def test_one_file_may_be_the_body(client, parts, files):
    headers = {"Content-Type": "application/dicom"}

    answer = client.post(PATH, content=files[0].read_bytes(), headers=headers).json()

    assert [each["outcome"] for each in answer["files"]] == ["stored"]
    assert len(instances(parts)) == 1


def test_bad_files_are_named_one_by_one_and_cost_no_other(client, parts, files, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not DICOM")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(files[1].read_bytes()[:400])
    report = dcmread(files[2])
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    other = tmp_path / "report.dcm"
    report.save_as(other)

    answer = client.post(PATH, files=as_form(text, files[0], cut, other)).json()

    found = {each["name"]: (each["outcome"], each["words"]) for each in answer["files"]}
    assert found["notes.txt"] == ("refused", "no DICOM file (PS3.10 7)")
    assert found[files[0].name] == ("stored", "stored")
    assert found["cut.dcm"][0] == "refused"
    assert found["cut.dcm"][1].startswith("Error: Cannot understand: ")
    assert found["report.dcm"][0] == "ignored"
    assert len(instances(parts)) == 1
    with parts.database.begin() as transaction:
        assert [each.kind for each in list_notes(transaction)] == ["ignored"]
    assert len(parts.quarantine.list()) == 1, "what cannot be understood is kept as evidence"


def test_the_same_files_again_change_nothing(client, parts, files):
    for _ in range(2):
        assert client.post(PATH, files=as_form(*files)).json()["stored"] == 9

    assert len(instances(parts)) == 9


def test_a_transfer_syntax_that_cannot_be_decoded_is_refused(client, files):
    content = (
        files[0].read_bytes().replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.9.9\x00", 1)
    )

    answer = client.post(PATH, content=content, headers={"Content-Type": "application/dicom"})

    [found] = answer.json()["files"]
    assert found["outcome"] == "refused"
    assert "1.2.840.10008.1.9.9" in found["words"]


def test_an_instance_over_the_limit_is_refused_and_the_next_is_taken(tmp_path, stack, files):
    config = make_config(tmp_path)
    limited = config.model_copy(
        update={"receive": config.receive.model_copy(update={"max_instance_bytes": 5000})}
    )
    parts = make_parts(limited, stack)
    large = tmp_path / "large.dcm"
    large.write_bytes(files[0].read_bytes() + bytes(9000))

    answer = make_client(parts).post(PATH, files=as_form(large, files[1])).json()

    assert [each["outcome"] for each in answer["files"]] == ["refused", "stored"]
    assert "wanted at most 5000 bytes" in answer["files"][0]["words"]


def test_more_than_an_upload_may_bring_is_refused(tmp_path, stack):
    parts = make_parts(make_config(tmp_path, max_upload_bytes=1), stack)
    large = tmp_path / "large.dcm"
    large.write_bytes(bytes(2_000_000))

    answer = make_client(parts).post(PATH, files=as_form(large))

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_other_bodies_are_small(client):
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/sign-in", content=b"name=" + b"x" * 1_000_000, headers=kind)

    assert answer.status_code == 413


def test_an_unknown_pipeline_takes_nothing(client, files):
    answer = client.post("/api/v1/pipelines/none/instances", files=as_form(files[0]))

    assert answer.status_code == 404
    assert "known are chest" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"rubbish", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"{}", "multipart/form-data"),
        (b"{}", "application/json"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
            + b"y" * 9000
            + b"\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_what_is_no_form_of_files_is_told(client, content, kind):
    answer = client.post(PATH, content=content, headers={"Content-Type": kind})

    assert answer.status_code == 400, answer.text


def test_a_form_that_breaks_off_keeps_what_was_whole(client, parts, files):
    whole = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
        % (path.name.encode(), path.read_bytes())
        for path in files[:2]
    )

    answer = client.post(
        PATH,
        content=whole[:-300],
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )

    assert answer.status_code == 400
    assert len(instances(parts)) == 1


def test_the_page_takes_files_from_a_form_without_scripts(parts, files):
    browser = Browser(parts)
    page = browser.get("/upload")
    token = re.search(r'name="form_token" value="(\w+)"', page.text)[1]

    answer = browser.post(
        "/upload",
        data={"form_token": token, "pipeline": "chest"},
        files=[*as_form(*files), ("folder", ("", b"", "application/octet-stream"))],
    )

    assert "9 stored, 0 ignored, 0 refused" in answer.text
    assert len(instances(parts)) == 9


def test_an_upload_without_the_token_of_our_page_stores_nothing(parts, files):
    browser = Browser(parts)
    browser.get("/upload")

    answer = browser.post("/upload", data={"pipeline": "chest"}, files=as_form(files[0]))

    assert answer.status_code == 403
    assert instances(parts) == []


def test_names_of_files_stay_out_of_the_log(client, files):
    named = files[0].rename(files[0].with_name("Marked^Patient.dcm"))
    broken = named.with_name("Other^Patient.dcm")
    broken.write_bytes(b"no")
    with structlog.testing.capture_logs() as lines:
        client.post(PATH, files=as_form(named, broken))

    assert [each["event"] for each in lines if each.get("component") == "audit"] == ["imported"]
    assert "Patient" not in str(lines)


def test_nothing_is_left_beside_what_was_stored(client, parts, files):
    client.post(PATH, files=as_form(*files))

    leftovers = [
        path
        for path in parts.config.data_dir.iterdir()
        if path.is_file() and "sqlite" not in path.name
    ]
    assert leftovers == []
