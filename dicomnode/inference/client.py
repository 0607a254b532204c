"""The one gRPC client of the inference server: readiness, contract, inference, errors.

Thread-safe: the channel is, and nothing else is kept.  What tensors mean is for `segment` and
`classify`.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from numpy.typing import NDArray

from dicomnode import metrics
from dicomnode.errors import (
    InferenceError,
    InferenceInterrupted,
    InferenceUnavailable,
)
from dicomnode.inference.calls import Deaths, repeat, wait_for_answer
from dicomnode.inference.channel import Credentials, is_loopback, open_channel
from dicomnode.inference.contract import check, is_resolved
from dicomnode.inference.kept import KeptTensors
from dicomnode.inference.measured import measured, trace_headers
from dicomnode.inference.regions import RegisteredRegions
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.statuses import ask, one_line
from dicomnode.inference.tensors import OutputSpec, check_answer, input_tensor, output_tensor
from dicomnode.inference.turns import Asker, Gates, Seats
from dicomnode.log import get_logger

_log = get_logger(__name__)

# Protocol buffers end at 2 GiB; tritonclient's own default too.
_MESSAGE_BYTES: Final = 2**31 - 1
_CHANNEL_OPTIONS: Final = [
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    # A restarted server is found again within seconds; the default backs off to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Plain loopback or cluster addresses: a proxy of the environment is meant for the web.
    ("grpc.enable_http_proxy", 0),
]

# Questions about state are answered from memory; a longest wait for each.
_STATE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1

# Of a model that is asked by name alone; a manifest says its own.
_IN_FLIGHT: Final = 8

_Answer = TypeVar("_Answer")


class TritonClient:
    """A connection to one inference server.

    Parameters
    ----------
    address : str
        ``HOST:PORT`` of the gRPC endpoint.
    timeout_seconds : float
        Deadline of one inference.
    shared_memory : bool or None
        Whether tensors may go through system shared memory; None: if the address is loopback.
    credentials : Credentials, optional
        Certificates and token; by default the connection is plain.
    explain : callable, optional
        Says why a server of our own is not there, if it knows; else None.
    seats : Seats, optional
        At its models, shared with other processes; by default nobody else asks it.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_seconds: float,
        shared_memory: bool | None = None,
        credentials: Credentials | None = None,
        explain: Callable[[], str | None] | None = None,
        seats: Seats | None = None,
    ) -> None:
        self.address = address
        self._timeout_seconds = timeout_seconds
        self._client = open_channel(address, _CHANNEL_OPTIONS, credentials)
        self._explain = explain
        self._gates = Gates(seats)
        self._asker: Asker | None = None
        self._deaths = Deaths()
        local = is_loopback(address) if shared_memory is None else shared_memory
        self._regions = RegisteredRegions(self._client, address=address, allowed=local)
        self._places: RegisteredRegions | KeptTensors = self._regions

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls in flight end with `InferenceUnavailable`."""
        self._regions.unregister_held()
        self._client.close()

    def on_behalf_of(self, asker: Asker) -> Self:
        """Return this connection for the calls of one job."""
        view = copy.copy(self)
        view._asker = asker  # noqa: SLF001  (its own, a moment old)
        return view

    @contextmanager
    def keeping_inputs(self) -> Iterator[Self]:
        """Yield a client that puts a read-only array into shared memory once, for all its calls."""
        with ExitStack() as until:
            keeping = copy.copy(self)
            keeping._places = KeptTensors(self._regions, until)  # noqa: SLF001  (of this class)
            yield keeping

    def missing(self, models: Iterable[str] = ()) -> str:
        """Say in words what of server and models is not ready now; empty if all is."""
        missing = self._missing(models, deadline_seconds=_STATE_SECONDS)
        metrics.TRITON_UP.set(0 if missing else 1)
        if missing and self._explain is not None:
            return self._explain() or missing
        return missing

    def wait_ready(
        self,
        models: Iterable[str],
        *,
        deadline_seconds: float,
        stop: threading.Event | None = None,
    ) -> None:
        """Wait until the server answers and all of `models` can be asked.

        Parameters
        ----------
        models : iterable of str
            Names of Triton models.
        deadline_seconds : float
            Longest wait.
        stop : threading.Event, optional
            Ends the wait when set.

        Raises
        ------
        InferenceUnavailable
            On expiry or stop; says what is missing and why, as far as the server tells.
        """
        names = tuple(models)
        end = time.monotonic() + deadline_seconds
        stop = threading.Event() if stop is None else stop
        while True:
            left = max(end - time.monotonic(), _POLL_SECONDS)
            missing = self._missing(names, deadline_seconds=min(left, _STATE_SECONDS))
            metrics.TRITON_UP.set(0 if missing else 1)
            if not missing:
                self._regions.sweep()
                return
            if time.monotonic() >= end:
                raise InferenceUnavailable(f"{missing}, waited {deadline_seconds:g} s for it")
            if stop.wait(_POLL_SECONDS):  # the server has no call that waits for readiness
                raise InferenceUnavailable(f"{missing}; stopped waiting for it")

    def model_states(self, *, deadline_seconds: float = _STATE_SECONDS) -> dict[str, str]:
        """Return what the server says of every model in its repositories.

        Returns
        -------
        dict
            Model name to ``READY``, or to its state and the reason for it.
        """
        index = self._ask(
            lambda: self._client.get_model_repository_index(client_timeout=deadline_seconds)
        )
        states: dict[str, str] = {}
        for each in index.models:
            state = each.state or "UNLOADED"
            text = f"{state}: {one_line(each.reason)}" if each.reason else state
            # A model with several versions is there if one of them is.
            if states.get(each.name) != "READY":
                states[each.name] = text
        return states

    def server_identity(self) -> str:
        """Return name and version of the server as it says itself: ``triton 2.51.0``."""
        told = self._ask(lambda: self._client.get_server_metadata(client_timeout=_STATE_SECONDS))
        return f"{told.name} {told.version}"

    def check_contract(self, manifest: Manifest) -> Manifest:
        """Hold the manifest against the server's model.

        Returns
        -------
        Manifest
            With a name for every tensor that it calls the only one.

        Raises
        ------
        ModelContractMismatch
            With every difference: names, dtypes and shapes, wanted and found.
        """
        name, version = manifest.triton.model, manifest.triton.version
        metadata = self._ask(
            lambda: self._client.get_model_metadata(name, version, client_timeout=_STATE_SECONDS)
        )
        config = self._ask(
            lambda: self._client.get_model_config(name, version, client_timeout=_STATE_SECONDS)
        ).config
        return check(manifest, metadata=metadata, config=config)

    def resolved(self, manifest: Manifest) -> Manifest:
        """Return the manifest with a name for every tensor; asks the server only if one lacks."""
        return manifest if is_resolved(manifest) else self.check_contract(manifest)

    def _missing(self, models: Iterable[str], *, deadline_seconds: float) -> str:
        """Say in words what is not ready; empty if all is."""
        try:
            # Not the server's own readiness: that is false while any model, also one that nobody
            # here asks, is not loaded.
            live = self._ask(lambda: self._client.is_server_live(client_timeout=deadline_seconds))
            if not live:
                return f"the inference server at {self.address} is not live"
            waiting = [name for name in models if not self._is_model_ready(name, deadline_seconds)]
            if not waiting:
                return ""
            states = self.model_states(deadline_seconds=deadline_seconds)
        except InferenceError as error:
            return str(error)
        told = ", ".join(
            f"{name} ({states.get(name, 'not in its repository')})" for name in waiting
        )
        return f"the inference server at {self.address} has no model ready for: {told}"

    def _is_model_ready(self, name: str, deadline_seconds: float) -> bool:
        return bool(
            self._ask(lambda: self._client.is_model_ready(name, client_timeout=deadline_seconds))
        )

    def infer(
        self,
        model: str | Manifest,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Mapping[str, OutputSpec],
        *,
        version: str = "",
        cancelled: Callable[[], bool] | None = None,
        max_in_flight: int = _IN_FLIGHT,
    ) -> dict[str, NDArray[Any]]:
        """Ask a model.

        What passes by itself within moments (a full queue, a connection lost) is tried again a few
        times; what takes longer is for the caller, who can wait durably.

        Parameters
        ----------
        model : str or Manifest
            A Triton model's name, or the manifest that names it, its version and its limit.
        inputs : mapping of str to numpy.ndarray
            By tensor name, C-contiguous.
        outputs : mapping of str to (dtype, shape or None)
            What is asked for, by tensor name.
        version : str, optional
            Of the Triton model; the server's choice if empty.
        cancelled : callable, optional
            Asked now and then; True ends the call here and in the server.
        max_in_flight : int
            Calls to this model at the same time, of all that share its seats; the others wait.

        Returns
        -------
        dict
            The arrays asked for, of the dtypes and shapes asked for.

        Raises
        ------
        InferenceUnavailable, InferenceTimeout
            The server or model is not there, or did not answer in time.
        InferenceInterrupted
            It went while it was asked.  Of calls that are cut off together one is told so, the
            others that it is not there.
        InferenceRejected
            The server or the model refused the request.
        InferenceCancelled
            `cancelled` said so.
        ModelContractMismatch
            The answer has another dtype or shape than wanted.
        """
        if isinstance(model, Manifest):
            return self.infer(
                model.triton.model,
                inputs,
                outputs,
                version=model.triton.version,
                cancelled=cancelled,
                max_in_flight=model.triton.max_in_flight,
            )
        with self._gates.enter(
            model,
            max_in_flight,
            seconds=self._timeout_seconds,
            cancelled=cancelled,
            asker=self._asker,
        ):
            return repeat(
                lambda: self._infer_once(model, inputs, outputs, version, cancelled),
                seconds=self._timeout_seconds,
                cancelled=cancelled,
            )

    def _infer_once(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Mapping[str, OutputSpec],
        version: str,
        cancelled: Callable[[], bool] | None,
    ) -> dict[str, NDArray[Any]]:
        self._regions.unregister_held()
        self._regions.sweep_now_and_then()
        with ExitStack() as regions, measured(model):
            asked = [
                input_tensor(name, array, self._places, regions) for name, array in inputs.items()
            ]
            wanted: list[Any] = []
            shared: dict[str, NDArray[Any]] = {}
            for name, spec in outputs.items():
                output, array = output_tensor(name, spec, self._regions, regions)
                wanted.append(output)
                if array is not None:
                    shared[name] = array
            end = f"model {model!r} did not answer within {self._timeout_seconds:g} s"
            try:
                result = self._ask(
                    lambda: wait_for_answer(
                        lambda note: self._client.async_infer(
                            model,
                            asked,
                            note,
                            model_version=version,
                            outputs=wanted,
                            headers=trace_headers(),
                            client_timeout=self._timeout_seconds,
                        ),
                        cancelled=cancelled,
                    ),
                    timeout_sentence=end,
                )
            except InferenceInterrupted as error:
                if self._deaths.is_first(time.monotonic()):
                    raise
                raise InferenceUnavailable(str(error)) from error.__cause__
            for name, spec in outputs.items():
                check_answer(model, name, spec, result.get_output(name))
            return {
                name: shared[name] if name in shared else result.as_numpy(name) for name in outputs
            }

    def _ask(
        self, call: Callable[[], _Answer], *, timeout_sentence: str = "no answer in time"
    ) -> _Answer:
        return ask(call, address=self.address, timeout_sentence=timeout_sentence)
