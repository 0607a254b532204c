"""Section 7 of the statement: associations, presentation contexts, statuses."""

from __future__ import annotations

from dicomnode.config import Config, DimseDestination, PipelineConfig
from dicomnode.conformance import statuses
from dicomnode.conformance.contexts import Activity, accepted_contexts, activities
from dicomnode.conformance.markdown import Page
from dicomnode.conformance.names import SETS, name_of, syntaxes
from dicomnode.send.store_scu import MAX_PDU_BYTES
from dicomnode.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

_WHAT = {
    "store": "Storage",
    "commitment-request": "Storage Commitment, request",
    "commitment-report": "Storage Commitment, report",
    "count": "Study Root FIND",
}


def write_network(page: Page, config: Config) -> None:
    """Write section 7."""
    page.heading("7", "Network and Media Communication Details")
    _write_general(page, config)
    page.heading("7.2", "Specifications")
    for index, (name, pipeline) in enumerate(config.pipelines.items(), start=1):
        _write_entity(page, config, f"7.2.{index}", name, pipeline)
    _write_statuses(page, config)


def _write_general(page: Page, config: Config) -> None:
    receive = config.receive
    page.heading("7.1", "General")
    page.heading("7.1.1", "General Association Parameters")
    per_peer = receive.max_associations_per_peer
    page.table(
        ("parameter", "as acceptor", "as initiator"),
        (
            ("Application Context Name", _APPLICATION_CONTEXT, _APPLICATION_CONTEXT),
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_CLASS_UID),
            (
                "Implementation Version Name",
                IMPLEMENTATION_VERSION_NAME,
                IMPLEMENTATION_VERSION_NAME,
            ),
            (
                "Maximum PDU length received",
                f"{receive.max_pdu_bytes} bytes; a longer PDU is answered with A-P-ABORT",
                f"{MAX_PDU_BYTES} bytes",
            ),
            ("Maximum PDU length sent", "as the peer says", "as the peer says"),
            (
                "Associations at the same time",
                (
                    f"{receive.max_associations} in all, from one address "
                    f"{'all but two' if per_peer is None else per_peer}"
                ),
                "for each destination as many as its `concurrency`",
            ),
            (
                "ARTIM and association time-out",
                f"{receive.acse_timeout_seconds:g} s",
                "`timeout_seconds` of the destination or peer",
            ),
            (
                "DIMSE time-out",
                f"{receive.dimse_timeout_seconds:g} s for the answer to a report",
                "`timeout_seconds`, for each answer",
            ),
            (
                "Idle time-out",
                f"{receive.network_timeout_seconds:g} s, then aborted; a PDU must be whole in it",
                "`timeout_seconds`",
            ),
            ("Asynchronous operations", "not negotiated: one at a time", "not negotiated"),
            ("SOP class extended negotiation", "none", "none"),
            (
                "SCP/SCU role selection",
                _role_selection(config),
                "SCP for reports of storage commitment; else none",
            ),
            ("User identity", _identity(config), "not offered"),
            ("Network", "TCP/IP, IPv4 and IPv6 as the address to listen on says", "TCP/IP"),
        ),
    )
    page.heading("7.1.2", "Sets of Transfer Syntaxes")
    page.text(
        "The tables of presentation contexts name these sets. Of what a peer proposes in one "
        "context, the first of the set's order is accepted."
    )
    page.table(
        ("set", "transfer syntax", "UID"),
        ((letter, name_of(uid), uid) for letter, uids in SETS.items() for uid in uids),
    )


def _role_selection(config: Config) -> str:
    if config.asks_for_commitment:
        return "a peer may be SCP of Storage Commitment, to bring its report"
    return "none"


def _identity(config: Config) -> str:
    count = len(config.receive.users)
    if not count:
        return "not asked for; an offered one passes without a positive response"
    return (
        f"user name and password (type 2), {count} known; others are rejected; positive response "
        "where it is asked for"
    )


