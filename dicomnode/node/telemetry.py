"""What a process starts so that it can be watched: metrics at zero, traces where wanted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from dicomnode import __version__, tracing
from dicomnode.config import Config
from dicomnode.metrics.zeros import begin_at_zero
from dicomnode.pipeline.setup import PipelineSetup


def start_telemetry(config: Config, setups: Mapping[str, PipelineSetup], parts: ExitStack) -> None:
    """Begin to count and, where an endpoint is configured, to trace.

    Parameters
    ----------
    config : Config
    setups : mapping of str to PipelineSetup
        By pipeline name.
    parts : contextlib.ExitStack
        Takes what must be stopped.

    Raises
    ------
    StateError
        If traces are wanted and cannot be made here.
    """
    begin_at_zero(
        pipelines=config.pipelines,
        destinations=config.destinations,
        models={model for each in setups.values() for model in each.triton_models},
    )
    wanted = config.telemetry
    if wanted.endpoint is None:
        return
    tracing.start(
        wanted.endpoint,
        headers_file=wanted.headers_file,
        ca_file=wanted.ca_file,
        sample_ratio=wanted.sample_ratio,
        version=__version__,
    )
    parts.callback(tracing.stop)
