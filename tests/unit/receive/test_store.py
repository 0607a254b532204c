"""From an encoded data set to a status, without a network."""

from dataclasses import dataclass, field, replace
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode.errors import InstanceUnreadable, SpoolFull, StateError
from dicomnode.metrics import INSTANCES
from dicomnode.receive.store import Caller, StoreHandler, StoreRequest
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import read_stored
from dicomnode.spool.quarantine import Quarantine
from tests.support.ct import make_series

CALLER = Caller(
    association_id="a1",
    pipeline="covid-ct",
    calling_ae_title="CT1",
    called_ae_title="COVIDCT",
    host="127.0.0.1",
)


@dataclass
class Sink:
    stored: list = field(default_factory=list)
    fails_with: Exception | None = None

    def association_opened(self, association_id, *, pipeline, calling_ae_title):
        raise AssertionError(("opened", association_id, pipeline, calling_ae_title))

    def association_ended(self, association_id, *, pipeline, how):
        raise AssertionError(("ended", association_id, pipeline, how))

    def instance_stored(self, pipeline, ref, *, calling_ae_title, association_id):
        if self.fails_with is not None:
            raise self.fails_with
        self.stored.append((pipeline, ref, calling_ae_title, association_id))


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def store(tmp_path):
    return InstanceStore(tmp_path / "spool", reserve_bytes=0)


@pytest.fixture
def quarantine(tmp_path):
    return Quarantine(tmp_path / "spool")


@pytest.fixture
def handler(store, quarantine, sink):
    return StoreHandler(store=store, quarantine=quarantine, sink=sink)


@pytest.fixture
def request_for_ct(tmp_path):
    meta, identity, data_set = read_stored(make_series(tmp_path / "ct")[0])
    return StoreRequest(
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        context_sop_class_uid=identity.sop_class_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        data_set=data_set,
    )


def counted(label: str) -> float:
    return INSTANCES.labels("covid-ct", label)._value.get()


def test_success_means_stored_and_recorded(handler, store, sink, request_for_ct):
    before = counted("0000")

    assert handler.handle(request_for_ct, CALLER) == 0x0000

    ((pipeline, ref, calling, association_id),) = sink.stored
    assert (pipeline, calling, association_id) == ("covid-ct", "CT1", "a1")
    assert ref.sop_instance_uid == request_for_ct.sop_instance_uid
    assert read_stored(store.path(ref.key))[2] == request_for_ct.data_set
    assert counted("0000") == before + 1


def test_the_file_is_durable_before_the_sink_hears_of_it(handler, store, sink, request_for_ct):
    seen = []
    sink.instance_stored = lambda _p, ref, **_: seen.append(store.path(ref.key).exists())

    handler.handle(request_for_ct, CALLER)

    assert seen == [True]


def test_a_repeat_whose_file_goes_meanwhile_is_no_success(handler, store, sink, request_for_ct):
    assert handler.handle(request_for_ct, CALLER) == 0x0000
    # What was stored long ago may be pruned until the row of the repeat is there.
    sink.instance_stored = lambda _p, ref, **_: store.remove([ref.key])

    assert handler.handle(request_for_ct, CALLER) == 0xA700


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (SpoolFull("full"), 0xA700),
        (InstanceUnreadable("no"), 0xC000),
        (StateError("row contradicts"), 0xA700),
        (RuntimeError("database is locked"), 0xA700),
        (KeyError("x"), 0xA700),
    ],
)
def test_a_sink_that_fails_is_no_success(handler, sink, request_for_ct, failure, status):
    sink.fails_with = failure

    assert handler.handle(request_for_ct, CALLER) == status


def test_an_instance_that_the_sink_refused_can_come_again(handler, sink, request_for_ct):
    sink.fails_with = StateError("not now")
    handler.handle(request_for_ct, CALLER)
    sink.fails_with = None

    assert handler.handle(request_for_ct, CALLER) == 0x0000
    assert len(sink.stored) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"sop_instance_uid": "1.2.3.999"},
        {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2.1"},
        {"context_sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"},
    ],
    ids=["instance", "class", "context"],
)
def test_a_data_set_that_is_not_what_the_command_says_is_refused(
    handler, sink, quarantine, request_for_ct, change
):
    assert handler.handle(replace(request_for_ct, **change), CALLER) == 0xA900
    assert sink.stored == []
    assert quarantine.list() == ()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x00\x16\x00UI\xff\xff"])
