"""Series revisions: content has one name, whatever the order it came in."""

import itertools
from dataclasses import replace

from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import SeriesRevision, content_digest

FIRST = InstanceRef(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.1",
    study_instance_uid="1.2",
    series_instance_uid="1.2.3",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    digest="a" * 64,
    size_bytes=1234,
    key="1.2.3/1.2.3.1.dcm",
)
SECOND = replace(FIRST, sop_instance_uid="1.2.3.2", digest="b" * 64)
THIRD = replace(FIRST, sop_instance_uid="1.2.3.10", digest="c" * 64)


def test_the_order_of_arrival_does_not_matter():
    digests = {content_digest(order) for order in itertools.permutations([FIRST, SECOND, THIRD])}

    assert {"cbe03232ca49c075"} == digests


def test_another_instance_makes_another_content():
    assert content_digest([FIRST, SECOND]) != content_digest([FIRST, SECOND, THIRD])


def test_other_bytes_under_the_same_uid_make_another_content():
    assert content_digest([FIRST]) != content_digest([replace(FIRST, digest="d" * 64)])


def test_where_the_bytes_lie_does_not_matter():
    assert content_digest([FIRST]) == content_digest([replace(FIRST, key="elsewhere")])


def test_the_job_of_the_same_content_has_the_same_id():
    revision = SeriesRevision(
        pipeline="chest-ct",
        series_instance_uid="1.2.3",
        revision=2,
        digest=content_digest([FIRST, SECOND]),
    )

    assert f"1.2.3:{revision.digest}:7" == revision.job_id("7")
    assert revision.job_id("7") != revision.job_id("8")
    assert revision.job_id("7") == replace(revision, revision=3).job_id("7")
