"""The picture of a job over HTTP: pages without scripts, slices, results, and who is given what."""

import asyncio
import gzip
import io
import json
import threading
from contextlib import ExitStack

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image

from dicomnode.console import waiting
from dicomnode.console.access import Person
from dicomnode.console.app import build_app
from dicomnode.console.volumes import Volumes
from tests.support.console import Client, make_config, make_parts
from tests.support.ct import make_series
from tests.support.findings import NO_LUNGS, make_findings, make_overlapping
from tests.support.viewed import close, keep_results, make_viewed_job, receive, stored


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    with ExitStack() as stack:
        yield make_parts(make_config(tmp_path_factory.mktemp("console")), stack)


@pytest.fixture
def app(parts):
    return build_app(parts)


@pytest.fixture
def client(app):
    return Client(app)


@pytest.fixture
def sees_patients(app, parts):
    """Whoever asks is shown patients."""
    person = Person(name="dr", role="viewer", sees_patients=True)
    app.dependency_overrides[parts.access.viewer] = lambda: person


@pytest.fixture
def sees_no_patients(app, parts):
    person = Person(name="guest", role="viewer", sees_patients=False)
    app.dependency_overrides[parts.access.viewer] = lambda: person


@pytest.fixture(scope="module")
def job(parts, tmp_path_factory):
    return make_viewed_job(parts, tmp_path_factory.mktemp("ct"), make=make_overlapping)


@pytest.fixture
def own_job(parts, tmp_path):
    """A job that a test may spoil."""
    return make_viewed_job(parts, tmp_path / "ct")


def api(job, path):
    return f"/api/v1/jobs/{job.id}/{path}"


def page(job, path):
    return f"/jobs/{job.id}/{path}"


# --- slices


def test_what_can_be_seen_is_described(client, job):
    found = client.get(api(job, "slices")).json()

    axial, coronal, sagittal = found["planes"]
    assert (axial["name"], axial["count"], axial["columns"], axial["rows"]) == ("axial", 9, 17, 23)
    assert (coronal["count"], sagittal["count"]) == (23, 17)
    assert (axial["left"], axial["top"], coronal["top"], sagittal["left"]) == ("R", "A", "H", "A")
    assert (axial["axis"], axial["first_mm"], axial["step_mm"]) == ("z", -203.0, 2.5)
    assert [each["label"] for each in found["segments"]] == ["Left lung", "Right lung", "Opacity"]
    assert set(found["segments"][2]["fullest"]) == {"axial", "coronal", "sagittal"}
    assert found["windows"]["lung"] == [-600, 1500]


def test_a_slice_is_a_png_of_the_size_that_was_described(client, job):
    for plane in client.get(api(job, "slices")).json()["planes"]:
        answer = client.get(api(job, f"slices/{plane['name']}/3.png"))

        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "no-store"
        image = Image.open(io.BytesIO(answer.content))
        assert image.size == (plane["width"], plane["height"])


def test_window_segments_and_opacity_change_what_is_seen(client, job):
    queries = ("", "window=bone", "segments=none", "segments=1", "opacity=90")

    seen = {client.get(api(job, f"slices/axial/3.png?{each}")).content for each in queries}

    assert len(seen) == len(queries)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("slices/axial/9.png", 404),
        ("slices/axial/-1.png", 422),
        ("slices/oblique/1.png", 422),
        ("slices/axial/1.png?window=brain", 422),
        ("slices/axial/1.png?opacity=101", 422),
        ("slices/axial/1.png?segments=1,x", 422),
        ("results/ct.nii.gz?max_side=3", 422),
    ],
)
def test_what_there_is_not_is_refused(client, job, path, status):
    assert client.get(api(job, path)).status_code == status


@pytest.mark.parametrize("path", ["slices", "slices/axial/1.png", "results/seg.dcm", "results"])
def test_an_unknown_job_is_not_found(client, path):
    assert client.get(f"/api/v1/jobs/nobody/{path}").status_code == 404


def test_slices_of_removed_instances_are_gone_and_that_is_said(client, parts, own_job):
    for path in stored(parts, own_job):
        path.unlink()

    answer = client.get(api(own_job, "slices/axial/3.png"))

    assert answer.status_code == 410
    assert "removed after their time (retention)" in answer.json()["detail"]


