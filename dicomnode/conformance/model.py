"""Sections 4 and 5 of the statement: the application entities, and how each service behaves."""

from __future__ import annotations

from collections.abc import Iterator

from dicomnode.config import Config, PipelineConfig
from dicomnode.conformance.contexts import (
    Activity,
    activities,
    folder_destinations,
    web_destinations,
)
from dicomnode.conformance.markdown import Page
from dicomnode.conformance.names import named
from dicomnode.conformance.statuses import failure_reasons
from dicomnode.receive.commitment import MOST_INSTANCES
from dicomnode.send.store_scu import proposed_syntaxes
from dicomnode.standard.sop_classes import CT_TRANSFER_SYNTAXES, STORAGE_COMMITMENT_PUSH

_DUPLICATES = {
    "keep-first": "answered with Success; the first stays, the other is not kept",
    "replace": "answered with Success; takes the place of the first if it is of the same series, "
    "which then is analyzed anew, and is not kept if it is of another",
    "refuse": "answered with 0x0111, not kept",
}


def write_model(page: Page, config: Config) -> None:
    """Write section 4."""
    page.heading("4", "Implementation Model")
    page.heading("4.1", "Application Entities and Data Flow")
    lines = []
    for name, pipeline in config.pipelines.items():
        lines.append(f"senders --C-STORE, N-ACTION, C-ECHO--> {pipeline.ae_title} ({name})")
        lines.append("            series complete, analyzed, results made")
        lines += [f"            --> {words}" for words in _ways_out(config, name, pipeline)]
    page.drawing("\n".join(lines))
    page.text(
        "All AE titles listen on one port. Each is called for one pipeline and calls that "
        "pipeline's destinations itself, unless a destination is configured with another calling "
        "AE title."
    )
    page.table(
        ("application entity", "pipeline", "role in services", "calls"),
        (
            (
                pipeline.ae_title,
                name,
                "SCP of Verification, Storage, Storage Commitment; "
                + (", ".join(_scu_services(config, name)) or "SCU of nothing"),
                ", ".join(pipeline.destinations),
            )
            for name, pipeline in config.pipelines.items()
        ),
    )
    for index, (name, pipeline) in enumerate(config.pipelines.items(), start=1):
        page.heading(f"4.1.{index}", f"Functional Definition of {pipeline.ae_title}")
        page.text(
            f"Receives series for pipeline `{name}`; segments them with "
            f"{', '.join(pipeline.segment)}"
            + (
                f" and classifies them with {', '.join(pipeline.classify)}"
                * bool(pipeline.classify)
            )
            + f"; delivers to {', '.join(pipeline.destinations)}. Work that a stop or crash "
            "interrupts goes on after the next start."
        )


def _ways_out(config: Config, name: str, pipeline: PipelineConfig) -> Iterator[str]:
    for each in pipeline.destinations:
        if each in web_destinations(config):
            yield f"{each}: STOW-RS to {web_destinations(config)[each].url}"
        elif each in folder_destinations(config):
            yield f"{each}: a folder"
        else:
            yield from (
                f"{each}: C-STORE to {activity.address}"
                for activity in activities(config)
                if activity.what == "store" and (activity.pipeline, activity.peer) == (name, each)
            )


def _scu_services(config: Config, name: str) -> list[str]:
    words = {
        "store": "SCU of Storage",
        "commitment-request": "SCU of Storage Commitment",
        "count": "SCU of Study Root FIND",
    }
    kinds = {each.what for each in activities(config) if each.pipeline == name}
    return [text for kind, text in words.items() if kind in kinds]


