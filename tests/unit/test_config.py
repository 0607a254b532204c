"""The configuration: all faults at once, each with its dotted path; values as they were written."""

import pytest

from dicomnode.config import find_file, load
from dicomnode.errors import ConfigError

GOOD = """
[receive]
port = 104
[pipelines.chest-ct]
ae_title = "DICOMNODE"
destinations = ["pacs"]
[destinations.pacs]
kind = "dimse"
ae_title = "ORTHANC"
host = "192.0.2.7"
port = 4242
"""


@pytest.fixture
def config(tmp_path):
    """Load a text as the configuration file."""

    def load_text(text):
        path = tmp_path / "dicomnode.toml"
        path.write_text(text, encoding="utf-8")
        return load(path)

    return load_text


@pytest.fixture
def faults(config):
    """Load a text that must be refused and return its faults."""

    def faults_of(text):
        with pytest.raises(ConfigError) as caught:
            config(text)
        return caught.value.faults

    return faults_of


# --- what is read, and from where


def test_without_a_file_the_node_serves_on_loopback_into_a_folder():
    config = load(None)

    assert config.receive.host == "127.0.0.1"
    assert config.console.host == "127.0.0.1"
    assert config.receive.allowed_callers == ()
    assert [each.ae_title for each in config.pipelines.values()] == ["DICOMNODE"]
    assert [each.kind for each in config.destinations.values()] == ["folder"]


def test_the_file_wins_over_the_defaults(config):
    assert config(GOOD).receive.port == 104


def test_the_environment_wins_over_the_file(config, monkeypatch):
    monkeypatch.setenv("DICOMNODE_RECEIVE__PORT", "11113")
    monkeypatch.setenv("DICOMNODE_DESTINATIONS__PACS__HOST", "192.0.2.8")

    changed = config(GOOD)

    assert changed.receive.port == 11113
    assert (
        changed.destinations["pacs"].host,
        changed.destinations["pacs"].port,
    ) == ("192.0.2.8", 4242)


def test_a_name_with_a_hyphen_is_written_with_an_underscore_in_the_environment(config, monkeypatch):
    monkeypatch.setenv("DICOMNODE_PIPELINES__CHEST_CT__COMPLETION__QUIET_SECONDS", "2.5")

    pipelines = config(GOOD).pipelines

    assert list(pipelines) == ["chest-ct"]
    assert pipelines["chest-ct"].completion.quiet_seconds == 2.5


def test_lists_in_the_environment_are_json(config, monkeypatch):
    monkeypatch.setenv(
        "DICOMNODE_RECEIVE__ALLOWED_CALLERS", '[{"ae_title": "0042", "hosts": ["192.0.2.0/24"]}]'
    )

    (caller,) = config(GOOD).receive.allowed_callers

    assert (caller.ae_title, caller.hosts) == ("0042", ("192.0.2.0/24",))


def test_the_explicit_file_comes_first_then_the_environment_then_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DICOMNODE_CONFIG", raising=False)
    explicit, named, here = (tmp_path / name for name in ("a.toml", "b.toml", "dicomnode.toml"))

    assert find_file(None) is None
    here.touch()
    assert here.name == str(find_file(None))
    monkeypatch.setenv("DICOMNODE_CONFIG", str(named))
    assert named == find_file(None)
    assert explicit == find_file(explicit)


# --- AE titles are texts


@pytest.mark.parametrize("title", ["0042", "42", "NO", "true", "null", "1e5", "NaN", "[1]"])
def test_an_ae_title_stays_the_text_that_was_written(config, monkeypatch, title):
    written = config(GOOD.replace("DICOMNODE", title).replace("ORTHANC", title))
    assert title == written.pipelines["chest-ct"].ae_title
    assert title == written.destinations["pacs"].ae_title

    monkeypatch.setenv("DICOMNODE_PIPELINES__CHEST_CT__AE_TITLE", title)
    monkeypatch.setenv("DICOMNODE_DESTINATIONS__PACS__CALLING_AE_TITLE", title)
    set_outside = config(GOOD)
    assert title == set_outside.pipelines["chest-ct"].ae_title
    assert title == set_outside.destinations["pacs"].calling_ae_title


def test_a_number_is_no_ae_title(faults):
    assert faults(GOOD.replace('"DICOMNODE"', "42")) == (
        "pipelines.chest-ct.ae_title: input should be a valid string, found 42",
    )


# --- faults


