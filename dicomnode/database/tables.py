"""The tables.  One place names every column; migrations bring databases there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """Aware datetimes in, aware datetimes out, UTC inside; SQLite itself forgets the zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Turn an aware datetime into UTC."""
        if value is None:
            return None
        moved = value.astimezone(UTC)
        return moved.replace(tzinfo=None) if dialect.name == "sqlite" else moved

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Give an aware datetime back."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.replace(tzinfo=UTC)


metadata = sa.MetaData()

series = sa.Table(
    "series",
    metadata,
    sa.Column("pipeline", sa.String(40), primary_key=True),
    sa.Column("series_instance_uid", sa.String(64), primary_key=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False),
    sa.Column("calling_ae_title", sa.String(16), nullable=False),
    # open: instances may come.  closed: a job has it.  held: a person must say.  A late instance
    # opens it again.
    sa.Column("state", sa.String(10), nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(16)),
    sa.Column("closed_because", sa.String(20)),
    sa.Column("instance_count", sa.Integer, nullable=False),
    sa.Column("first_received_at", UtcDateTime, nullable=False),
    sa.Column("last_received_at", UtcDateTime, nullable=False),
    # W3C Trace Context of what opened it: a trace goes on wherever the series is closed.
    sa.Column("traceparent", sa.String(55)),
    sa.Index("series_by_time", "last_received_at"),
)

instance = sa.Table(
    "instance",
    metadata,
    sa.Column("pipeline", sa.String(40), primary_key=True),
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
    sa.Column("series_instance_uid", sa.String(64), nullable=False),
    sa.Column("study_instance_uid", sa.String(64), nullable=False),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    # What makes it useless; another instance under its UID may then take its place.
    sa.Column("fault", sa.String(200)),
    sa.Index("instance_of_series", "pipeline", "series_instance_uid"),
)

job = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.String(200), primary_key=True),  # also the workflow's id in the engine
    sa.Column("pipeline", sa.String(40), nullable=False),
    sa.Column("series_instance_uid", sa.String(64), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(16), nullable=False),
    # queued -> running (-> waiting -> running) -> done | refused | not_selected | superseded
    # | failed | cancelled; done and refused -> superseded when a later revision has results
    sa.Column("state", sa.String(12), nullable=False, index=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    # How many attempts the inference server did not survive.
    sa.Column("interruptions", sa.Integer, nullable=False, server_default="0"),
    sa.Column("stage", sa.String(20)),
    # Who runs the stage: what a run that was taken over still writes is told by it, and dropped.
    sa.Column("runner", sa.String(40)),
    sa.Column("reason", sa.String(60)),
    sa.Column("sentence", sa.String(500)),
    sa.Column("seconds", sa.JSON, nullable=False),
    sa.Column("files", sa.JSON, nullable=False),  # name -> outbox key
    sa.Column("models", sa.JSON, nullable=False, server_default="[]"),  # what was asked, and when
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("traceparent", sa.String(55)),  # of the closing; each attempt goes on from there
    sa.Index("job_of_series", "pipeline", "series_instance_uid"),
)

# What the selection rules said of each revision of a series, rule by rule.
decision = sa.Table(
    "decision",
    metadata,
    sa.Column("pipeline", sa.String(40), primary_key=True),
    sa.Column("series_instance_uid", sa.String(64), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("is_selected", sa.Boolean, nullable=False),
    sa.Column("outcomes", sa.JSON, nullable=False),
    sa.Column("rank", sa.JSON, nullable=False),
    sa.Column("decided_at", UtcDateTime, nullable=False),
)

# Open associations that have brought instances of a series, of all receivers on this database.
touch = sa.Table(
    "touch",
    metadata,
    sa.Column("association_id", sa.String(40), primary_key=True),
    sa.Column("pipeline", sa.String(40), primary_key=True),
    sa.Column("series_instance_uid", sa.String(64), primary_key=True),
    sa.Column("receiver", sa.String(80), nullable=False, index=True),
    sa.Index("touch_of_series", "pipeline", "series_instance_uid"),
)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("job_id", sa.String(200), sa.ForeignKey("job.id"), primary_key=True),
    sa.Column("destination", sa.String(40), primary_key=True),
    # pending -> delivered (-> committing -> committed | pending) | parked
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # Attempts made when the present round began: an operator's retry has a whole round.
    sa.Column("attempts_before", sa.Integer, nullable=False, server_default="0"),
    sa.Column("words", sa.String(500)),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Index("delivery_state", "state"),
)

# Every attempt at a delivery, and what became of each object in it.
attempt = sa.Table(
    "delivery_attempt",
    metadata,
    sa.Column("job_id", sa.String(200), primary_key=True),
    sa.Column("destination", sa.String(40), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("outcome", sa.String(12), nullable=False),
    sa.Column("words", sa.String(500)),
    # file, sop_instance_uid, status, words, accepted, and fallback: the rung that was taken
    sa.Column("objects", sa.JSON, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.ForeignKeyConstraint(
        ["job_id", "destination"], ["delivery.job_id", "delivery.destination"], ondelete="CASCADE"
    ),
)

# Storage commitment that was asked for (PS3.4 J): by transaction UID, as the answer may come to
# any process.
commitment_request = sa.Table(
    "commitment_request",
    metadata,
    sa.Column("transaction_uid", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.String(200), nullable=False),
    sa.Column("destination", sa.String(40), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    # asked -> committed | failed | expired
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("sop_instance_uids", sa.JSON, nullable=False),
    sa.Column("missing", sa.JSON, nullable=False),  # SOP Instance UID -> reason in words
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("answered_at", UtcDateTime),
    sa.Index("commitment_request_of_job", "job_id"),
)

# When a destination with a limit may be sent the next delivery.
pace = sa.Table(
    "pace",
    metadata,
    sa.Column("destination", sa.String(40), primary_key=True),
    sa.Column("next_at", UtcDateTime, nullable=False),
)

# What a destination has taken: looked at before sending, so that nothing is sent again needlessly.
sent = sa.Table(
    "sent",
    metadata,
    sa.Column("destination", sa.String(40), primary_key=True),
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("sent_at", UtcDateTime, nullable=False),
)

# What was answered with Success and not kept, or came again with other content.
reception_note = sa.Table(
    "reception_note",
    metadata,
    sa.Column("pipeline", sa.String(40), primary_key=True),
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
    # ignored | kept-first | replaced | refused
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64)),  # of what was not kept; None where it was not looked at
    sa.Column("calling_ae_title", sa.String(16), nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("first_at", UtcDateTime, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False),
)

commitment = sa.Table(
    "commitment",
    metadata,
    sa.Column("pipeline", sa.String(40), primary_key=True),
    sa.Column("calling_ae_title", sa.String(16), primary_key=True),
    sa.Column("transaction_uid", sa.String(64), primary_key=True),
    sa.Column("called_ae_title", sa.String(16), nullable=False),
    sa.Column("instances", sa.JSON, nullable=False),  # [[SOP Class UID, SOP Instance UID], ...]
    # pending -> reported | parked
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("words", sa.String(500)),
    # Whoever works on it moves this on first, so that nobody else does, and somebody later does.
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Index("commitment_due", "state", "due_at"),
)

# Who is signed in at the console.  The secret is in the browser alone.
console_session = sa.Table(
    "console_session",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),  # SHA-256 of the secret
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
)

# What a destination said when an operator last asked whether it is there.
destination_check = sa.Table(
    "destination_check",
    metadata,
    sa.Column("destination", sa.String(40), primary_key=True),
    sa.Column("is_ok", sa.Boolean, nullable=False),
    sa.Column("words", sa.String(500), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
