"""A node that is watched by everything at once while a marked patient goes through it.

One story, told once: a series is delivered; an object and an association are refused; a series
with a hole is reported while the archive is away; the node is killed and goes on.  The tests look
at what came out: for Prometheus, for a collector of traces, for whoever reads logs and pages, and
nothing of the patient in any of it.
"""

from __future__ import annotations

import html
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from dicomnode.cli.main import app
from tests.support.marked import MARK, mark, mark_files, marks_in
from tests.support.node import NodeProcess, storescu, write_config
from tests.support.orthanc import free_port
from tests.support.otlp import Collector, Span
from tests.support.pacs import FlakyPacs
from tests.support.prometheus import dashboard_expressions, promtool, scraping
from tests.support.raw_sender import Instance, RawAssociation

MONITORING = Path(__file__).parents[2] / "config" / "monitoring"


@dataclass
class Story:
    """What happened, and what came out."""

    node: NodeProcess
    collector: Collector
    whole: str = ""
    holey: str = ""
    said: dict[str, str] = field(default_factory=dict)
    """Everything that came out, by where."""
    log: list[dict[str, str]] = field(default_factory=list)
    first_pid: int = 0

    def fetch(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.node.console + path, timeout=20) as answer:  # noqa: S310 - ours
                status, body = answer.status, answer.read().decode("latin-1")
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read().decode("latin-1")
        self.said[f"GET {path}"] = body
        return status, body

    def keep_output(self, when: str) -> None:
        self.log += self.node.log()
        self.said[f"stderr {when}"] = self.node.log_text()
        self.said[f"stdout {when}"] = "\n".join(self.node._lines)

    def trace_of(self, series: str) -> list[Span]:
        """Spans of the trace that a series' jobs are in."""
        [trace] = {
            each.trace_id
            for each in self.collector.spans
            if each.attributes.get("dicomnode.job", "").startswith(series)
        }
        return [each for each in self.collector.spans if each.trace_id == trace]


@pytest.fixture(scope="module")
def story(tmp_path_factory, triton, write_phantom):
    folder = tmp_path_factory.mktemp("watched")
    port = free_port()
    with Collector() as collector:
        config = write_config(
            folder / "dicomnode.toml",
            drain_seconds=1,
            inference={"triton": triton},
            log={"form": "json", "level": "debug"},
            telemetry={"endpoint": collector.endpoint},
            pipelines={
                "chest": {
                    "ae_title": "CHEST",
                    "destinations": ["archive", "share"],
                    "completion": {"quiet_seconds": 0.5},
                }
            },
            destinations={
                "archive": {
                    "kind": "dimse",
                    "ae_title": "ARCHIVE",
                    "host": "127.0.0.1",
                    "port": port,
                    "first_retry_seconds": 0.5,
                    "longest_retry_seconds": 1,
                    "max_attempts": 50,
                },
                "share": {"kind": "folder", "path": str(folder / "share")},
            },
        )
        archive = FlakyPacs(ae_title="ARCHIVE")
        archive.start(port)
        story = Story(NodeProcess(config), collector)
        try:
            story.node.start()
            _live_through(story, archive, folder, port, write_phantom)
            yield story
        finally:
            story.node.__exit__(None, None, None)
            archive.stop()


def _live_through(story, archive, folder, port, write_phantom):
    node = story.node
    story.first_pid = node.pid
    whole = write_phantom(folder / "whole", uid_seed=1)
    assert mark_files(whole) > 200, "that many text attributes were marked"
    story.whole = dcmread(whole[0], stop_before_pixels=True).SeriesInstanceUID
    story.said["storescu"] = storescu(node, whole).stdout
    node.wait_for_delivery(series=story.whole)
    _be_refused(story, whole[0], folder)
    archive.stop()
    holey = write_phantom(folder / "holey", uid_seed=2)
    mark_files(holey)
    story.holey = dcmread(holey[0], stop_before_pixels=True).SeriesInstanceUID
    assert storescu(node, holey[:20] + holey[21:]).returncode == 0
    node.wait_for_job(_is_tried_in_vain, "the archive was found away", series=story.holey)
    story.collector.wait_for(_told_of_failed_delivery, "a delivery had failed")
    story.keep_output("before the kill")
    node.kill()
    archive.start(port)
    node.start()
    node.wait_for_delivery(series=story.holey)
    again = write_phantom(folder / "again", uid_seed=3)
    mark_files(again)
    assert storescu(node, again).returncode == 0
    node.wait_for_delivery(series=dcmread(again[0], stop_before_pixels=True).SeriesInstanceUID)


def _be_refused(story, path, folder):
    """Send what cannot be stored: no UID, another one than in the command, to nobody."""
    unreadable = dcmread(path)
    mark(unreadable)
    unreadable.SOPInstanceUID = unreadable.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    unreadable["StudyInstanceUID"]._value = f"{MARK}^STUDY"
    bad = folder / "unreadable.dcm"
    unreadable.save_as(bad)
    storescu(story.node, [bad])
    with RawAssociation(story.node.endpoints["chest"][2], "CHEST") as assoc:
        assert assoc.store(Instance(f"{MARK}^NAME", "1.2.3.9")) >= 0xA000
        assoc.release()
    assert storescu(story.node, [path], called="NOBODY").returncode != 0


