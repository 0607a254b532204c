"""The error tree: every failure the node names, with its code and whether a retry can help.

NodeError                        code . retryable . a sentence without patient data
|-- ConfigError             1xx  no
|-- ReceiveError            2xx       carries the C-STORE status to answer with
|   |-- SpoolFull                     0xA700 Refused: out of resources
|   |-- SopClassMismatch              0xA900 Data Set does not match SOP Class
|   |-- InstanceUnreadable            0xC000 Cannot understand
|   |-- InstanceTooLarge              0xA700 Refused: out of resources
|   `-- DuplicateInstance             0x0111 Refused: duplicate SOP Instance (PS3.7 C.5)
|-- SeriesError             3xx  no   the series cannot become a volume; names the slices
|   |-- NoImages, MixedGeometry, DuplicatePositions, MissingSlices,
|   `-- IrregularSpacing, TooFewSlices, UnsupportedImage, PixelsUnreadable
|-- InferenceError          4xx
|   |-- InferenceUnavailable     yes  server or model not there
|   |   `-- InferenceInterrupted     yes  it went while it computed
|   |-- InferenceTimeout         yes  deadline passed
|   |-- InferenceRejected        no   the server refused the request
|   |-- ModelContractMismatch    no   wanted and found
|   |-- ManifestInvalid          no
|   `-- InferenceCancelled       no   the caller gave up, and the server was told
|-- ResultError             5xx  no
|-- SendError               6xx
|   |-- AssociationUnavailable   yes
|   |-- AssociationRejected      by the standard: transient yes, permanent no
|   |-- ContextNotAccepted       no
|   |-- StoreRefused             by status class
|   |-- DestinationUnavailable   yes  a web service or folder that cannot be used now
|   `-- DestinationRefused       no   a web service that does not want the request
|-- StateError              7xx  no   stored state contradicts itself
|   `-- StorageUnavailable         yes  the object store does not answer
`-- DemoFailed              8xx  no

Codes are the interface; texts are not.  Nothing of a patient may stand in a text.
"""

from __future__ import annotations

from typing import ClassVar


class NodeError(Exception):
    """Root of everything the node raises on purpose."""

    code: ClassVar[int] = 0
    retryable: bool = False
    advice: ClassVar[str] = "Read the sentence; the log has more."
    """What an operator does about it; the reference of errors has it."""


