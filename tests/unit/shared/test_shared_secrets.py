"""The parts that may not import each other mask users and passwords in the same way."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint import masking as endpoint
from ansible_collections.mde.offline.plugins.module_utils._mirror import masking as mirror
from ansible_collections.mde.offline.plugins.module_utils._mirror import settings
from ansible_collections.mde.offline.plugins.plugin_utils._managed import masking as managed
from ansible_collections.mde.offline.plugins.plugin_utils._roles import mirror as roles
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.shared.cases_secrets import TEXTS, UNENCODED, VALUES
from tools import interpreters


def in_text(text: str) -> str:
    """The text without secrets, which must be the same in all parts."""
    shown = {endpoint.masked(text), mirror.masked(text)}
    assert len(shown) == 1, shown
    return shown.pop()


def in_value(value: str) -> str:
    """The address without secrets, which must be the same in all parts."""
    shown = {endpoint.masked(value, address=True), mirror.masked(value, address=True), managed.masked(value)}
    assert len(shown) == 1, shown
    return shown.pop()


@pytest.mark.parametrize(("text", "shown"), TEXTS.items())
def test_texts(text: str, shown: str) -> None:
    assert in_text(text) == shown
    assert "S3" not in shown


@pytest.mark.parametrize(("value", "shown"), VALUES.items())
def test_values(value: str, shown: str) -> None:
    assert in_value(value) == shown
    assert "S3" not in shown


@pytest.mark.parametrize("text", [text for text, shown in TEXTS.items() if shown])
def test_what_is_masked_stays_masked(text: str) -> None:
    assert in_text(in_text(text)) == in_text(text)


OLD = """
import io, json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from masking import masked
texts, values = json.load(io.open(sys.argv[2], encoding="utf-8"))
print(json.dumps([[masked(text) for text in texts], [masked(value, address=True) for value in values]]))
"""


@pytest.mark.parametrize("version", ["2.7", "3.6"])
def test_old_pythons(version: str, tmp_path: Path) -> None:
    python = interpreters.find(version)
    if python is None:
        pytest.skip(f"NOT TESTED with Python {version}: it is not installed")
    given = tmp_path / "given.json"
    given.write_text(json.dumps([list(TEXTS), list(VALUES)]), encoding="utf-8")
    command = [python, "-c", OLD, str(Path(str(endpoint.__file__)).parent), str(given)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout) == [list(TEXTS.values()), list(VALUES.values())]


# --- Generated texts --------------------------------------------------------------------------------------------------

PRINTABLE = st.characters(min_codepoint=33, max_codepoint=126)
PASSWORDS = st.text(PRINTABLE | st.sampled_from("/@:%?#[]\u00e4"), min_size=4, max_size=12)
WITH_BLANKS = st.text(st.sampled_from("aZ09/@:%?#[]\\&=+ "), min_size=4, max_size=12).filter(
    lambda password: password == password.strip() and "://" not in password
)
USERS = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)
HOSTS = st.sampled_from(["proxy:3128", "proxy.corp.example:8080/", "[2001:db8::7]:3128", "10.0.0.1:80/x/y"])
SCHEMES = st.sampled_from(["http://", "https://", "HTTP://", "socks5://"])
AROUND = st.sampled_from(["{}", "error: {}", "cannot reach {} now", "* using {}, which failed"])


@given(SCHEMES, USERS, PASSWORDS | WITH_BLANKS, HOSTS, AROUND)
def test_a_password_never_remains_in_a_text(scheme: str, user: str, password: str, host: str, around: str) -> None:
    shown = in_text(around.format(f"{scheme}{user}:{password}@{host}"))
    assert shown == around.format(f"{scheme}***@{host}")


@given(SCHEMES | st.just(""), USERS, st.text(min_size=4), HOSTS | st.just("proxy"))
def test_a_password_never_remains_in_a_value(scheme: str, user: str, password: str, host: str) -> None:
    assert in_value(f"{scheme}{user}:{password}@{host}") == f"{scheme}***@{host}"


@given(
    st.lists(st.sampled_from(["http://", "u:p@h", ":", "@", "%40", "%3A", "/", " ", "\n", '"', "'", "a", "12", "é"]))
)
def test_generated_texts(pieces: list[str]) -> None:
    text = "".join(pieces)
    in_value(text)
    shown = in_text(text)
    if "@" not in text and "%40" not in text:
        assert shown == text


@given(st.text(), st.text())
def test_a_text_without_addresses_stays(left: str, right: str) -> None:
    for text in (left, left + "\n" + right):
        if not re.search("@|%40|authorization|[?&]", text, re.IGNORECASE):
            assert in_text(text) == text


@pytest.mark.parametrize(
    "text",
    ["://" * 43000, ":" * 130000 + "@", "a:" * 60000 + "@x", "http://" * 20000 + "@", "x@" * 60000, '"a:b" @ ' * 16000],
)
def test_a_long_text_takes_no_long_time(text: str) -> None:
    """Without a limit, some of these texts would take minutes."""
    in_text(text)


# --- Secrets of the settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "printed",
    ["S3c/r t", "S3c%2Fr%20t", "dXNlcjpTM2MvciB0", "user:S3c/r t", "curl --proxy-user 'user:S3c%2Fr%20t'"],
)
def test_a_known_password_is_masked_in_every_form(printed: str) -> None:
    shown = mirror.masked(f"it said {printed} today", known=["http://user:S3c%2Fr%20t@proxy:3128"])
    assert not re.search("S3c|dXNl", shown)


def test_what_is_known_of_an_address_without_a_password() -> None:
    assert mirror.known_secrets(["http://proxy:3128", "git@host:path", "http://user@proxy", "http://user:@proxy"]) == []
    assert "ghp_0123456789abc" in mirror.known_secrets(["https://ghp_0123456789abc@github.com/x"])


# --- What has to be percent-encoded -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "unencoded"), UNENCODED.items())
def test_what_has_to_be_percent_encoded(address: str, unencoded: bool) -> None:
    assert (settings.needs_encoding(address), roles.needs_encoding(address)) == (unencoded, unencoded)


@given(USERS, st.text(min_size=1, max_size=12))
def test_generated_passwords_that_have_to_be_percent_encoded(user: str, password: str) -> None:
    address = f"http://{user}:{password}@proxy:3128"
    assert settings.needs_encoding(address) == roles.needs_encoding(address)
