"""The configuration: its shape, its defaults, its faults.  Alone reads settings and environment.

Sources, strongest first: ``DICOMNODE_SECTION__KEY`` in the environment, the TOML file, the defaults
below.  Each component is given its own section, never the whole tree.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from dicomnode.errors import ConfigError
from dicomnode.model.selection import SelectionRules
from dicomnode.standard.ae import AEAddress, check_ae_title
from dicomnode.standard.sop_classes import CT_SOP_CLASSES
from dicomnode.standard.uids import is_valid_uid

ENV_PREFIX: Final = "DICOMNODE_"
_ENV_NOT_KEYS: Final = ("DICOMNODE_CONFIG",)
_PASSWORD: Final = re.compile(r"//[^/\s]+@")

AETitle = Annotated[str, AfterValidator(check_ae_title)]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _check_host(host: str) -> str:
    """Accept an address or network, reject what could never match a peer's address."""
    ipaddress.ip_network(host, strict=False)
    return host


def _check_distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    for value, count in Counter(values).items():
        if count > 1:
            raise ValueError(f"{value!r} is listed twice")
    return values


def _check_address(text: str) -> str:
    AEAddress.parse(text)
    return text


def _check_uid(uid: str) -> str:
    if not is_valid_uid(uid):
        raise ValueError("wanted a UID (PS3.5 9.1)")
    return uid