def _is_tried_in_vain(job):
    return job["state"] == "refused" and any(
        each["destination"] == "archive" and each["attempts"] >= 1 for each in job["deliveries"]
    )


def _told_of_failed_delivery(spans):
    return any(each.attributes.get("dicomnode.outcome") == "again" for each in spans)


# -- for Prometheus


@pytest.fixture(scope="module")
def prometheus(story, tmp_path_factory):
    with scraping(
        f"{story.node.console}/metrics",
        tmp_path_factory.mktemp("prometheus") / "run",
        rules=[MONITORING / "alerts.yml", MONITORING / "alerts-optional.yml"],
    ) as running:
        yield running


def test_the_page_of_metrics_is_one_that_prometheus_likes(story):
    _, page = story.fetch("/metrics")

    done = promtool("check", "metrics", text=page)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


SILENT = re.compile(r"^ALERTS|certificate_expiry|commitments_total")
"""What nothing in this story need have: alerts, certificates, storage commitment."""


def test_every_expression_of_the_dashboard_has_an_answer(prometheus):
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    expressions = dashboard_expressions(dashboard)

    answers = {each: prometheus.query(each) for each in expressions}

    empty = [each for each, found in answers.items() if not found and not SILENT.search(each)]
    assert len(expressions) > 40
    assert empty == [], "these find nothing, in a node through which series went"


def test_every_rule_can_be_evaluated(prometheus):
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert len(rules) == 20
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}
    fired = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert fired <= {"DicomnodeRefusing", "DicomnodeRejecting", "DicomnodeQuarantining"}


def test_what_went_through_is_counted(prometheus):
    def value(expression):
        [sample] = prometheus.query(expression)
        return float(sample["value"][1])

    # By the process that lives now: the one before was killed.
    assert value('dicomnode_deliveries_total{destination="archive", outcome="delivered"}') == 2
    assert value('dicomnode_instances_received_total{status="0000"}') == 40
    assert value('dicomnode_result_seconds_count{destination="share"}') == 1
    assert value('dicomnode_triton_request_seconds_count{model="lung_segmentation"}') >= 1
    assert value('dicomnode_series{pipeline="chest", state="open"}') == 0
    assert value('dicomnode_spool_instances{pipeline="chest"}') >= 79
    assert value("dicomnode_quarantine_objects") == 2
    assert value("dicomnode_disk_free_bytes / dicomnode_disk_size_bytes") < 1
    assert value('dicomnode_component_ready{component="inference"}') == 1
    assert value("min(dicomnode_standing_answered)") == 1


def test_no_label_is_a_uid_or_a_person(story):
    _, page = story.fetch("/metrics")

    for uid in (story.whole, story.holey, story.whole[:20]):
        assert uid not in page
    assert not re.search(r'(?<!version)="[0-9]+\.[0-9]+\.[0-9.]+"', page)


# -- for probes


def test_a_node_that_is_well_says_so_to_probes(story):
    ready, components = story.fetch("/readyz")

    assert story.fetch("/healthz") == (200, "ok\n")
    assert ready == 200
    assert json.loads(components)["components"] == dict.fromkeys(
        ("database", "receive", "spool", "inference"), "ready"
    )


# -- for a collector of traces


def test_one_trace_goes_from_the_association_to_the_last_delivery(story):
    spans = story.collector.wait_for(
        lambda all_: sum(each.name == "deliver" for each in all_) >= 4, "all was delivered"
    )
    trace = [each for each in spans if each in story.trace_of(story.whole)]
    by_id = {each.span_id: each for each in trace}
    count = Counter(each.name for each in trace)

    assert count["association"] == count["close series"] == count["analyze"] == 1
    assert (count["C-STORE"], count["deliver"]) == (40, 2)
    for stage in ("select", "assemble", "segment", "measure", "classify", "results", "triton"):
        assert count[stage] >= 1
    for name, parent in (
        ("C-STORE", "association"),
        ("close series", "C-STORE"),
        ("analyze", "close series"),
        ("deliver", "close series"),
        ("select", "analyze"),
        ("results", "analyze"),
    ):
        assert {by_id[each.parent_id].name for each in trace if each.name == name} == {parent}
    parents = {by_id[each.parent_id].name for each in trace if each.name == "triton"}
    assert parents == {"segment", "classify"}


def test_a_trace_goes_on_in_the_process_that_takes_the_work_up(story):
    story.collector.wait_for(
        lambda spans: any(
            each.attributes.get("dicomnode.outcome") == "delivered"
            and each.attributes.get("dicomnode.destination") == "archive"
            and each.attributes["dicomnode.job"].startswith(story.holey)
            for each in spans
        ),
        "the archive had taken the report",
    )
    trace = story.trace_of(story.holey)
    deliveries = [
        each for each in trace if each.attributes.get("dicomnode.destination") == "archive"
    ]

    pids = {int(each.process.rpartition(":")[2]) for each in deliveries}
    assert story.first_pid in pids
    assert len(pids) == 2
    assert {each.parent_id for each in deliveries} == {
        each.span_id for each in trace if each.name == "close series"
    }