def _write_entity(
    page: Page, config: Config, number: str, name: str, pipeline: PipelineConfig
) -> None:
    title = pipeline.ae_title
    page.heading(number, f"{title} Application Entity")
    page.heading(f"{number}.1", f"Sequencing of Real-World Activities for {title}")
    rule = pipeline.completion
    page.text(
        f"1. A peer stores instances of a series. 2. The series is complete: "
        f"{rule.settle_seconds:g} "
        "s after the last association that brought any was released, if its slices lie without a "
        f"gap; else when nothing came for {rule.quiet_seconds:g} s; at the latest after "
        f"{rule.deadline_seconds:g} s, when it is "
        + ("analyzed as it is" if rule.at_deadline == "proceed" else "held for an operator")
        + ". 3. It is analyzed. 4. Results are delivered to each destination for itself. 5. "
        "Where it is configured, storage commitment is asked for. Steps 4 and 5 are repeated with "
        "growing pauses as long as they fail for a reason that may pass."
    )
    page.heading(f"{number}.2", f"Association Parameters of {title}")
    page.text("As section 7.1.1.")
    page.heading(f"{number}.3", f"Association Initiation by {title}")
    opened = [each for each in activities(config) if each.pipeline in {name, ""}]
    page.table(
        ("activity", "peer", "calling AE title", "called", "TLS"),
        (
            (
                _WHAT[each.what],
                each.peer,
                each.calling_ae_title or "the AE title that the peer had called",
                each.address,
                each.tls_profile or "no",
            )
            for each in opened
        ),
    )
    if opened:
        page.text(
            "Presentation contexts proposed: of Storage only those for what is to be sent, each "
            "transfer syntax in a context of its own."
        )
        page.table(
            ("activity", "peer", "abstract syntax", "UID", "transfer syntaxes", "role"),
            (row for each in opened for row in _proposals(each)),
        )
    _write_acceptance(page, config, number, name, title)


def _proposals(activity: Activity) -> list[tuple[str, ...]]:
    return [
        (
            _WHAT[activity.what],
            activity.peer,
            name_of(each.abstract_syntax),
            each.abstract_syntax,
            syntaxes(each.transfer_syntaxes),
            each.role + (" (role selection)" if each.role == "SCP" else ""),
        )
        for each in activity.contexts
    ]


def _write_acceptance(page: Page, config: Config, number: str, name: str, title: str) -> None:
    page.heading(f"{number}.4", f"Association Acceptance by {title}")
    page.text(_callers(config))
    page.text("Presentation contexts accepted; what is not listed is rejected:")
    kept = {True: "stored", False: "acknowledged, not kept", None: ""}
    page.table(
        ("abstract syntax", "UID", "transfer syntaxes", "role", "instances"),
        (
            (
                name_of(each.abstract_syntax),
                each.abstract_syntax,
                syntaxes(each.transfer_syntaxes),
                " or ".join(each.roles),
                kept[each.is_stored],
            )
            for each in accepted_contexts(config)[name]
        ),
    )


def _callers(config: Config) -> str:
    receive = config.receive
    if not receive.allowed_callers:
        return "Any calling AE title is accepted, from the machine of the node only."
    listed = "; ".join(
        f"{each.ae_title} from {', '.join(each.hosts)}" for each in receive.allowed_callers
    )
    return f"Accepted are these calling AE titles from these addresses: {listed}."


def _write_statuses(page: Page, config: Config) -> None:
    page.heading("7.3", "Status Codes")
    page.heading("7.3.1", "General Communication and Failure Behavior")
    page.text("Associations that are rejected (PS3.8 9.3.4):")
    page.table(("result, source, reason", "meaning", "when"), statuses.rejections())
    page.text(
        "When an association that we open is rejected as transient, aborted, cannot be made or is "
        "not answered in time, the work is tried again later; a permanent rejection parks it. When "
        "a peer aborts or vanishes while it stores, what was answered with Success stays, the "
        "instance under way is dropped. A message that makes no sense, or comes in a presentation "
        "context that was not accepted, is answered with A-ABORT."
    )
    page.heading("7.3.2", "DIMSE Services")
    page.text("Verification, SCP: always 0x0000. SCU: 0x0000 is success, all else failure.")
    page.text("Storage, SCP, answered:")
    page.table(("status", "meaning", "when"), statuses.answered_to_store(config))
    page.text("Storage, SCU, taken as:")
    page.table(("status", "meaning", "then"), statuses.answers_to_store())
    page.text("Storage Commitment, SCP, N-ACTION answered:")
    page.table(("status", "meaning", "when"), statuses.answered_to_action())
    page.text(
        "N-EVENT-REPORT, sent by us: 0x0000 ends it; any other answer, or none, has it told again. "
        "N-EVENT-REPORT, sent to us: 0x0000 when it is recorded, also one that nobody waits for; "
        "0x0115 when it cannot be read; 0x0110 when it cannot be recorded."
    )
    if any(each.what == "commitment-request" for each in activities(config)):
        page.text("Storage Commitment, SCU, N-ACTION taken as:")
        page.table(("status", "then"), statuses.answers_to_action())
    if any(each.what == "count" for each in activities(config)):
        page.text(
            "Study Root FIND, SCU: 0xFF00 and 0xFF01 bring a match; 0x0000 ends the query; any "
            "other status, or no answer, is logged, and the series is complete by its other rules."
        )
    page.heading("7.3.3", "DICOM Web Services")
    if any(not isinstance(each, DimseDestination) for each in config.destinations.values()):
        page.text("Store, user agent:")
    page.table(("HTTP status", "then"), statuses.answers_over_http())
