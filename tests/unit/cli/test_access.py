"""``dicomnode password`` and ``dicomnode token``."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from dicomnode.cli.main import app
from dicomnode.console.credentials import Passwords, Tokens

run = CliRunner()


def test_the_line_lets_the_person_in(tmp_path):
    told = run.invoke(app, ["password", "anna", "--role", "operator"], input="a long password\n")

    path = tmp_path / "passwords"
    path.write_text(told.stdout)
    entry = Passwords(path).check("anna", "a long password")
    assert (entry.name, entry.role) == ("anna", "operator")
    assert "a long password" not in told.output


def test_a_token_is_shown_once_beside_its_line(tmp_path):
    told = run.invoke(app, ["token", "robot"])

    path = tmp_path / "tokens"
    path.write_text(told.stdout)
    token = told.stderr.strip().removeprefix("token: ")
    assert Tokens(path).check(token).role == "viewer"
    assert token not in told.stdout


def test_a_short_password_is_refused():
    told = run.invoke(app, ["password", "anna"], input="short\n")

    assert told.exit_code == 1
    assert "at least 8 characters" in told.stderr


@pytest.mark.parametrize("arguments", [["password", "an:na"], ["token", "x", "--role", "root"]])
def test_what_no_file_may_hold_is_a_usage_error(arguments):
    assert run.invoke(app, arguments, input="a long password\n").exit_code == 2
