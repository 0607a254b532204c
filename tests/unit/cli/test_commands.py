"""Every command: its help, its exit codes, and how the shell completes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicomnode import __version__
from dicomnode.cli.output import exit_code
from dicomnode.errors import (
    AssociationRejected,
    AssociationUnavailable,
    ConfigError,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
    ManifestInvalid,
    StateError,
)

COMMANDS = [
    (),
    ("serve",),
    ("demo",),
    ("process",),
    ("send",),
    ("echo",),
    ("series", "list"),
    ("series", "show"),
    ("jobs", "list"),
    ("jobs", "show"),
    ("jobs", "retry"),
    ("jobs", "cancel"),
    ("quarantine", "list"),
    ("quarantine", "show"),
    ("config", "check"),
    ("config", "show"),
    ("config", "schema"),
    ("models", "check"),
    ("conformance",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(run, command):
    ended = run(*command, "--help")

    assert ended.exit_code == 0
    assert " ".join(("Usage: dicomnode", *command)) in " ".join(ended.stdout.split())


def test_version(run):
    assert run("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("echo",),
        ("echo", "nobody"),
        ("echo", "TOO LONG A TITLE FOR IT@127.0.0.1:104"),
        ("echo", "PACS@127.0.0.1:104", "--from", "BACK\\SLASH"),
        ("send", "absent.dcm", "--to", "PACS@127.0.0.1:104"),
        ("process", "absent", "--out", "out"),
        ("jobs", "list", "--nonsense"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(run, arguments):
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(("a: b",)), 78),
        (ManifestInvalid("no name"), 78),
        (InferenceUnavailable("away"), 69),
        (InferenceTimeout("late"), 69),
        (AssociationUnavailable("away"), 69),
        (AssociationRejected("no", transient=False), 1),
        (InferenceRejected("no"), 1),
        (StateError("no"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_exit_codes(error, code):
    assert exit_code(error) == code


def test_models_of_a_server_that_is_away(run, config, nobody):
    path = config(inference={"triton": nobody.removeprefix("PACS@")})

    ended = run("models", "check", "--config", path)

    assert ended.exit_code == 69


def test_the_shell_completes_commands_and_their_options():
    words = ("jobs re", "jobs list --sta")

    completed = [
        subprocess.run(
            [Path(sys.executable).with_name("dicomnode")],
            env=os.environ
            | {
                "_DICOMNODE_COMPLETE": "complete_bash",
                "COMP_WORDS": f"dicomnode {each}",
                "COMP_CWORD": str(each.count(" ") + 1),
            },
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        for each in words
    ]

    assert completed == [["retry"], ["--state"]]
