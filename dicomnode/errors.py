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
`-- DemoFailed              8xx  no

Codes are the interface; texts are not.  Nothing of a patient may stand in a text.
"""

from __future__ import annotations

from typing import ClassVar


class NodeError(Exception):
    """Root of everything the node raises on purpose."""

    code: ClassVar[int] = 0
    retryable: bool = False


class ConfigError(NodeError):
    """One or more configuration faults, all of them.

    Attributes
    ----------
    faults : tuple of str
        One sentence a fault, each beginning with the dotted path of the key.
    """

    code = 100

    def __init__(self, faults: tuple[str, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class ReceiveError(NodeError):
    """An instance that cannot be taken; `status` is the C-STORE answer (PS3.4 B.2.3)."""

    code = 200
    status: ClassVar[int] = 0xC000


class SpoolFull(ReceiveError):
    """There is no room left to store an instance safely."""

    code = 201
    status = 0xA700
    retryable = True


class SopClassMismatch(ReceiveError):
    """The data set's SOP Class or Instance UID is not the one that the command names."""

    code = 202
    status = 0xA900


class InstanceUnreadable(ReceiveError):
    """The data set cannot be understood."""

    code = 203
    status = 0xC000


class InstanceTooLarge(ReceiveError):
    """The data set is larger than the configuration admits."""

    code = 204
    status = 0xA700


class DuplicateInstance(ReceiveError):
    """Another data set was stored before under the same SOP Instance UID."""

    code = 205
    status = 0x0111


class SeriesError(NodeError):
    """A series that cannot become a volume.

    Attributes
    ----------
    reason : str
        A stable name in snake case, for records and reports.
    """

    code = 300
    reason: ClassVar[str] = "series_unusable"


class NoImages(SeriesError):
    """No instance of the series is an image the node can use."""

    code = 301
    reason = "no_images"


class MixedGeometry(SeriesError):
    """Orientation, matrix, pixel spacing or Frame of Reference differ within the series."""

    code = 302
    reason = "mixed_geometry"


class DuplicatePositions(SeriesError):
    """Two different images lie at the same position."""

    code = 303
    reason = "duplicate_positions"


class MissingSlices(SeriesError):
    """A gap between slices is a multiple of the spacing."""

    code = 304
    reason = "missing_slices"


class IrregularSpacing(SeriesError):
    """The slices are not evenly spaced."""

    code = 305
    reason = "irregular_spacing"


class TooFewSlices(SeriesError):
    """The series has fewer slices than a volume needs."""

    code = 306
    reason = "too_few_slices"


class UnsupportedImage(SeriesError):
    """An image is of a kind that this node does not turn into a volume."""

    code = 307
    reason = "unsupported_image"


class PixelsUnreadable(SeriesError):
    """Pixel data is absent, short or cannot be decoded."""

    code = 308
    reason = "pixels_unreadable"


class InferenceError(NodeError):
    """A model could not be asked, or answered with something unusable."""

    code = 400


class InferenceUnavailable(InferenceError):
    """The inference server or a model on it is not there."""

    code = 401
    retryable = True


class InferenceInterrupted(InferenceUnavailable):
    """The inference server or the model's process ended while it was asked."""

    code = 407


class InferenceTimeout(InferenceError):
    """The inference server did not answer within the deadline."""

    code = 402
    retryable = True


class InferenceRejected(InferenceError):
    """The inference server refused the request."""

    code = 403


class ModelContractMismatch(InferenceError):
    """Manifest and server disagree about names, dtypes or shapes."""

    code = 404


class ManifestInvalid(InferenceError):
    """A model manifest cannot be used."""

    code = 405


class InferenceCancelled(InferenceError):
    """The caller wanted no answer any more; the server was told."""

    code = 406


class ResultError(NodeError):
    """SEG or SR could not be built."""

    code = 500


class SendError(NodeError):
    """A result could not be delivered."""

    code = 600


class AssociationUnavailable(SendError):
    """No connection, an abort, or no answer in time."""

    code = 601
    retryable = True


class AssociationRejected(SendError):
    """The peer rejected the association (PS3.8 9.3.4)."""

    code = 602

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.retryable = transient


class ContextNotAccepted(SendError):
    """The peer accepted no presentation context for what is to be sent."""

    code = 603


class StoreRefused(SendError):
    """The peer answered a C-STORE with a failure status (PS3.4 B.2.3)."""

    code = 604

    def __init__(self, message: str, *, status: int, transient: bool) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = transient


class DestinationUnavailable(SendError):
    """A web service that is not there, busy or broken for now."""

    code = 605
    retryable = True


class DestinationRefused(SendError):
    """A web service that refused the request: not authorized, or not understood."""

    code = 606


class StateError(NodeError):
    """What is stored contradicts itself."""

    code = 700


class DemoFailed(NodeError):
    """The demonstration did not come to its end."""

    code = 800