def test_who_waits_for_a_volume_holds_up_nobody(app, job, monkeypatch):
    """While a volume is assembled everything else answers, and one loading serves all."""
    go, loads = threading.Event(), []
    load = Volumes._load

    def slow(self, row):
        loads.append(row.id)
        assert go.wait(30)
        return load(self, row)

    monkeypatch.setattr(Volumes, "_load", slow)

    async def ask():
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            # More than there are threads for requests.
            waiting_for = [
                asyncio.create_task(client.get(api(job, f"slices/axial/{n % 9}.png")))
                for n in range(60)
            ]
            alive = await asyncio.wait_for(client.get("/api/v1/jobs"), 20)
            assert not any(each.done() for each in waiting_for)
            go.set()
            return alive, await asyncio.gather(*waiting_for)

    alive, pictures = asyncio.run(ask())

    assert alive.status_code == 200
    assert {each.status_code for each in pictures} == {200}
    assert loads == [job.id]


def test_a_volume_that_takes_too_long_is_to_be_asked_for_again(client, job, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(Volumes, "_load", lambda _self, _row: go.wait(30) and None)
    monkeypatch.setattr(waiting, "LOAD_SECONDS", 0.05)

    answer = client.get(api(job, "slices"))
    shown = client.get(page(job, "view"))
    go.set()

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert shown.status_code == 503
    assert 'http-equiv="refresh"' in shown.text


# --- pages


def test_the_page_shows_three_planes_and_links_to_their_neighbors(client, job):
    answer = client.get(page(job, "view?axial=4&coronal=1&sagittal=17&window=bone"))

    assert answer.status_code == 200
    for shown in (
        f"/api/v1/jobs/{job.id}/slices/axial/3.png?window=bone&amp;segments=all&amp;opacity=32",
        "slices/coronal/0.png",
        "slices/sagittal/16.png",
        "?plane=axial&amp;axial=3&amp;coronal=1&amp;sagittal=17&amp;window=bone&amp;opacity=32",
        "?plane=coronal&amp;",
        "4 of 9",
        "z\n          -195.5 mm",
        "R is left, L right, A on top, P at the bottom",
        "Left lung",
        'fill="rgb(255, 170, 60)"',
        "Volume, mL",
    ):
        assert shown in answer.text
    assert answer.text.count('rel="prev"') == 2, "the first coronal slice has none before it"
    assert answer.text.count('rel="next"') == 2


def test_no_page_styles_or_scripts_itself(client, job):
    for path in ("view", "view/3d", "findings"):
        text = client.get(page(job, path)).text

        assert "style=" not in text
        assert "<script>" not in text


def test_only_the_page_with_niivue_has_a_wider_policy(client, job):
    strict, wide, findings = (
        client.get(page(job, path)).headers["content-security-policy"]
        for path in ("view", "view/3d", "findings")
    )

    assert strict == findings
    assert "unsafe" not in strict
    assert "script-src 'self';" in wide
    assert "unsafe-eval" not in wide


def test_a_job_whose_instances_are_gone_still_shows_what_was_found(client, parts, own_job):
    for path in stored(parts, own_job):
        path.unlink()

    answer = client.get(page(own_job, "view"))

    assert answer.status_code == 410
    assert "No picture" in answer.text
    assert "Volume, mL" in answer.text


def test_a_series_that_was_refused_says_why(client, parts, tmp_path):
    uid = receive(parts, make_series(tmp_path / "ct"))
    job_id = close(parts, uid, state="refused", reason="x", sentence="Two <slices> are missing.")

    answer = client.get(f"/jobs/{job_id}/view")

    assert answer.status_code == 404
    assert "Two &lt;slices&gt; are missing." in answer.text
    assert "Not analyzed" in answer.text


def test_a_job_that_runs_shows_the_ct_and_no_findings_yet(client, parts, tmp_path):
    uid = receive(parts, make_series(tmp_path / "ct"))
    job_id = close(parts, uid, state="running")

    text = client.get(f"/jobs/{job_id}/view").text

    assert "slices/axial/4.png" in text
    assert "Not analyzed yet" in text


def test_a_guard_is_told_as_the_reason_for_no_classification(client, parts, tmp_path):
    def blocked(paths):
        return make_findings(paths, guards=(NO_LUNGS,), classifications=())

    job = make_viewed_job(parts, tmp_path / "ct", make=blocked)

    text = client.get(page(job, "findings")).text

    assert NO_LUNGS.sentence in text
    assert "Nothing was classified for this reason." in text
    assert "0f0f0f0f0f0f" in text, "the manifest's digest"


def test_results_removed_after_their_time_are_spoken_of(client, parts, own_job):
    keep_results(parts, own_job.id, {})

    assert "have been removed after their time" in client.get(page(own_job, "findings")).text
    assert client.get(api(own_job, "results/findings.json")).status_code == 410


@pytest.mark.usefixtures("sees_patients")
def test_a_page_names_no_patient(client, job):
    for path in ("view", "view/3d", "findings"):
        assert "Marked" not in client.get(page(job, path)).text


# --- results


@pytest.mark.usefixtures("sees_patients")
def test_results_are_given_to_who_sees_patients(client, job):
    assert client.get(api(job, "results")).json() == [
        "findings.json",
        "overlay.png",
        "seg.dcm",
        "sr.dcm",
        "sr.txt",
    ]
    answer = client.get(api(job, "results/seg.dcm"))

    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="{job.series_instance_uid}-1-seg.dcm"'
    )
    seg = pydicom.dcmread(io.BytesIO(answer.content))
    assert (seg.Modality, str(seg.PatientName)) == ("SEG", "Marked^Patient")
    text = client.get(api(job, "results/sr.txt"))
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text.startswith("Patient: Marked Patient\n")