class ConfigError(NodeError):
    """One or more configuration faults, all of them.

    Attributes
    ----------
    faults : tuple of str
        One sentence a fault, each beginning with the dotted path of the key.
    """

    code = 100
    advice = "Correct each key that is named; `dicomnode config check` tries again."

    def __init__(self, faults: tuple[str, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class ReceiveError(NodeError):
    """An instance that cannot be taken; `status` is the C-STORE answer (PS3.4 B.2.3)."""

    code = 200
    advice = "Look at the log line `instance_refused`, and at `dicomnode quarantine list`."
    status: ClassVar[int] = 0xC000


class SpoolFull(ReceiveError):
    """There is no room left to store an instance safely."""

    code = 201
    advice = "Make room or raise the quota; the sender sends again."
    status = 0xA700
    retryable = True


class SopClassMismatch(ReceiveError):
    """The data set's SOP Class or Instance UID is not the one that the command names."""

    code = 202
    advice = "Have the sender's vendor mend it: command and data set contradict each other."
    status = 0xA900


class InstanceUnreadable(ReceiveError):
    """The data set cannot be understood."""

    code = 203
    advice = "Look at the object in quarantine; `dicomnode quarantine release` takes it up again."
    status = 0xC000


class InstanceTooLarge(ReceiveError):
    """The data set is larger than the configuration admits."""

    code = 204
    advice = "Raise `receive.max_instance_bytes` if such objects are wanted."
    status = 0xA700


class DuplicateInstance(ReceiveError):
    """Another data set was stored before under the same SOP Instance UID."""

    code = 205
    advice = "Find out who sends two objects under one UID; `duplicates` decides which stays."
    status = 0x0111


class SeriesError(NodeError):
    """A series that cannot become a volume.

    Attributes
    ----------
    reason : str
        A stable name in snake case, for records and reports.
    """

    code = 300
    advice = "Read the report or `dicomnode series show`; send what is missing, or another series."
    reason: ClassVar[str] = "series_unusable"


class NoImages(SeriesError):
    """No instance of the series is an image the node can use."""

    code = 301
    advice = "Route image series only; check `store_classes`."
    reason = "no_images"


class MixedGeometry(SeriesError):
    """Orientation, matrix, pixel spacing or Frame of Reference differ within the series."""

    code = 302
    advice = "Have the scanner or PACS split the series; it holds several reconstructions."
    reason = "mixed_geometry"


class DuplicatePositions(SeriesError):
    """Two different images lie at the same position."""

    code = 303
    advice = "Choose with the pipeline's `geometry.acquisitions`, or split the series."
    reason = "duplicate_positions"


class MissingSlices(SeriesError):
    """A gap between slices is a multiple of the spacing."""

    code = 304
    advice = "Send the missing slices; or set the pipeline's `geometry.gaps`."
    reason = "missing_slices"


class IrregularSpacing(SeriesError):
    """The slices are not evenly spaced."""

    code = 305
    advice = "Send another reconstruction; `geometry.irregular_tolerance` has the limit."
    reason = "irregular_spacing"


class TooFewSlices(SeriesError):
    """The series has fewer slices than a volume needs."""

    code = 306
    advice = "Send a whole series; `geometry.min_slices` has the limit."
    reason = "too_few_slices"


class UnsupportedImage(SeriesError):
    """An image is of a kind that this node does not turn into a volume."""

    code = 307
    advice = "Send CT slices or Enhanced CT; the sentence names what was found."
    reason = "unsupported_image"


class PixelsUnreadable(SeriesError):
    """Pixel data is absent, short or cannot be decoded."""

    code = 308
    advice = "Send the series again, uncompressed if the sender can."
    reason = "pixels_unreadable"


class InferenceError(NodeError):
    """A model could not be asked, or answered with something unusable."""

    code = 400
    advice = "Look at Triton's log and at `dicomnode models check`."


class InferenceUnavailable(InferenceError):
    """The inference server or a model on it is not there."""

    code = 401
    advice = "Start or mend Triton; jobs wait and go on by themselves."
    retryable = True


class InferenceInterrupted(InferenceUnavailable):
    """The inference server or the model's process ended while it was asked."""

    code = 407
    advice = "Nothing for one: it is asked again. Often: look at Triton's log for what ends it."


class InferenceTimeout(InferenceError):
    """The inference server did not answer within the deadline."""

    code = 402
    advice = "See what keeps Triton busy; `inference.timeout_seconds` has the limit."
    retryable = True


class InferenceRejected(InferenceError):
    """The inference server refused the request."""

    code = 403
    advice = "Compare the model with its manifest; Triton's log has the reason."


class ModelContractMismatch(InferenceError):
    """Manifest and server disagree about names, dtypes or shapes."""

    code = 404
    advice = "Bring model and manifest together, then `dicomnode jobs retry`."


class ManifestInvalid(InferenceError):
    """A model manifest cannot be used."""

    code = 405
    advice = "Correct the manifest; `dicomnode models schema` describes it."


class InferenceCancelled(InferenceError):
    """The caller wanted no answer any more; the server was told."""

    code = 406
    advice = "Nothing: somebody cancelled the job, or its worker stopped."


class ResultError(NodeError):
    """SEG or SR could not be built."""

    code = 500
    advice = "Keep the job and its log; the source or a model gave what no object can hold."


class SendError(NodeError):
    """A result could not be delivered."""

    code = 600
    advice = "Look at `dicomnode jobs show`; the attempt is told in words."


class AssociationUnavailable(SendError):
    """No connection, an abort, or no answer in time."""

    code = 601
    advice = "Check host, port, firewall and TLS with `dicomnode echo`; it is tried again."
    retryable = True


class AssociationRejected(SendError):
    """The peer rejected the association (PS3.8 9.3.4)."""

    code = 602
    advice = "Have the peer's administrator add our AE title and address."

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.retryable = transient


class ContextNotAccepted(SendError):
    """The peer accepted no presentation context for what is to be sent."""

    code = 603
    advice = "Have the peer accept the SOP classes of the conformance statement."


class StoreRefused(SendError):
    """The peer answered a C-STORE with a failure status (PS3.4 B.2.3)."""

    code = 604
    advice = "Read the status; the peer's log has its reason."

    def __init__(self, message: str, *, status: int, transient: bool) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = transient


class DestinationUnavailable(SendError):
    """A web service that is not there, busy or broken for now."""

    code = 605
    advice = "Check the service and the way to it; it is tried again."
    retryable = True


class DestinationRefused(SendError):
    """A web service that refused the request: not authorized, or not understood."""

    code = 606
    advice = "Check address, rights and credentials at the service, then `dicomnode jobs retry`."


class StateError(NodeError):
    """What is stored contradicts itself."""

    code = 700
    advice = "Read the sentence: a name that is not known, or another process at work."


class StorageUnavailable(StateError):
    """The object store that holds received instances and results cannot be used now."""

    code = 701
    advice = "Check the bucket, its credentials and the way to it; it is tried again."
    retryable = True


class DemoFailed(NodeError):
    """The demonstration did not come to its end."""

    code = 800
    advice = "Read the sentence and the lines on standard error."
