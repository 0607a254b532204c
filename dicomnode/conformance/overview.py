"""Sections 1 to 3 of the statement: what is supported at a glance, for whom it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom.charset import python_encoding

from dicomnode import __version__
from dicomnode.config import Config
from dicomnode.conformance.contexts import (
    accepted_contexts,
    activities,
    folder_destinations,
    web_destinations,
)
from dicomnode.conformance.markdown import Page
from dicomnode.conformance.names import name_of
from dicomnode.conformance.sent import sent_objects
from dicomnode.standard.sop_classes import CT_TRANSFER_SYNTAXES
from dicomnode.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_DEFINED_TERM = re.compile(r"ISO_IR \d+|ISO 2022 IR \d+|GB18030|GBK")
"""Of Specific Character Set (PS3.3 C.12.1.1.2); the library has misspellings of them, too."""

TEMPLATE = "PS3.2 Annex N (the template of Supplement 209)"


def write_overview(page: Page, config: Config) -> None:
    """Write the cover and sections 1 to 3."""
    page.heading("", "dicomnode: DICOM Conformance Statement")
    page.table(
        ("", ""),
        (
            ("Product", "dicomnode, a DICOM node that runs Triton models on CT series"),
            ("Version", __version__),
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
            ("Layout", TEMPLATE),
            ("Configuration", "the one that `dicomnode conformance` was given"),
        ),
    )
    page.text(
        "Research software, not a medical device; every object that it makes says so. This "
        "statement is made by `dicomnode conformance` from a configuration and from the tables "
        "that the software negotiates and answers with: another configuration has another one."
    )
    _write_overview(page, config)
    page.heading("2", "Table of Contents")
    page.contents()
    _write_introduction(page)


def _write_overview(page: Page, config: Config) -> None:
    page.heading("1", "Overview")
    page.text(
        "A PACS or modality sends CT series to an AE title of the node by C-STORE. When a series "
        "is complete it is segmented and classified, and a Segmentation (SEG), a Structured Report "
        "(SR) and, on request, Secondary Captures (SC) of the same study are sent to the "
        "configured destinations."
    )
    page.heading("1.1", "Content and Transfer")
    page.table(
        (
            "SOP class",
            "UID",
            "created",
            "Storage SCP",
            "Storage SCU",
            "STOW-RS user agent",
            "written to folders",
        ),
        _content(config),
    )
    others = _ignored(config)
    if others:
        page.text(
            f"Beside these, {len(others)} storage SOP classes are accepted as Storage SCP, "
            "answered with Success and **not kept**, so that senders of whole studies meet no "
            "refusal. Section 7.2 has every one."
        )
    page.text("Transfer syntaxes:")
    page.table(("transfer syntax", "UID", "received", "sent"), _transfer_syntaxes(config))
    page.heading("1.1.1", "Structured Reporting Root Template IDs")
    page.text("TID 1500 Measurement Report (PS3.16), in each report that is made. None is read.")
    page.heading("1.2", "DIMSE Services")
    kinds = {each.what for each in activities(config)}
    page.table(
        ("service", "SCU", "SCP"),
        (
            ("Verification", "Y (`dicomnode echo`, console)", "Y"),
            ("Storage", _yes("store" in kinds), "Y"),
            ("Storage Commitment Push Model", _yes("commitment-request" in kinds), "Y"),
            ("Query/Retrieve: Study Root FIND", _yes("count" in kinds), "N"),
            ("Query/Retrieve: all others, MOVE and GET", "N", "N"),
            ("Workflow management: Worklist, MPPS, UPS, Instance Availability", "N", "N"),
            ("Print management", "N", "N"),
        ),
    )
    page.heading("1.3", "DICOM Web Services")
    page.table(
        ("service", "user agent", "origin server"),
        (
            ("Studies: Store (STOW-RS)", _yes(bool(web_destinations(config))), "N"),
            (
                "Studies: Search (QIDO-RS), to learn whether the service is there",
                _yes(bool(web_destinations(config))),
                "N",
            ),
            ("Studies: Retrieve (WADO-RS)", "N", "N"),
            ("URI, Worklist, Non-Patient Instance, Storage Commitment", "N", "N"),
        ),
    )
    page.text("No HL7 message or FHIR resource is sent or received.")
    for number, title in (
        ("1.4", "Media Services"),
        ("1.5", "Real-Time Video Service"),
        ("1.6", "De-Identification Profiles"),
    ):
        page.not_applicable(number, title)
    page.heading("1.7", "Specific Character Sets")
    page.text(
        "Data sets are stored as they came, in any character set. Texts of the source are taken "
        "over into results as the bytes they were, with its Specific Character Set. These are "
        f"decoded where a text is needed: {', '.join(_character_sets())}. Where a text of ours "
        "cannot be written in the source's, the result is in ISO_IR 192."
    )


def _content(config: Config) -> Iterator[tuple[str, ...]]:
    received = {
        each.abstract_syntax
        for contexts in accepted_contexts(config).values()
        for each in contexts
        if each.is_stored
    }
    sent = {o.sop_class_uid for each in activities(config) for o in each.objects}
    stowed, written = (
        {o.sop_class_uid for each in group.values() for o in sent_objects(each)}
        for group in (web_destinations(config), folder_destinations(config))
    )
    made = sent | stowed | written
    for uid in (*sorted(received), *sorted(made - received)):
        yield (
            name_of(uid),
            uid,
            _yes(uid in made),
            _yes(uid in received),
            _yes(uid in sent),
            _yes(uid in stowed),
            _yes(uid in written),
        )


def _ignored(config: Config) -> set[str]:
    return {
        each.abstract_syntax
        for contexts in accepted_contexts(config).values()
        for each in contexts
        if each.is_stored is False
    }


def _transfer_syntaxes(config: Config) -> Iterator[tuple[str, ...]]:
    proposed = {
        syntax
        for each in activities(config)
        if each.what == "store"
        for context in each.contexts
        for syntax in context.transfer_syntaxes
    }
    for each in web_destinations(config).values():
        proposed |= {o.transfer_syntax_uid for o in sent_objects(each)}
    for uid in CT_TRANSFER_SYNTAXES:
        yield name_of(uid), uid, "Y", _yes(uid in proposed)


def _character_sets() -> list[str]:
    terms = (each for each in python_encoding if _DEFINED_TERM.fullmatch(each))
    return sorted(terms, key=lambda each: (each[:8], len(each), each))


def _yes(holds: bool) -> str:
    return "Y" if holds else "N"


def _write_introduction(page: Page) -> None:
    page.heading("3", "Introduction")
    page.heading("3.1", "Revision History")
    page.text("That of the product: CHANGELOG.md. Versions follow Semantic Versioning.")
    page.heading("3.2", "Audience")
    page.text("Hospital IT, PACS administrators, integrators and testers who know DICOM.")
    page.heading("3.3", "Remarks")
    page.text(
        "A conformance statement does not replace a test between two systems: it says what to "
        "expect of one of them. In particular, an archive that accepts a Segmentation or a report "
        "need not be able to show it."
    )
    page.text(
        "Sections are numbered and titled as the template has them; its standard sentences are in "
        "words of our own."
    )
    page.heading("3.4", "Terms and Definitions")
    page.points(
        (
            "**Pipeline**: what happens to series that are sent to one called AE title.",
            "**Destination**: where results of a pipeline go.",
            "**Kept, stored**: on disk, synced; survives a power cut at the next instruction.",
            (
                "**Acknowledged, not kept**: answered with Success, its data set dropped, the fact "
                "recorded."
            ),
            "**Parked**: a delivery that waits for an operator.",
        )
    )
    page.heading("3.5", "Abbreviations")
    page.text(
        "AE Application Entity; IOD Information Object Definition; PDU Protocol Data Unit; SC "
        "Secondary Capture; SCP, SCU Service Class Provider, User; SEG Segmentation; SOP "
        "Service-Object Pair; SR Structured Report; TID Template ID; TLS Transport Layer Security."
    )
    page.heading("3.6", "References")
    page.text(
        "NEMA PS3 / ISO 12052, Digital Imaging and Communications in Medicine (DICOM) Standard, "
        "<https://www.dicomstandard.org/current>; IHE Radiology Technical Framework Supplement, "
        "AI Results (AIR)."
    )