Address = Annotated[str, AfterValidator(_check_address)]
PeerHost = Annotated[str, AfterValidator(_check_host)]
Names = Annotated[tuple[Name, ...], AfterValidator(_check_distinct)]
Uid = Annotated[str, AfterValidator(_check_uid)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AllowedCaller(_Section):
    """A peer that may open associations."""

    ae_title: AETitle = Field(description="Calling AE title.")
    hosts: tuple[PeerHost, ...] = Field(
        min_length=1, description="Addresses or networks (192.0.2.0/24) it may call from."
    )
    return_to: Address | None = Field(
        None, description='AET@HOST:PORT for results with the destination "sender".'
    )


TlsProfile = Literal["bcp195", "bcp195-modified", "tls13"]


class _Tls(_Section):
    profile: TlsProfile = Field(
        "bcp195",
        description="bcp195: BCP 195 RFC 8996, RFC 9325 (TLS 1.2 and 1.3); bcp195-modified: its "
        "cipher suites of 256 bit only; tls13: TLS 1.3 alone.",
    )
    authentication: Literal["mutual", "server"] = Field(
        "mutual", description="Who shows a certificate: both sides, or the server only."
    )
    authorities: Path | None = Field(
        None, description="PEM file with the CA certificates that peers must come from."
    )
    certificate: Path | None = Field(
        None, description="PEM file with our certificate, then its intermediate ones."
    )
    key: Path | None = Field(None, description="PEM file with our private key.")
    key_passphrase_file: Path | None = Field(
        None, description="File that holds the passphrase of an encrypted key."
    )


class TlsServerConfig(_Tls):
    """TLS where peers call us."""

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        needed = ["certificate", "key"]
        if self.authentication == "mutual":
            needed.append("authorities")
        return _require(self, needed)


class TlsClientConfig(_Tls):
    """TLS where we call a peer."""

    check_host: bool = Field(
        True, description="Whether the peer's certificate must name the host that is called."
    )

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        needed = ["authorities"]
        if self.authentication == "mutual":
            needed += ["certificate", "key"]
        return _require(self, needed)


_Model = TypeVar("_Model", bound=BaseModel)


def _require(section: _Model, keys: list[str]) -> _Model:
    missing = [key for key in keys if getattr(section, key) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given")
    return section


class User(_Section):
    """A user that may open associations (PS3.7 D.3.3.7)."""

    name: str = Field(min_length=1, max_length=64, description="As peers send it.")
    password_file: Path = Field(description="File that holds the password, one line.")


class CommitmentPeer(_Section):
    """Where storage commitment results go that cannot go over the association of the request."""

    ae_title: AETitle = Field(description="Calling AE title that the request came with.")
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: TlsClientConfig | None = Field(None, description="Absent: without TLS.")


class CommitmentConfig(_Section):
    """The Storage Commitment SCP, push model (PS3.4 J)."""

    peers: tuple[CommitmentPeer, ...] = Field(
        (), description="Who is called back. Others get the result on their own association only."
    )
    timeout_seconds: Seconds = Field(30.0, description="For connecting and for each answer.")
    max_attempts: int = Field(8, ge=1, le=100, description="Then the result is parked.")
    first_retry_seconds: Seconds = Field(10.0, description="Doubled after each attempt.")
    longest_retry_seconds: Seconds = Field(3600.0, description="Upper limit of the doubling.")


class ReceiveConfig(_Section):
    """The storage SCP."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: Port = Field(11112, description="Port to listen on; 0 takes a free one.")
    allowed_callers: tuple[AllowedCaller, ...] = Field(
        (), description="Who may call. Empty: any AE title, from this machine only."
    )
    max_associations: int = Field(16, ge=1, le=1000, description="Open at the same time, in all.")
    max_associations_per_peer: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Open at the same time, from one address. By default all but two.",
    )
    max_pdu_bytes: int = Field(
        131_072, ge=4096, le=1_048_576, description="Largest P-DATA PDU accepted (PS3.8 D.1)."
    )
    data_path: Literal["fast", "pynetdicom"] = Field(
        "fast",
        description="fast: C-STORE data goes straight from the socket into the spool; pynetdicom: "
        "the library's own way, the slower reference.",
    )
    acse_timeout_seconds: Seconds = Field(30.0, description="For negotiation and release.")
    dimse_timeout_seconds: Seconds = Field(60.0, description="For the rest of a message.")
    network_timeout_seconds: Seconds = Field(60.0, description="An idle association is aborted.")
    reserve_bytes: int = Field(
        1_000_000_000, ge=0, description="Free disk space below which instances are refused."
    )
    headroom_bytes: int = Field(
        500_000_000,
        ge=0,
        description="Free disk space beyond the reserve below which associations are rejected.",
    )
    max_instance_bytes: int = Field(4_000_000_000, ge=1, description="Largest data set accepted.")
    tls: TlsServerConfig | None = Field(None, description="Absent: without TLS.")
    users: tuple[User, ...] = Field(
        (), description="Who may call, by user name and password. Empty: nobody is asked."
    )
    commitment: CommitmentConfig = CommitmentConfig()


class ConsoleConfig(_Section):
    """Health, metrics and the job list over HTTP."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: Port = Field(8080, description="Port to listen on; 0 takes a free one.")


class HealthConfig(ConsoleConfig):
    """Health and metrics of a role that runs alone and has no console."""

    port: Port = Field(8081, description="Port to listen on; 0 takes a free one.")


class DatabaseConfig(_Section):
    """Where series, jobs and deliveries are recorded."""

    url: str = Field(
        "sqlite",
        pattern=r"^(sqlite|postgresql(\+psycopg)?://.+)$",
        description='"sqlite" for the embedded file in data_dir, or postgresql://...',
    )


class InferenceTlsConfig(_Section):
    """TLS towards a Triton server of its own."""

    ca_file: Path | None = Field(
        None, description="Certificates to trust, PEM; by default the public ones."
    )
    cert_file: Path | None = Field(None, description="Our own, PEM, if the server asks for one.")
    key_file: Path | None = Field(None, description="The key to it, PEM.")


class InferenceConfig(_Section):
    """The Triton server and its models."""

    triton: str = Field(
        "embedded",
        pattern=r"^(embedded|[^:/\s]+:\d{1,5})$",
        description='"embedded", or HOST:PORT of a server\'s gRPC endpoint.',
    )
    model_repositories: tuple[Path, ...] = Field(
        (), description="Further folders with models and manifests, beside the shipped one."
    )
    timeout_seconds: Seconds = Field(300.0, description="Deadline of one inference call.")
    startup_seconds: Seconds = Field(120.0, description="Longest wait for server and models.")
    tls: InferenceTlsConfig | None = Field(None, description="Absent: plain. For HOST:PORT only.")
    token_file: Path | None = Field(
        None, description="Bearer token sent with every call, read anew for each. Needs tls."
    )
    model_instances: dict[str, Annotated[int, Field(ge=1, le=32)]] = Field(
        {}, description="Instances of a Triton model in the embedded server, by its name."
    )
    model_threads: int | None = Field(
        None, ge=1, le=256, description="Threads of a model's instance in the embedded server."
    )


class ArchiveQuery(_Section):
    """A Query SCP that knows how many instances a series has (PS3.4 C.6.2)."""

    host: str = Field(min_length=1, description="Of the sender, or of an archive.")
    port: int = Field(ge=1, le=65535)
    ae_title: AETitle | None = Field(
        None, description="Its AE title; by default that of the sender of the series."
    )
    timeout_seconds: Seconds = Field(5.0, description="For connecting and for each answer.")
    tls: TlsClientConfig | None = Field(None, description="Absent: without TLS.")


class CompletionConfig(_Section):
    """When a series is complete."""

    settle_seconds: Seconds = Field(
        1.0,
        description="After the last release, where slices lie without a gap.",
    )
    quiet_seconds: Seconds = Field(
        5.0, description="Otherwise: no new instance and no open association for this long."
    )
    deadline_seconds: Seconds = Field(
        3600.0, description="The longest wait after the first instance."
    )
    at_deadline: Literal["proceed", "hold"] = Field(
        "proceed", description="Analyze what has come by then, or hold the series for a person."
    )
    expected_count: ArchiveQuery | None = Field(
        None, description="Ask an archive how many instances the series has."
    )


class GeometryConfig(_Section):
    """What may pass the geometry gate."""

    gaps: Literal["refuse", "largest_block"] = Field(
        "refuse", description="Missing slices: refuse, or analyze the largest block without any."
    )
    acquisitions: Literal["refuse", "first", "last", "most_slices"] = Field(
        "refuse", description="Several acquisitions at the same positions: which one."
    )
    min_slices: int = Field(3, ge=3, le=5000, description="Fewer make no volume.")
    irregular_tolerance: float = Field(
        0.25,
        ge=0.05,
        le=0.5,
        description="Farthest a slice may lie from its place, in spacings; it is resampled.",
    )


class ReportConfig(_Section):
    """What reports claim, and whether a refusal is sent."""

    not_analyzed: Literal["send", "record"] = Field(
        "send",
        description='send: a report "not analyzed" with the reason; record: in the job list only.',
    )
    completion: Literal["complete", "partial"] = Field(
        "complete", description="Completion Flag (PS3.3 C.17.2)."
    )
    preliminary: bool = Field(
        True, description="Preliminary Flag: true PRELIMINARY, false FINAL (PS3.3 C.17.2)."
    )


Days = Annotated[float, Field(ge=0, le=36_500)]
Share = Annotated[float, Field(gt=0, le=1)]


class RetentionConfig(_Section):
    """How long what is settled is kept: delivered, committed where asked, or given up."""

    received_days: Days = Field(7.0, description="Received instances.")
    results_days: Days = Field(30.0, description="Result files.")
    records_days: Days = Field(365.0, description="Rows, after the files are gone.")
    high_watermark: Share = Field(
        0.9, description="Disk fuller than this: settled things go whatever their age."
    )
    low_watermark: Share = Field(0.8, description="Until it is no fuller than this.")


class PipelineConfig(_Section):
    """What happens to series sent to one called AE title."""

    ae_title: AETitle = Field(description="Called AE title, exactly as peers use it.")
    segment: Names = Field(
        ("lung", "opacities"),
        min_length=1,
        max_length=16,
        description="Segmentation manifests, in order.",
    )
    classify: Names = Field(("opacity",), description="Classification manifests.")
    destinations: Names = Field(description="Where results go, by name.")
    store_classes: Annotated[tuple[Uid, ...], AfterValidator(_check_distinct)] = Field(
        CT_SOP_CLASSES, min_length=1, description="SOP classes that are stored, by UID."
    )
    other_classes: Literal["ignore", "refuse"] = Field(
        "ignore",
        description="ignore: others are answered with Success, not kept; refuse: not negotiated.",
    )
    duplicates: Literal["keep-first", "replace", "refuse"] = Field(
        "keep-first",
        description="Which of two instances with one SOP Instance UID and different content stays.",
    )
    quota_bytes: int | None = Field(
        None, ge=1, description="Most that may be stored for it. Absent: no limit of its own."
    )
    completion: CompletionConfig = CompletionConfig()
    report: ReportConfig = ReportConfig()
    selection: SelectionRules = SelectionRules()
    geometry: GeometryConfig = GeometryConfig()
    retention: RetentionConfig | None = Field(
        None, description="For this pipeline; by default the general one."
    )


SENDER: Final = "sender"
"""As a destination: whoever sent the series, at its `return_to`."""

ResultKind = Literal["seg", "sr", "sc"]
FileKind = Literal["seg", "sr", "sc", "json", "png", "nifti"]
FallbackKind = Literal["sr", "comprehensive-sr", "enhanced-sr", "sc"]


class SegConfig(_Section):
    """What segmentations for a destination look like."""

    type: Literal["binary", "labelmap"] = Field(
        "binary",
        description="labelmap: Label Map Segmentation, which few archives know yet; binary all the "
        "same where segments overlap.",
    )
    compression: Literal["none", "deflate", "rle", "jpeg-ls", "jpeg-2000"] = Field(
        "none", description="Without loss. Frame by frame (rle, jpeg-*) for labelmap only."
    )
    omit_empty_frames: bool = Field(
        True, description="false: a frame for every slice, for viewers that ask for it."
    )
    empty_segments: Literal["omit", "keep"] = Field(
        "omit", description="keep: also segments without a voxel, with empty frames."
    )

    @model_validator(mode="after")
    def _check_compression(self) -> Self:
        if self.type == "binary" and self.compression not in ("none", "deflate"):
            raise ValueError(
                f"compression of binary segmentations is none or deflate, "
                f"found {self.compression!r}"
            )
        return self


class ScConfig(_Section):
    """What secondary captures for a destination look like."""

    form: Literal["images", "multi-frame"] = Field(
        "images", description="images: one instance a picture; multi-frame: one in all."
    )


class _Destination(_Section):
    seg: SegConfig = SegConfig()
    sc: ScConfig = ScConfig()
    max_attempts: int = Field(8, ge=1, le=100, description="Then the delivery is parked.")
    first_retry_seconds: Seconds = Field(10.0, description="Doubled after each attempt.")
    longest_retry_seconds: Seconds = Field(3600.0, description="Upper limit of the doubling.")
    concurrency: int = Field(1, ge=1, le=16, description="Deliveries at the same time.")
    per_minute: float | None = Field(
        None, gt=0, le=6000, description="Deliveries a minute at most; none: no limit."
    )


class _DicomDestination(_Destination):
    objects: Annotated[tuple[ResultKind, ...], AfterValidator(_check_distinct)] = Field(
        ("seg", "sr"), min_length=1, description="What is sent: seg, sr, sc."
    )
    fallback: Annotated[tuple[FallbackKind, ...], AfterValidator(_check_distinct)] = Field(
        ("sr", "comprehensive-sr", "enhanced-sr"),
        description="What is sent in place of an object that is refused for good: sr and sc for a "
        "SEG, comprehensive-sr and then enhanced-sr for an SR.",
    )


class DimseDestination(_DicomDestination):
    """A storage SCP."""

    kind: Literal["dimse"]
    ae_title: AETitle = Field(description="Its AE title.")
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    calling_ae_title: AETitle | None = Field(
        None, description="Ours towards it; by default the pipeline's."
    )
    timeout_seconds: Seconds = Field(30.0, description="For connecting and for each answer.")
    tls: TlsClientConfig | None = Field(None, description="Absent: without TLS.")
    storage_commitment: bool = Field(
        False, description="Ask it to commit itself to what it took (PS3.4 J)."
    )
    commitment_seconds: Seconds = Field(
        3600.0, description="Without its answer by then the objects are sent again."
    )


class OAuthConfig(_Section):
    """Client credentials (RFC 6749 4.4)."""

    token_url: str = Field(pattern=r"^https?://\S+$", description="Where tokens are had.")
    client_id: str = Field(min_length=1)
    client_secret_file: Path = Field(description="The secret alone, in a file.")
    scope: str | None = Field(None, description="Asked for, if any.")


class DicomwebDestination(_DicomDestination):
    """A STOW-RS service (PS3.18 10.5)."""

    kind: Literal["dicomweb"]
    url: str = Field(
        pattern=r"^https?://[^\s?#@]+$", description="Base of the service, without /studies."
    )
    headers_file: Path | None = Field(
        None, description='Lines "Name: value" sent with each request, such as Authorization.'
    )
    oauth: OAuthConfig | None = Field(None, description="Or client credentials.")
    ca_file: Path | None = Field(None, description="Certificates to trust; the system's if none.")
    timeout_seconds: Seconds = Field(60.0, description="For connecting and for each answer.")


class FolderDestination(_Destination):
    """A folder, one subfolder a series."""

    kind: Literal["folder"]
    objects: Annotated[tuple[FileKind, ...], AfterValidator(_check_distinct)] = Field(
        ("seg", "sr"), min_length=1, description="What is written: seg, sr, sc, json, png, nifti."
    )
    path: Path = Field(description="Made if missing.")


Destination = Annotated[
    DimseDestination | DicomwebDestination | FolderDestination, Field(discriminator="kind")
]


class LogConfig(_Section):
    """Log lines on standard error."""

    form: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else json."
    )
    level: Literal["debug", "info", "warning", "error"] = "info"


_DEFAULT_PIPELINES: Final = {"chest-ct": {"ae_title": "DICOMNODE", "destinations": ["results"]}}


class Config(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__"
    )

    data_dir: Path = Field(
        Path("dicomnode-data"), description="Spool, embedded database, outbox, logs."
    )
    drain_seconds: Seconds = Field(
        60.0,
        description="After SIGTERM running work may take this long before it is left for later.",
    )
    work_concurrency: int = Field(2, ge=1, le=64, description="Analyses at the same time.")
    receive: ReceiveConfig = ReceiveConfig()
    console: ConsoleConfig = ConsoleConfig()
    health: HealthConfig | None = Field(
        None, description="For `receive` and `work` alone; absent: none. `serve` has the console's."
    )
    database: DatabaseConfig = DatabaseConfig()
    inference: InferenceConfig = InferenceConfig()
    retention: RetentionConfig = RetentionConfig()
    pipelines: dict[Name, PipelineConfig] = Field(min_length=1)
    destinations: dict[Name, Destination]
    log: LogConfig = LogConfig()

    @classmethod
    def settings_customise_sources(cls, *_sources: Any, **_named: Any) -> tuple[Any, ...]:
        """Take values from `load` alone, which has merged file and environment."""
        return (_named["init_settings"],) if "init_settings" in _named else _sources[1:2]


def find_file(explicit: Path | None) -> Path | None:
    """Return the file to read: `explicit`, else ``DICOMNODE_CONFIG``, else ``./dicomnode.toml``.

    Returns
    -------
    Path or None
        None means the built-in defaults.
    """
    if explicit is not None:
        return explicit
    named = os.environ.get("DICOMNODE_CONFIG")
    if named:
        return Path(named)
    here = Path("dicomnode.toml")
    return here if here.is_file() else None


def load(path: Path | None) -> Config:
    """Read file and environment and build the tree.

    Parameters
    ----------
    path : Path or None
        From `find_file`; None for the built-in defaults.

    Raises
    ------
    ConfigError
        With every fault found, each naming its dotted path.
    """
    values = _read(path) if path is not None else {}
    faults = list(_merge_environment(values))
    if "pipelines" not in values and "destinations" not in values:
        data_dir = Path(str(values.get("data_dir", "dicomnode-data")))
        values["pipelines"] = dict(_DEFAULT_PIPELINES)
        values["destinations"] = {
            "results": {"kind": "folder", "path": str(data_dir / "results")},
        }
    config: Config | None = None
    try:
        config = Config(**values)
    except ValidationError as error:
        faults.extend(_describe(error))
    faults.extend(_cross_faults(values))
    if faults or config is None:
        raise ConfigError(tuple(faults))
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError((f"{path}: is not TOML: {error}",)) from error


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _merge_environment(values: dict[str, Any]) -> Iterator[str]:
    """Let the environment's values win; name the variables that set nothing: typos, no JSON."""
    source = EnvSettingsSource(Config)
    for variable in sorted(os.environ):
        if not variable.startswith(ENV_PREFIX) or variable in _ENV_NOT_KEYS:
            continue
        key = variable.removeprefix(ENV_PREFIX).lower().split("__")[0]
        if key not in Config.model_fields:
            yield f"{variable}: no such key{_nearest(key, Config.model_fields)}"
            continue
        source.env_vars = {variable.lower(): os.environ[variable]}
        try:
            found = source()
        except SettingsError:
            yield f"{variable}: a list or a section is written as JSON, found something else"
            continue
        for section in ("pipelines", "destinations"):
            if isinstance(named := found.get(section), Mapping):
                # A hyphen is no character of a variable; an underscore is none of a name.
                found[section] = {name.replace("_", "-"): each for name, each in named.items()}
        _merge(values, found)


def _describe(error: ValidationError) -> Iterator[str]:
    errors = error.errors(include_url=False)
    locations = [each["loc"] for each in errors]
    for each in errors:
        loc = each["loc"]
        if any(len(other) > len(loc) and other[: len(loc)] == loc for other in locations):
            continue  # "too short" of a list whose element is at fault is noise
        path, model = _descend(loc)
        dotted = ".".join(path)
        if each["type"] == "extra_forbidden":
            known = model.model_fields if model is not None else ()
            yield f"{dotted}: no such key{_nearest(path[-1], known)}"
        elif each["type"] == "missing":
            yield f"{dotted}: is required"
        elif each["type"] == "union_tag_not_found":
            yield f"{dotted}.kind: is required"
        elif each["type"] == "union_tag_invalid":
            context = each["ctx"]
            wanted = context["expected_tags"].replace(", ", " or ")
            yield f"{dotted}.kind: wanted {wanted}, found {context['tag']!r}"
        else:
            message = each["msg"].removeprefix("Value error, ")
            found = "" if isinstance(each["input"], Mapping) else f", found {each['input']!r}"
            yield f"{dotted}: {message[0].lower()}{message[1:]}{_PASSWORD.sub('//...@', found)}"


def _descend(loc: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """Follow a pydantic location; drop union tags; return the model that holds its last key."""
    path: list[str] = []
    kind: Any = Config
    model: type[BaseModel] | None = None
    for part in loc:
        if part == "[key]":  # the fault is in the name itself
            continue
        if isinstance(kind, dict):  # a union by tag: the part is the tag, not a key
            kind = kind.get(str(part))
            continue
        path.append(str(part))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
            field = kind.model_fields.get(str(part))
            kind = _unwrap(field.annotation) if field is not None else None
        elif isinstance(kind, tuple):
            kind = _unwrap(kind[0])
    return path, model


def _unwrap(annotation: Any) -> Any:
    """Return a model, ``(element,)`` of a container, or ``{tag: model}`` of a union by tag."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (dict, tuple):
        return (arguments[1] if origin is dict else arguments[0],)
    models = [each for each in arguments if isinstance(each, type) and issubclass(each, BaseModel)]
    if len(models) > 1:
        return {get_args(each.model_fields["kind"].annotation)[0]: each for each in models}
    return annotation


def _nearest(key: str, known: Any) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _cross_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """Check what one section says of another, on raw values, so that no fault hides another."""
    inference = values.get("inference")
    if isinstance(inference, Mapping):
        yield from _inference_faults(inference)
    pipelines = values.get("pipelines")
    destinations = values.get("destinations")
    if not isinstance(pipelines, Mapping):
        return
    named = destinations if isinstance(destinations, Mapping) else {}
    titles: Counter[str] = Counter()
    for name, pipeline in pipelines.items():
        if not isinstance(pipeline, Mapping):
            continue
        title = pipeline.get("ae_title")
        if isinstance(title, str):
            titles[title.strip()] += 1
            if titles[title.strip()] > 1:
                yield f"pipelines.{name}.ae_title: {title!r} already names another pipeline"
        wanted = pipeline.get("destinations")
        for index, destination in enumerate(wanted if isinstance(wanted, list | tuple) else ()):
            if destination not in named and destination != SENDER:
                yield (
                    f"pipelines.{name}.destinations.{index}: no destination is called "
                    f"{destination!r}{_nearest(str(destination), named)}"
                )
    yield from _sender_faults(pipelines, named, values)


def _sender_faults(
    pipelines: Mapping[str, Any], named: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[str]:
    for name, pipeline in pipelines.items():
        wanted = pipeline.get("destinations") if isinstance(pipeline, Mapping) else None
        if isinstance(wanted, list | tuple) and SENDER in wanted and not _can_return(values):
            index = list(wanted).index(SENDER)
            yield (
                f"pipelines.{name}.destinations.{index}: nobody in receive.allowed_callers has a "
                "return_to"
            )
    if SENDER in named:
        yield f"destinations.{SENDER}: the name is taken: it means whoever sent the series"


def _can_return(values: Mapping[str, Any]) -> bool:
    receive = values.get("receive")
    callers = receive.get("allowed_callers") if isinstance(receive, Mapping) else None
    return any(
        isinstance(each, Mapping) and each.get("return_to")
        for each in (callers if isinstance(callers, list | tuple) else ())
    )


def _inference_faults(inference: Mapping[str, Any]) -> Iterator[str]:
    is_embedded = inference.get("triton", "embedded") == "embedded"
    for key in ("tls", "token_file"):
        if is_embedded and inference.get(key) is not None:
            yield f'inference.{key}: is for a server of its own, found triton = "embedded"'
    for key in ("model_instances", "model_threads"):
        if not is_embedded and inference.get(key):
            yield f"inference.{key}: is for the embedded server, another one has its own"
    if not is_embedded and inference.get("token_file") and inference.get("tls") is None:
        yield "inference.token_file: wanted [inference.tls] with it, a token is never sent in clear"
    tls = inference.get("tls")
    if isinstance(tls, Mapping) and (tls.get("cert_file") is None) != (tls.get("key_file") is None):
        yield "inference.tls.key_file: wanted together with cert_file, found one without other"