def test_all_faults_are_told_at_once(faults):
    found = faults(
        """
        [receive]
        port = 70000
        allowed_callers = [
            { ae_title = "A\\\\B", hosts = ["192.0.2.10"] },
            { ae_title = "CT1", hosts = ["not an address"] },
        ]
        [nonsense]
        [pipelines.a]
        ae_title = "SEVENTEEN-LETTERS"
        segmnt = ["lung"]
        destinations = ["pacz"]
        [destinations.pacs]
        kind = "dimse"
        ae_title = "ORTHANC"
        port = 0
        max_attempts = 0
        objects = ["seg", "rtss"]
        """
    )

    assert sorted(
        [
            "receive.port",
            "receive.allowed_callers.0.ae_title",
            "receive.allowed_callers.1.hosts.0",
            "nonsense",
            "pipelines.a.ae_title",
            "pipelines.a.segmnt",
            "pipelines.a.destinations.0",
            "destinations.pacs.host",
            "destinations.pacs.port",
            "destinations.pacs.max_attempts",
            "destinations.pacs.objects.1",
        ]
    ) == sorted(fault.partition(":")[0] for fault in found)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            GOOD.replace("port = 104", "port = 70000"),
            "receive.port: input should be less than or equal to 65535, found 70000",
            id="range",
        ),
        pytest.param(
            GOOD.replace("port = 104", "prot = 104"),
            "receive.prot: no such key; did you mean 'port'?",
            id="unknown key",
        ),
        pytest.param(
            GOOD.replace("[receive]", "[recieve]"),
            "recieve: no such key; did you mean 'receive'?",
            id="unknown section",
        ),
        pytest.param(
            GOOD.replace("[receive]", "[zzz]"), "zzz: no such key", id="unknown, nothing near"
        ),
        pytest.param(
            GOOD.replace('kind = "dimse"', 'kind = "dimsee"'),
            "destinations.pacs.kind: wanted 'dimse' or 'dicomweb' or 'folder', found 'dimsee'",
            id="unknown kind",
        ),
        pytest.param(
            GOOD.replace('kind = "dimse"', ""),
            "destinations.pacs.kind: is required",
            id="no kind",
        ),
        pytest.param(
            GOOD.replace('host = "192.0.2.7"', ""),
            "destinations.pacs.host: is required",
            id="required",
        ),
        pytest.param(
            GOOD.replace('["pacs"]', '["pacz"]'),
            "pipelines.chest-ct.destinations.0: no destination is called 'pacz'; "
            "did you mean 'pacs'?",
            id="unknown destination",
        ),
        pytest.param(
            GOOD.replace('["pacs"]', '["pacs", "pacs"]'),
            "pipelines.chest-ct.destinations: 'pacs' is listed twice, found ['pacs', 'pacs']",
            id="destination twice",
        ),
        pytest.param(
            GOOD.replace("port = 4242", 'port = 4242\nobjects = ["sr", "sr"]'),
            "destinations.pacs.objects: 'sr' is listed twice, found ['sr', 'sr']",
            id="object twice",
        ),
        pytest.param(
            GOOD + '[pipelines.b]\nae_title = " DICOMNODE "\ndestinations = ["pacs"]',
            "pipelines.b.ae_title: ' DICOMNODE ' already names another pipeline",
            id="two pipelines, one AE title",
        ),
        pytest.param(
            GOOD.replace("chest-ct", '"Chest CT"'),
            "pipelines.Chest CT: string should match pattern '^[a-z0-9][a-z0-9-]{0,39}$', "
            "found 'Chest CT'",
            id="name",
        ),
        pytest.param(
            GOOD.replace("port = 104", 'host = ""'),
            "receive.host: string should have at least 1 character, found ''",
            id="empty host",
        ),
        pytest.param(
            GOOD.replace("port = 104", "port = 104\n[receive.tsl]"),
            "receive.tsl: no such key; did you mean 'tls'?",
            id="a section that is misspelt",
        ),
    ],
)
def test_a_fault_names_path_rule_and_what_was_found(faults, text, fault):
    assert (fault,) == faults(text)


def test_a_list_is_not_called_short_when_its_element_is_at_fault(faults):
    callers = 'allowed_callers = [{ ae_title = "CT1", hosts = ["x"] }]'

    (fault,) = faults(GOOD.replace("port = 104", callers))

    assert fault.startswith("receive.allowed_callers.0.hosts.0: ")


def test_an_empty_list_of_hosts_is_still_refused(faults):
    callers = 'allowed_callers = [{ ae_title = "CT1", hosts = [] }]'

    (fault,) = faults(GOOD.replace("port = 104", callers))

    assert fault.startswith("receive.allowed_callers.0.hosts: ")


def test_a_password_in_an_address_is_not_repeated(faults):
    (fault,) = faults(GOOD + '[database]\nurl = "mysql://node:hunter2@db/node"')

    assert fault.startswith("database.url: ")
    assert "hunter2" not in fault


def test_a_bucket_wants_a_database_that_all_reach_and_a_whole_key(faults):
    found = faults(GOOD + '[storage]\nbucket = "dicomnode"\naccess_key_id = "me"')

    assert found == (
        'storage: wanted database.url = "postgresql://..." with it, found SQLite on a disk',
        "storage.secret_key_file: wanted together with access_key_id, found one alone",
    )


@pytest.fixture
def url_file(tmp_path):
    """Write a file with a URL; return the section that names it."""

    def write(content):
        path = tmp_path / "url"
        path.write_text(content)
        return f'[database]\nurl_file = "{path}"'

    return write