def test_what_cannot_be_parsed_is_put_aside_with_the_reason(
    handler, sink, quarantine, request_for_ct, content
):
    assert handler.handle(replace(request_for_ct, data_set=content), CALLER) == 0xC000

    (item,) = quarantine.list()
    assert item.facts["association_id"] == "a1"
    assert item.facts["calling_ae_title"] == "CT1"
    assert item.facts["sop_instance_uid"] == request_for_ct.sop_instance_uid
    assert item.size_bytes == len(content)
    assert sink.stored == []


def test_a_series_uid_that_is_none_is_unreadable_and_not_quoted(
    handler, quarantine, request_for_ct, tmp_path
):
    meta, identity, data_set = read_stored(make_series(tmp_path / "other")[0])
    broken = data_set.replace(
        identity.series_instance_uid.encode(),
        b"../Doe^Jane".ljust(len(identity.series_instance_uid)),
    )
    request = replace(request_for_ct, sop_instance_uid=identity.sop_instance_uid, data_set=broken)

    assert handler.handle(request, CALLER) == 0xC000

    (item,) = quarantine.list()
    assert item.reason == "Series Instance UID: wanted a UID (PS3.5 9.1), found <11 characters>"
    assert meta.transfer_syntax_uid == item.facts["transfer_syntax_uid"]


@pytest.mark.filterwarnings("ignore:.*value:UserWarning")  # which is what it is about
@pytest.mark.parametrize("value", [None, "", "1.2.3x", "1." * 40 + "1"])
@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_a_uid_that_is_missing_or_none_is_not_understood_and_put_aside(
    handler, sink, quarantine, request_for_ct, keyword, value
):
    data_set = dcmread(BytesIO(request_for_ct.data_set), force=True)
    del data_set[keyword]
    if value is not None:
        setattr(data_set, keyword, value)
    encoded = DicomBytesIO()
    encoded.is_little_endian, encoded.is_implicit_VR = True, False
    write_dataset(encoded, data_set)

    request = replace(request_for_ct, data_set=encoded.getvalue())
    assert handler.handle(request, CALLER) == 0xC000

    (item,) = quarantine.list()
    assert "UID" in item.reason
    assert quarantine.path(item.id).read_bytes() == request.data_set
    assert sink.stored == []


def test_below_the_reserve_the_status_is_out_of_resources(
    tmp_path, quarantine, sink, request_for_ct
):
    full = InstanceStore(tmp_path / "spool", reserve_bytes=1 << 60)
    handler = StoreHandler(store=full, quarantine=quarantine, sink=sink)

    assert handler.handle(request_for_ct, CALLER) == 0xA700
    assert handler.handle(replace(request_for_ct, data_set=b"garbage"), CALLER) == 0xC000

    assert quarantine.list() == ()
    assert sink.stored == []


def test_other_classes_are_acknowledged_and_ignored(handler, sink, store, request_for_ct):
    before = counted("ignored")
    dose_report = "1.2.840.10008.5.1.4.1.1.88.67"
    request = replace(request_for_ct, sop_class_uid=dose_report, context_sop_class_uid=dose_report)

    assert handler.handle(request, CALLER) == 0x0000

    assert counted("ignored") == before + 1
    assert sink.stored == []
    assert list(store.scan()) == []


def test_a_quarantine_that_fails_does_not_change_the_status(
    handler, quarantine, request_for_ct, monkeypatch
):
    def fail(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(quarantine, "keep", fail)

    assert handler.handle(replace(request_for_ct, data_set=b"garbage"), CALLER) == 0xC000


def test_nothing_of_a_patient_is_logged(handler, sink, request_for_ct, capsys):
    request = replace(
        request_for_ct,
        sop_instance_uid="Doe^Jane",
        data_set=b"\x10\x00\x10\x00PN\x08\x00Doe^Jane",
    )

    handler.handle(request, CALLER)
    sink.fails_with = RuntimeError("locked")
    handler.handle(request_for_ct, CALLER)

    printed = capsys.readouterr()
    assert "instance_refused" in printed.out + printed.err
    assert "instance_failed" in printed.out + printed.err
    assert "Doe" not in printed.out + printed.err