def write_services(page: Page, config: Config) -> None:
    """Write section 5."""
    page.heading("5", "Service and Interoperability Description")
    page.heading("5.1", "Mapping of Services to Application Entities")
    page.text("Section 4.1 has the table: every AE title offers the same services.")
    page.heading("5.2", "DIMSE Services")
    for number, title in (
        ("5.2.1", "Basic Worklist Management Service"),
        ("5.2.2", "Modality Performed Procedure Step Service"),
        ("5.2.3", "Unified Worklist and Procedure Step Service"),
        ("5.2.4", "Instance Availability Notification Service"),
    ):
        page.not_applicable(number, title)
    _write_storage(page, config)
    _write_commitment(page, config)
    _write_query(page, config)
    page.not_applicable("5.2.8", "Print Management Service")
    _write_web(page, config)
    page.not_applicable("5.4", "Media Services")
    page.not_applicable("5.5", "Real-Time Video Service")
    page.heading("5.6", "Cross-Service Considerations")
    page.text(
        "Nothing is inferred from the order of instances or the number of associations. A series "
        "is complete when every association that brought instances of it has ended and its slices "
        "lie without a gap, or an archive that is asked says that all are there, or nothing came "
        "for some time. Instances that come later make a new revision of the series, which is "
        "analyzed anew; its report names its predecessor."
    )
    page.heading("5.7", "Specific Character Sets")
    page.text("As section 1.7; no service differs.")


def _write_storage(page: Page, config: Config) -> None:
    page.heading("5.2.5", "Storage Service")
    page.heading("5.2.5.1", "SCU of the Storage SOP Classes")
    page.text(
        "Results are sent when they are made, one association for each delivery and another for "
        "what is sent instead; the SEG goes before the SR that refers to it. SEG, SR and each form "
        "of SC are series of their own in the study of the source. What a destination has taken is "
        "on record and not sent again; one that dies between the peer's answer and our record is "
        "sent once more under the same SOP Instance UID."
    )
    page.table(
        ("destination", "object", "SOP class", "encoded in", "sent when"),
        (
            (
                each.peer,
                obj.kind,
                named(obj.sop_class_uid),
                named(obj.transfer_syntax_uid),
                obj.when,
            )
            for each in _first_of_each_peer(config)
            for obj in each.objects
        ),
    )
    page.text(
        "Results that were made under an earlier configuration go as they were made. The command "
        "`dicomnode send` sends any DICOM files with the same proposals and rules."
    )
    page.heading("5.2.5.1.1", "Transcoding of Transfer Syntaxes")
    rows = []
    for uid in CT_TRANSFER_SYNTAXES:
        others = [each for each in proposed_syntaxes(uid) if each != uid]
        rows.append((named(uid), "SUPPORTED: " + ", ".join(others) if others else "NOT_SUPPORTED"))
    page.table(("file is in", "sent in another transfer syntax under the same UID"), rows)
    page.text("Pixel data is never compressed, decompressed or otherwise changed for sending.")
    page.heading("5.2.5.2", "SCP of the Storage SOP Classes")
    page.table(
        ("", ""),
        (
            ("Level of conformance", "2 (Full): the data set is stored as the bytes that came"),
            ("Digital signatures", "level 3: none is changed; none is verified"),
            ("Attribute coercion", "none"),
            ("Largest data set", f"{config.receive.max_instance_bytes} bytes"),
            (
                "Duration",
                (
                    "until its results are delivered and the age of `[retention]` is reached; "
                    "the node is no archive"
                ),
            ),
            ("Retrieval", "none by DICOM; operators by the console or from disk"),
        ),
    )
    page.text("Another data set under a SOP Instance UID that is stored (the same one is Success):")
    page.table(
        ("called AE title", "policy", "the other data set is"),
        (
            (each.ae_title, each.duplicates, _DUPLICATES[each.duplicates])
            for each in config.pipelines.values()
        ),
    )


def _first_of_each_peer(config: Config) -> list[Activity]:
    found: dict[str, Activity] = {}
    for each in activities(config):
        if each.what == "store":
            found.setdefault(each.peer, each)
    return list(found.values())


