"""The inference section: what a server of its own and the embedded one can be told."""

from pathlib import Path

import pytest

from dicomnode.config import load
from dicomnode.errors import ConfigError


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "dicomnode.toml"
        path.write_text(text)
        return path

    return write


def test_a_server_of_its_own_has_tls_and_a_token(written):
    config = load(
        written(
            '[inference]\ntriton = "triton.example.org:8001"\ntoken_file = "/run/token"\n'
            '[inference.tls]\nca_file = "/etc/ca.pem"\n'
        )
    )

    assert config.inference.tls.ca_file == Path("/etc/ca.pem")
    assert config.inference.token_file == Path("/run/token")


def test_the_embedded_server_has_instances_and_threads(written):
    config = load(
        written("[inference]\nmodel_threads = 3\nmodel_instances = { lung_segmentation = 2 }\n")
    )

    assert config.inference.model_threads == 3
    assert config.inference.model_instances == {"lung_segmentation": 2}


SERVER = '[inference]\ntriton = "host:8001"\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[inference.tls]\n", 'inference.tls: is for a server of its own, found triton = "embed'),
        ('[inference]\ntoken_file = "t"\n', "inference.token_file: is for a server of its own"),
        (SERVER + 'token_file = "t"\n', "a token is never sent in clear"),
        (SERVER + "model_threads = 2\n", "inference.model_threads: is for the embedded server"),
        (SERVER + "model_instances = { a = 2 }\n", "model_instances: is for the embedded server"),
        (SERVER + '[inference.tls]\ncert_file = "c"\n', "inference.tls.key_file: wanted together"),
        ("[inference]\nmodel_instances = { a = 0 }\n", "inference.model_instances.a: input should"),
    ],
)
def test_what_contradicts_itself_is_refused(written, text: str, fault: str):
    with pytest.raises(ConfigError) as caught:
        load(written(text))

    assert fault in "\n".join(caught.value.faults)