def test_the_url_of_the_database_may_stand_in_a_file(tmp_path, url_file):
    path = tmp_path / "node.toml"
    path.write_text(url_file("postgresql://node:hunter2@db/node\n"))

    assert load(path).database.url == "postgresql://node:hunter2@db/node"


def test_a_bucket_may_go_with_a_database_whose_url_is_in_a_file(tmp_path, url_file):
    path = tmp_path / "node.toml"
    path.write_text(url_file("postgresql://db/node") + '\n[storage]\nbucket = "dicomnode"')

    assert load(path).storage is not None


def test_a_file_without_a_url_is_a_fault_that_does_not_repeat_it(faults, url_file):
    (fault,) = faults(GOOD + url_file("mysql://node:hunter2@db/node"))

    assert fault.startswith("database.url_file: ")
    assert "hunter2" not in fault


def test_a_url_file_that_is_not_there_is_a_fault(faults):
    (fault,) = faults(GOOD + '[database]\nurl_file = "/no/such/file"')

    assert fault == "database.url_file: /no/such/file: No such file or directory"


def test_a_url_and_a_file_of_it_are_a_fault(faults, url_file):
    section = url_file("postgresql://db/node") + '\nurl = "sqlite"'

    assert faults(GOOD + section) == (
        "database.url_file: wanted one of url and url_file, found both",
    )


def test_pipelines_without_destinations_are_refused(faults):
    found = faults('[pipelines.a]\nae_title = "A"\ndestinations = ["pacs"]')

    assert found == (
        "destinations: is required",
        "pipelines.a.destinations.0: no destination is called 'pacs'",
    )


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        (
            "DICOMNODE_RECIEVE__PORT",
            "104",
            "DICOMNODE_RECIEVE__PORT: no such key; did you mean 'receive'?",
        ),
        ("DICOMNODE_RECEIVE__PROT", "104", "receive.prot: no such key; did you mean 'port'?"),
        (
            "DICOMNODE_RECEIVE__PORT",
            "high",
            (
                "receive.port: input should be a valid integer, unable to parse string as an "
                "integer, found 'high'"
            ),
        ),
    ],
)
def test_a_fault_of_the_environment_is_told_like_any_other(
    faults, monkeypatch, variable, value, fault
):
    monkeypatch.setenv(variable, value)

    assert (fault,) == faults(GOOD)


def test_a_list_in_the_environment_that_is_no_json_is_told(faults, monkeypatch):
    monkeypatch.setenv("DICOMNODE_RECEIVE__ALLOWED_CALLERS", "CT1")

    (fault,) = faults(GOOD)

    assert fault.startswith("DICOMNODE_RECEIVE__ALLOWED_CALLERS: ")
    assert "JSON" in fault


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file"):
        load(tmp_path / "absent.toml")


@pytest.mark.parametrize("content", [b"[receive\n", b"\xff\xfe"], ids=["syntax", "encoding"])
def test_a_file_that_is_no_toml_is_named(tmp_path, content):
    path = tmp_path / "dicomnode.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"dicomnode\.toml: is not TOML"):
        load(path)


def test_a_loaded_configuration_cannot_be_changed(config):
    with pytest.raises(ValueError, match="frozen"):
        config(GOOD).receive.port = 1


@pytest.mark.parametrize("compression", ["rle", "jpeg-ls", "jpeg-2000"])
def test_binary_segmentations_are_not_compressed_frame_by_frame(tmp_path, compression):
    path = tmp_path / "node.toml"
    path.write_text(
        f"""
        [pipelines.a]
        ae_title = "A"
        destinations = ["pacs"]
        [destinations.pacs]
        kind = "folder"
        path = "out"
        seg = {{ compression = "{compression}" }}
        """
    )

    with pytest.raises(ConfigError) as caught:
        load(path)

    [fault] = caught.value.faults
    assert fault == (
        "destinations.pacs.seg: compression of binary segmentations is none or deflate, "
        f"found '{compression}'"
    )


def test_a_destination_takes_the_default_segmentation_and_report(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(
        """
        [pipelines.a]
        ae_title = "A"
        destinations = ["pacs"]
        [destinations.pacs]
        kind = "folder"
        path = "out"
        """
    )

    config = load(path)

    destination = config.destinations["pacs"]
    assert destination.objects == ("seg", "sr")
    assert (destination.seg.type, destination.seg.compression) == ("binary", "none")
    assert destination.seg.omit_empty_frames
    assert destination.seg.empty_segments == "omit"
    assert config.pipelines["a"].report.not_analyzed == "send"
    assert config.pipelines["a"].report.preliminary


RETURNING = GOOD.replace('destinations = ["pacs"]', 'destinations = ["pacs", "sender"]')


def test_results_can_go_back_to_the_sender_only_if_one_says_where(config):
    with pytest.raises(ConfigError) as caught:
        config(RETURNING)
    assert "nobody in receive.allowed_callers has a return_to" in str(caught.value)
