"""Faults in the sections of the console: what others reach must ask who they are."""

from __future__ import annotations

import pytest

from dicomnode.config import load
from dicomnode.errors import ConfigError

REST = """
[pipelines.chest]
ae_title = "CHEST"
destinations = ["share"]
[destinations.share]
kind = "folder"
path = "share"
"""


def faults(tmp_path, text):
    path = tmp_path / "dicomnode.toml"
    path.write_text(text + REST)
    try:
        load(path)
    except ConfigError as error:
        return error.faults
    return ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "node.example.org"])  # noqa: S104
def test_a_console_that_others_reach_must_ask_who_they_are(tmp_path, host):
    [fault] = faults(tmp_path, f'[console]\nhost = "{host}"')

    assert fault.startswith(f"console: others reach {host}: wanted password_file")
    assert "open_to_anyone = true" in fault


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_a_console_that_this_machine_alone_reaches_need_not(tmp_path, host):
    assert faults(tmp_path, f'[console]\nhost = "{host}"') == ()


@pytest.mark.parametrize(
    "access",
    [
        'password_file = "passwords"',
        'token_file = "tokens"',
        "open_to_anyone = true",
        '[console.access.proxy]\naddresses = ["192.0.2.7"]\nuser_header = "X-User"',
    ],
)
def test_any_of_the_ways_will_do(tmp_path, access):
    assert faults(tmp_path, f'[console]\nhost = "0.0.0.0"\n[console.access]\n{access}') == ()


def test_a_proxy_that_signs_nobody_in_is_none_of_them(tmp_path):
    proxy = '[console.access.proxy]\naddresses = ["192.0.2.7"]'

    assert faults(tmp_path, f'[console]\nhost = "0.0.0.0"\n{proxy}')


def test_open_to_anyone_and_a_password_contradict_each_other(tmp_path):
    text = '[console.access]\nopen_to_anyone = true\npassword_file = "passwords"'

    [fault] = faults(tmp_path, text)

    assert fault.startswith("console.access: open_to_anyone = true admits people without")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[console.access.proxy]\naddresses = ["somewhere"]', "console.access.proxy.addresses.0"),
        ("[console.access.proxy]\naddresses = []", "console.access.proxy.addresses"),
        (
            '[console.access.proxy]\naddresses = ["::1"]\nuser_header = "X User"',
            "console.access.proxy.user_header",
        ),
        ('[console.access]\npatients = "all"', "console.access.patients"),
        ('[console.audit]\nhost = "a"\ncert_file = "b"', "console.audit"),
        ('[console.tls]\ncertificate = "a"', "console.tls.key"),
    ],
)
def test_other_faults_are_told_with_their_path(tmp_path, text, key):
    [fault] = faults(tmp_path, text)

    assert fault.startswith(f"{key}: ")