def _write_commitment(page: Page, config: Config) -> None:
    page.heading("5.2.6", "Storage Commitment Service")
    page.heading("5.2.6.1", "SCU of the Storage Commitment SOP Class")
    asked = [each for each in activities(config) if each.what == "commitment-request"]
    if asked:
        page.text(
            "After a delivery commitment is asked for all that the destination took of it. The "
            "report may come on the association of the request, which is kept for a moment, or on "
            "any later one to the AE title that asked; peers select the SCP role for that. Event "
            "type 1 settles the delivery. Instances that event type 2 lists as failed, whatever "
            "the Failure Reason, are sent again with the next attempt; so is everything if no "
            "report comes in time; after the last attempt the delivery is parked. Storage Media "
            "File-Set ID and UID are not used."
        )
        page.table(
            ("destination", "report awaited for", "attempts"),
            (
                (each.peer, f"{seconds:g} s", attempts)
                for each in asked
                for seconds, attempts in [_patience(config, each.peer)]
            ),
        )
    else:
        page.text("Not configured: no destination has `storage_commitment = true`.")
    page.heading("5.2.6.2", "SCP of the Storage Commitment SOP Class")
    page.text(
        f"On every called AE title ({named(STORAGE_COMMITMENT_PUSH)}), up to {MOST_INSTANCES} "
        "instances a request, of any storage SOP class. The N-ACTION is answered when the request "
        "is recorded. Then each instance is read from disk and held against its digest, and the "
        "N-EVENT-REPORT goes out as soon as that is done: to peers of `[receive.commitment]` on a "
        "new association, else on the association of the request while that stands. A report that "
        f"is not taken is told again, {config.receive.commitment.max_attempts} times in all. "
        "Storage Media File-Set and Retrieve AE Title are not supported. Commitment is to what "
        "lies on disk at the time of the report; it is kept as section 5.2.5.2 says."
    )
    page.table(("Failure Reason (0008,1197)", "meaning", "when"), failure_reasons())


def _patience(config: Config, peer: str) -> tuple[float, int]:
    destination = config.destinations[peer]
    return float(getattr(destination, "commitment_seconds", 0.0)), destination.max_attempts


def _write_query(page: Page, config: Config) -> None:
    page.heading("5.2.7", "Query/Retrieve Service")
    queries = [each for each in activities(config) if each.what == "count"]
    if not queries:
        page.text("Not configured: no pipeline has `expected_count`. There is no SCP.")
        return
    page.text(
        "SCU of Study Root Query/Retrieve Information Model - FIND, to learn how many instances a "
        "series has that is coming in. There is no SCP."
    )
    page.table(
        ("key", "level", "use"),
        (
            ("Query/Retrieve Level (0008,0052)", "", "SERIES"),
            ("Study Instance UID (0020,000D)", "STUDY", "unique key, single value matching"),
            ("Series Instance UID (0020,000E)", "SERIES", "unique key, single value matching"),
            ("Number of Series Related Instances (0020,1209)", "SERIES", "return key"),
        ),
    )


def _write_web(page: Page, config: Config) -> None:
    page.heading("5.3", "DICOM Web Services")
    services = web_destinations(config)
    if not services:
        page.text("Not configured: no pipeline has a destination of kind `dicomweb`.")
        return
    page.text(
        "User agent of the Studies Service, Store transaction (PS3.18 10.5): POST to "
        "`{url}/studies`, Content-Type `multipart/related` of `application/dicom` parts, with "
        "Content-Length; Accept `application/dicom+json`. One request holds all objects of a "
        "delivery that are still to be taken, each in its own transfer syntax; nothing is "
        "transcoded."
    )
    page.text(
        "When an operator asks whether a destination is there: Search transaction, GET "
        "`{url}/studies?limit=1`. Only the status of the answer is looked at; a service that "
        "does not search is there all the same."
    )
    page.table(
        ("destination", "URL", "objects", "authentication"),
        (
            (
                name,
                each.url,
                ", ".join(each.objects),
                "OAuth 2.0 client credentials"
                if each.oauth
                else "headers of a file"
                if each.headers_file
                else "none",
            )
            for name, each in services.items()
        ),
    )