# -- for whoever reads logs


def entries(story, **fields):
    return [each for each in story.log if fields.items() <= each.items()]


def test_an_association_is_told_of_once_when_it_begins_and_once_when_it_ends(story):
    begun = Counter(each["association_id"] for each in entries(story, event="association_admitted"))
    ended = Counter(each["association_id"] for each in entries(story, event="association_ended"))

    assert begun == ended
    assert set(begun.values()) == {1}
    assert len(begun) == 4
    assert not entries(story, event="association_opened")


def test_what_is_said_bears_the_ids_of_what_it_is_about(story):
    [refused, *_] = entries(story, event="instance_refused")
    [closed] = entries(story, event="series_closed", series=story.whole)

    assert len(refused["association_id"]) == 16
    assert closed["job"].startswith(story.whole)
    for event in ("job_state", "delivery"):
        said = [each for each in entries(story, event=event) if each["series"] == story.whole]
        assert said
        assert {each["job"] for each in said} == {closed["job"]}


# -- for nobody else


def _crawl(story, start, most=60):
    """Follow every link of the pages."""
    left, seen = [start], set()
    while left and len(seen) < most:
        path = left.pop()
        seen.add(path)
        _, page = story.fetch(path)
        links = [html.unescape(each) for each in re.findall(r'(?:href|src)="(/[^"#]*)', page)]
        left += [
            each
            for each in dict.fromkeys(links)
            if each not in seen and each not in left and not each.startswith("/static/")
        ]


def test_nothing_of_the_patient_is_said_anywhere(story):
    """Logs, pages, answers of the API and their errors, metrics, traces, commands."""
    jobs = story.node.jobs()
    [job] = [each for each in jobs if each["series_instance_uid"] == story.whole]
    results = f"/api/v1/jobs/{urllib.parse.quote(job['id'])}/results"
    _, description = story.fetch("/api/openapi.json")
    values = {"job_id": job["id"], "series_instance_uid": story.whole, "pipeline": "chest"}
    for path, verbs in json.loads(description)["paths"].items():
        if "get" in verbs:
            known = re.sub(r"\{(\w+)(:\w+)?\}", lambda m: values.get(m[1], "1"), path)
            story.fetch(urllib.parse.quote(known))
    for path in (
        "/nowhere",
        "/api/v1/jobs/nobody",
        *(f"{results}/{name}" for name in job["files"]),
    ):
        story.fetch(path)
    _crawl(story, "/")
    for words in (
        ("series", "show", story.whole),
        ("jobs", "show", job["id"]),
        ("quarantine", "list"),
        ("received", "notes"),
    ):
        done = CliRunner().invoke(app, [*words, "--config", str(story.node.config)])
        story.said[" ".join(words)] = done.output
        assert done.exit_code == 0, done.output
    story.said["traces"] = b"".join(story.collector.raw).decode("latin-1")
    story.keep_output("at the end")

    assert {where: found for where, text in story.said.items() if (found := marks_in(text))} == {}
    assert all(story.said[each] for each in ("GET /", "GET /metrics", "traces", "storescu"))
    assert sum(each.startswith("GET ") for each in story.said) > 30
    assert story.fetch(f"{results}/seg.dcm")[0] == 403, "it names the patient"
    assert "instance_refused" in story.said["stderr before the kill"]


def test_no_file_but_dicom_has_anything_of_the_patient(story):
    """Names of all files and folders; what is in those that are no DICOM objects of the patient."""
    data = story.node.data_dir
    files = [each for each in data.rglob("*") if each.is_file()]
    names = "\n".join(str(each.relative_to(data)) for each in data.rglob("*"))
    contents = {
        str(each.relative_to(data)): each.read_bytes().decode("latin-1")
        for each in files
        if each.suffix not in {".dcm", ".png", ".npy", ".npz"}
    }

    assert marks_in(names) == []
    assert {name: found for name, text in contents.items() if (found := marks_in(text))} == {}
    assert any(name.startswith("quarantine/") for name in contents)
    assert "dicomnode.sqlite" in contents


def test_the_patient_was_there(story):
    """So that what is not found is not found for a reason."""
    stored = next((story.node.data_dir / "instances").rglob("*.dcm"))
    results = list((story.node.data_dir / "outbox").rglob("seg.dcm"))

    assert MARK.encode() in stored.read_bytes()
    assert MARK in str(dcmread(results[0]).PatientName)


def test_a_short_drain_ends_in_plain_words(story):
    """The last of the story: it ends the node."""
    assert story.node.terminate() == 0
    story.keep_output("of the drain")

    tracebacks = [each for each in story.log if "Traceback" in str(each.get("exception"))]
    assert not tracebacks, [each["exception"][-900:] for each in tracebacks]
    assert "Traceback" not in story.said["stderr of the drain"]
    assert marks_in(story.said["stderr of the drain"]) == []
