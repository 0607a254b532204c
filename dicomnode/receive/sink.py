"""What the receiver tells the rest of the node.  Implemented elsewhere; nothing is done here."""

from __future__ import annotations

from typing import Literal, Protocol

from dicomnode.model.instance import InstanceRef


class InstanceSink(Protocol):
    """Told of associations and stored instances, each association from a thread of its own."""

    def association_opened(
        self, association_id: str, *, pipeline: str, calling_ae_title: str
    ) -> None:
        """Hear that an association was admitted, before its first instance."""

    def instance_stored(
        self, pipeline: str, ref: InstanceRef, *, calling_ae_title: str, association_id: str
    ) -> bool | None:
        """Take note of an instance whose file is durable already.

        Called before the peer is told Success.  The same instance may come more than once.  Its
        row may follow a moment later, where a start-up scan would find the file after a crash.

        Returns
        -------
        bool or None
            False if another data set of this SOP Instance UID is kept instead: the file is then
            removed, the peer is told Success all the same.

        Raises
        ------
        DuplicateInstance
            If another data set of this SOP Instance UID is kept; the file is then removed.
        NodeError
            The peer is then told the status of that error, and keeps the instance.
        """

    def association_ended(
        self, association_id: str, *, pipeline: str, how: Literal["released", "aborted"]
    ) -> None:
        """Hear that an association ended, after its last instance.

        An association that was lost in any other way than by A-RELEASE is ``aborted``.
        """