@pytest.mark.usefixtures("sees_no_patients")
@pytest.mark.parametrize("name", ["seg.dcm", "sr.dcm", "sr.txt"])
def test_what_names_the_patient_is_not_given_to_others(client, job, name):
    answer = client.get(api(job, f"results/{name}"))

    assert answer.status_code == 403
    assert "you are shown no patients" in answer.text
    assert "Marked" not in answer.text
    assert name not in client.get(api(job, "results")).json()
    assert f"results/{name}" not in client.get(page(job, "findings")).text


@pytest.mark.usefixtures("sees_no_patients")
def test_what_names_nobody_is_given_to_everybody(client, job):
    findings = client.get(api(job, "results/findings.json"))

    assert findings.json()["series_instance_uid"] == job.series_instance_uid
    assert client.get(api(job, "results/overlay.png")).content.startswith(b"\x89PNG")
    for name in ("ct", "segments"):
        content = gzip.decompress(client.get(api(job, f"results/{name}.nii.gz")).content)
        assert content[344:348] == b"n+1\0"
        assert b"Marked" not in content


def test_nifti_can_be_had_smaller(client, job):
    whole, small = (
        gzip.decompress(client.get(api(job, f"results/ct.nii.gz{query}")).content)
        for query in ("", "?max_side=16")
    )

    def sides(content):
        return tuple(np.frombuffer(content, "<i2", 3, 42))

    assert sides(whole) == (17, 23, 9)
    assert sides(small) == (8, 11, 9)


@pytest.mark.parametrize(
    "name", ["nothing.dcm", "sr-without-seg.txt", "%2e%2e%2fx", "a/b", "SEG.DCM"]
)
def test_no_other_file_can_be_had(client, job, name):
    assert client.get(api(job, f"results/{name}")).status_code in {404, 422}


# --- what is put on record


@pytest.fixture
def recorded(parts, monkeypatch):
    """What the audit log is told: event, what, series."""
    told = []
    for event in ("viewed", "exported"):

        def note(_request, _person, shown, *, what="patient", event=event):
            [one] = shown
            told.append((event, what, one.series_instance_uid, one.instance_count))

        monkeypatch.setattr(parts.audit, event, note)
    return told


def test_looking_at_slices_is_recorded_once_and_not_for_each(client, job, recorded):
    for index in range(5):
        client.get(api(job, f"slices/axial/{index}.png"))

    assert recorded == [("viewed", "images", job.series_instance_uid, 9)]


def test_looks_from_two_addresses_are_two(app, job, recorded):
    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
        Client(app, address=address).get(api(job, "slices/axial/1.png"))

    assert len(recorded) == 2


def test_opening_a_page_is_recorded_each_time(client, job, recorded):
    for path in ("view", "view/3d", "findings", "view"):
        client.get(page(job, path))
    client.get(api(job, "slices/axial/1.png"))

    assert [what for _event, what, *_ in recorded] == ["images", "images", "report", "images"]


@pytest.mark.usefixtures("sees_patients")
def test_taking_a_file_along_is_recorded_with_its_name(client, job, recorded):
    names = ("seg.dcm", "sr.txt", "findings.json", "ct.nii.gz", "segments.nii.gz")
    for name in names:
        client.get(api(job, f"results/{name}"))

    assert [each[:2] for each in recorded] == [("exported", name) for name in names]


@pytest.mark.usefixtures("sees_no_patients")
def test_what_is_not_given_is_not_recorded_as_given(client, job, recorded):
    client.get(api(job, "results/seg.dcm"))
    client.get(api(job, "results/nothing.dcm"))

    assert recorded == []


def test_everything_is_described_for_programs(client):
    paths = json.loads(client.get("/api/openapi.json").text)["paths"]

    for path in ("slices", "slices/{plane}/{index}.png", "results", "results/{name}"):
        assert f"/api/v1/jobs/{{job_id}}/{path}" in paths
