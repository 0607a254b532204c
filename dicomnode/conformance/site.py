"""Sections 6 and 8 of the statement: what is configured, and security."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dicomnode.config import Config, DimseDestination, TlsClientConfig, TlsServerConfig
from dicomnode.config.reference import SectionReference, sections
from dicomnode.conformance.contexts import web_destinations
from dicomnode.conformance.markdown import Page
from dicomnode.tls import describe_profile

_DIMSE_SECTIONS: Final = ("receive", "receive.commitment")
_NOT_DICOM: Final = ("segment", "classify")
_AUDIT_PROFILES: Final = {
    "tls": "Audit Trail Message Transmission Profile - SYSLOG-TLS (PS3.15 A.6)",
    "udp": "Audit Trail Message Transmission Profile - SYSLOG-UDP (PS3.15 A.7)",
    "tcp": "sent by syslog over TCP, which is no profile of PS3.15",
}
_SECRET: Final = ("users",)


def write_configuration(page: Page, config: Config) -> None:
    """Write section 6: every parameter that has to do with DICOM, with its value."""
    page.heading("6", "Configuration")
    page.text(
        "The node is configured by a TOML file and environment variables, read at start. Values "
        "are those in force. A key that is not listed does not change how the node speaks DICOM."
    )
    page.heading("6.1", "General Configuration Parameters")
    known = list(sections())
    values = config.model_dump(mode="json")
    page.table(
        ("key", "value", "takes", "meaning"),
        (
            (f"`{key.name}`", _shown(values[key.name]), key.kind, key.description)
            for key in _at(known, "").keys
        ),
    )
    _write_section(page, "[retention]", _at(known, "retention"), _value(values, "retention"))
    page.heading("6.2", "Configuration of DIMSE Services")
    for path in _DIMSE_SECTIONS:
        _write_section(page, f"[{path}]", _at(known, path), _value(values, path))
    for name in config.pipelines:
        path = f"pipelines.{name}"
        for suffix in ("", ".completion", ".report"):
            _write_section(
                page,
                f"[{path}{suffix}]",
                _at(known, f"pipelines.NAME{suffix}"),
                _value(values, f"{path}{suffix}"),
            )
    _write_destinations(page, config, known, values, "dimse")
    page.heading("6.3", "Configuration of DICOM Web Services")
    if web_destinations(config):
        _write_destinations(page, config, known, values, "dicomweb")
    else:
        page.text("No pipeline has a destination of kind `dicomweb`.")
    for number, title in (
        ("6.4", "Configuration of Media Storage Service"),
        ("6.5", "Configuration of Real-Time Video Service"),
    ):
        page.not_applicable(number, title)

    page.heading("6.6", "Configuration of Audit Trail - Syslog")
    if config.console.audit is None:
        page.text("Not configured: there is no `[console.audit]`.")
    else:
        audit = _value(values, "console.audit")
        _write_section(page, "[console.audit]", _at(known, "console.audit"), audit)


def _write_destinations(
    page: Page, config: Config, known: list[SectionReference], values: Mapping[str, Any], kind: str
) -> None:
    for name, destination in config.destinations.items():
        if destination.kind != kind:
            continue
        for suffix in ("", ".seg", ".sc"):
            section = _at(known, f"destinations.NAME{suffix}", kind)
            path = f"destinations.{name}{suffix}"
            _write_section(page, f"[{path}]", section, _value(values, path))


def _write_section(
    page: Page, title: str, section: SectionReference, values: Mapping[str, Any]
) -> None:
    page.text(f"`{title}` {section.description}")
    page.table(
        ("key", "value", "takes", "meaning"),
        (
            (f"`{key.name}`", _shown(values[key.name]), key.kind, key.description)
            for key in section.keys
            if key.name not in _NOT_DICOM and key.name not in _SECRET
        ),
    )


def _at(known: list[SectionReference], path: str, variant: str = "") -> SectionReference:
    return next(each for each in known if (each.path, each.variant) == (path, variant))


def _value(values: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    found: Any = values
    for part in path.split("."):
        found = found[part]
    return dict(found)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return "; ".join(_shown(each) for each in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items())
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)


def write_security(page: Page, config: Config) -> None:
    """Write section 8."""
    page.heading("8", "Security")
    page.heading("8.1", "Introduction")
    page.text(
        "By default the node listens on loopback only. It is meant for a protected network; who "
        "may call is configured by AE title, address and, on request, certificate and user name."
    )
    page.heading("8.2", "External Network Requirements")
    page.text(
        "Name resolution where peers are configured by name. Clocks of machines that share a "
        "database should agree; no time service is used by the node itself."
    )
    page.heading("8.3", "TCP Port Configuration")
    page.table(("direction", "port", "used for"), _ports(config))
    page.heading("8.4", "DICOM Security Profiles Support")
    page.not_applicable("8.4.1", "Secure Use Profiles")
    page.heading("8.4.2", "Secure Transport Connection Profiles")
    page.table(
        ("connection", "profile", "TLS from", "suites of TLS 1.2", "certificates"),
        _transports(config),
    )
    page.text(
        "`bcp195` is the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 "
        "B.12). `bcp195-modified` keeps of TLS 1.2 the suites of 256 bit, after PS3.15 B.13; "
        "conformance to B.13 is not claimed, since TLS 1.3 is offered with its suite of 128 bit, "
        "too. `tls13` admits TLS 1.3 alone. Nothing older is negotiated; compression and "
        "renegotiation are off. Certificates are looked up in "
        "the revocation lists (CRL) that `revocation_lists` names, else in none; never by OCSP."
    )
    for number, title in (
        ("8.4.3", "Media Storage Security Profiles"),
        ("8.4.4", "Attribute Confidentiality Profiles"),
        ("8.4.5", "Digital Signature Profiles"),
    ):
        page.not_applicable(number, title)
    _write_audit(page, config)
    page.heading("8.5", "User Identity Negotiation Support")
    page.text("Section 7.1.1.")
    page.heading("8.6", "Web Services Security Features")
    page.text(
        "HTTPS with the certificates that are trusted by the system or by `ca_file`; bearer tokens "
        "had with client credentials (RFC 6749 4.4), or fixed headers. Secrets stand in files."
        if web_destinations(config)
        else "No DICOM web service is used."
    )
    page.heading("8.7", "Other Security Features")
    page.text(
        "Log lines hold UIDs, AE titles and addresses, metrics no UIDs; neither holds an attribute "
        "of a patient. "
        "Files of the spool are not encrypted by the node: use an encrypted disk."
    )


def _write_audit(page: Page, config: Config) -> None:
    audit = config.console.audit
    if audit is None:
        page.not_applicable("8.4.6", "Additional DICOM Security Profiles")
        return
    page.heading("8.4.6", "Additional DICOM Security Profiles")
    sent = _AUDIT_PROFILES[audit.transport]
    page.text(
        f"Audit Trail Message Format Profile (PS3.15 A.5), {sent}, to {audit.host} port "
        f"{audit.port}: what is done and seen in the console."
    )


def _ports(config: Config) -> Iterator[tuple[str, object, str]]:
    receive = config.receive
    secured = "with TLS only" if receive.tls is not None else "without TLS"
    yield "in", receive.port, f"DICOM, {secured}, on {receive.host}; all AE titles"
    for name, each in config.destinations.items():
        if isinstance(each, DimseDestination):
            words = "with TLS" if each.tls is not None else "without TLS"
            yield "out", each.port, f"DICOM, {words}, to destination {name} on {each.host}"
    for peer in config.receive.commitment.peers:
        yield "out", peer.port, f"reports of storage commitment to {peer.ae_title} on {peer.host}"
    for name, pipeline in config.pipelines.items():
        query = pipeline.completion.expected_count
        if query is not None:
            yield "out", query.port, f"queries of pipeline {name} to {query.host}"
    for name, service in web_destinations(config).items():
        yield "out", "of its URL", f"STOW-RS to destination {name}, {service.url}"


def _transports(config: Config) -> Iterator[tuple[str, ...]]:
    named: list[tuple[str, TlsServerConfig | TlsClientConfig | None]] = [
        ("all that peers open", config.receive.tls)
    ]
    named += [
        (f"to destination {name}", each.tls)
        for name, each in config.destinations.items()
        if isinstance(each, DimseDestination)
    ]
    named += [(f"reports to {peer.ae_title}", peer.tls) for peer in config.receive.commitment.peers]
    named += [
        (f"queries of pipeline {name}", query.tls)
        for name, pipeline in config.pipelines.items()
        if (query := pipeline.completion.expected_count) is not None
    ]
    for where, tls in named:
        if tls is None:
            yield where, "none: without TLS", "-", "-", "-"
            continue
        oldest, suites = describe_profile(tls.profile)
        shown = "both sides" if tls.authentication == "mutual" else "the acceptor's only"
        yield where, tls.profile, oldest, ", ".join(suites) or "none", shown
