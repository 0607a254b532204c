"""Files of passwords and tokens: what may stand in them, and that a change holds at once."""

from __future__ import annotations

import pytest

from dicomnode.console.credentials import Passwords, Tokens, new_token, password_line
from dicomnode.errors import ConfigError
from tests.support.console import cheap_line

LINE = cheap_line("anna", "operator", "a long password")


def test_a_line_lets_in_who_knows_its_password(tmp_path):
    path = tmp_path / "passwords"
    path.write_text(password_line("anna", "operator", "a long password"))

    found = Passwords(path).check("anna", "a long password")

    assert (found.name, found.role) == ("anna", "operator")
    assert "a long password" not in path.read_text()
    assert "$argon2id$" in path.read_text()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("anna", "wanted NAME:ROLE:HASH, found 0 colons"),
        ("anna:operator", "found 1 colons"),
        (LINE.replace("operator", "root"), "wanted the role viewer or operator, found 'root'"),
        (LINE.replace("anna", "an na"), "wanted a name of letters"),
        ("anna:viewer:secret", "the hash of anna is none"),
        (f"{LINE}\n{LINE}", "anna is there already"),
    ],
)
def test_a_line_that_cannot_be_used_is_told_at_the_start(tmp_path, line, told):
    path = tmp_path / "passwords"
    path.write_text(f"# people\n{line}\n")

    with pytest.raises(ConfigError, match=told) as caught:
        Passwords(path)

    assert f"{path}, line" in str(caught.value)
    assert "secret" not in str(caught.value), "what may be a password is not repeated"


def test_a_file_that_is_not_there_is_told_at_the_start(tmp_path):
    with pytest.raises(ConfigError, match=r"token_file: .*cannot be read: No such file"):
        Tokens(tmp_path / "nothing")


def test_a_file_that_goes_away_lets_nobody_in(tmp_path):
    path = tmp_path / "passwords"
    path.write_text(LINE)
    passwords = Passwords(path)
    assert passwords.get("anna") is not None

    path.unlink()

    assert passwords.get("anna") is None
    path.write_text(LINE)
    assert passwords.get("anna") is not None


def test_a_line_that_breaks_later_costs_its_owner_alone(tmp_path):
    path = tmp_path / "passwords"
    path.write_text(LINE)
    passwords = Passwords(path)

    path.write_text(f"{LINE}\nbroken\n")

    assert passwords.get("anna") is not None
    assert passwords.get("broken") is None


def test_tokens_are_long_unlike_and_kept_as_digests(tmp_path):
    (first, line), (second, _) = new_token("robot", "viewer"), new_token("robot", "viewer")
    path = tmp_path / "tokens"
    path.write_text(line)
    tokens = Tokens(path)

    assert tokens.check(first).name == "robot"
    assert tokens.check(second) is None
    assert first not in line
    assert len(first) >= 43
