"""The whole tree of sections.  Values come in through `load` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from dicomnode.config.console import ConsoleConfig
from dicomnode.config.destinations import Destination, DimseDestination
from dicomnode.config.fields import Name, Seconds
from dicomnode.config.inference import InferenceConfig
from dicomnode.config.pipelines import PipelineConfig, RetentionConfig
from dicomnode.config.receive import ReceiveConfig
from dicomnode.config.services import DatabaseConfig, HealthConfig, LogConfig, TelemetryConfig
from dicomnode.config.storage import StorageConfig

ENV_PREFIX: Final = "DICOMNODE_"


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
    storage: StorageConfig | None = Field(
        None, description="Absent: all processes share the disk of data_dir."
    )
    inference: InferenceConfig = InferenceConfig()
    retention: RetentionConfig = RetentionConfig()
    pipelines: dict[Name, PipelineConfig] = Field(min_length=1)
    destinations: dict[Name, Destination]
    log: LogConfig = LogConfig()
    telemetry: TelemetryConfig = TelemetryConfig()

    @property
    def asks_for_commitment(self) -> bool:
        """Whether some destination is asked for storage commitment, so that answers may come."""
        return any(
            isinstance(each, DimseDestination) and each.storage_commitment
            for each in self.destinations.values()
        )

    @classmethod
    def settings_customise_sources(cls, *_sources: Any, **_named: Any) -> tuple[Any, ...]:
        """Take values from `load` alone, which has merged file and environment."""
        return (_named["init_settings"],) if "init_settings" in _named else _sources[1:2]
