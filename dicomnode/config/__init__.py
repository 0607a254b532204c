"""The configuration: its shape, its defaults, its faults.  Alone reads settings and environment.

Sources, strongest first: ``DICOMNODE_SECTION__KEY`` in the environment, the TOML file, the defaults
of the sections.  Each component is given its own section, never the whole tree.
"""

from dicomnode.config.console import (
    AccessConfig,
    AuditConfig,
    ConsoleConfig,
    ConsoleTlsConfig,
    ProxyConfig,
)
from dicomnode.config.destinations import (
    SENDER,
    Destination,
    DicomwebDestination,
    DimseDestination,
    FallbackKind,
    FileKind,
    FolderDestination,
    OAuthConfig,
    ResultKind,
    ScConfig,
    SegConfig,
)
from dicomnode.config.fields import AETitle, Name
from dicomnode.config.inference import InferenceConfig, InferenceTlsConfig
from dicomnode.config.load import find_file, load
from dicomnode.config.pipelines import (
    ArchiveQuery,
    CompletionConfig,
    GeometryConfig,
    PipelineConfig,
    ReportConfig,
    RetentionConfig,
)
from dicomnode.config.receive import (
    AllowedCaller,
    CommitmentConfig,
    CommitmentPeer,
    ReceiveConfig,
    User,
)
from dicomnode.config.services import (
    DatabaseConfig,
    HealthConfig,
    ListenConfig,
    LogConfig,
    TelemetryConfig,
)
from dicomnode.config.storage import StorageConfig
from dicomnode.config.tls import TlsClientConfig, TlsProfile, TlsServerConfig
from dicomnode.config.tree import Config

__all__ = [
    "SENDER",
    "AETitle",
    "AccessConfig",
    "AllowedCaller",
    "ArchiveQuery",
    "AuditConfig",
    "CommitmentConfig",
    "CommitmentPeer",
    "CompletionConfig",
    "Config",
    "ConsoleConfig",
    "ConsoleTlsConfig",
    "DatabaseConfig",
    "Destination",
    "DicomwebDestination",
    "DimseDestination",
    "FallbackKind",
    "FileKind",
    "FolderDestination",
    "GeometryConfig",
    "HealthConfig",
    "InferenceConfig",
    "InferenceTlsConfig",
    "ListenConfig",
    "LogConfig",
    "Name",
    "OAuthConfig",
    "PipelineConfig",
    "ProxyConfig",
    "ReceiveConfig",
    "ReportConfig",
    "ResultKind",
    "RetentionConfig",
    "ScConfig",
    "SegConfig",
    "StorageConfig",
    "TelemetryConfig",
    "TlsClientConfig",
    "TlsProfile",
    "TlsServerConfig",
    "User",
    "find_file",
    "load",
]
