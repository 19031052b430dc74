"""The address of a mirror for endpoints: its parts, and the advice with which invalid parts are refused."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.filter.mirror_url import FilterModule
from hypothesis import given
from hypothesis import strategies as st

mirror_url = FilterModule().filters()["mirror_url"]


@pytest.mark.parametrize(
    ("base", "options", "expected"),
    [
        ("http://mirror.example.com", (), "http://mirror.example.com/linux/production/"),
        ("https://mirror.example.com:8443///", ("preview",), "https://mirror.example.com:8443/linux/preview/"),
        ("HTTPS://mirror/defs//here/", ("canary-1", "mac"), "https://mirror/defs/here/mac/canary-1/"),
        ("http://[2001:db8::7]:8000", (), "http://[2001:db8::7]:8000/linux/production/"),
        ("http://192.0.2.1/arch_ive_not/../x", (), None),
        ("/mnt/mde-mirror/", (), "/mnt/mde-mirror/linux/production"),
        ("/mnt//two words", ("production_back",), "/mnt/two words/linux/production_back"),
        ("/", (), "/linux/production"),
        (" http://mirror ", (), "http://mirror/linux/production/"),
    ],
)
def test_addresses(base: str, options: tuple[str, ...], expected: str | None) -> None:
    if expected is None:
        with pytest.raises(AnsibleFilterError):
            mirror_url(base, *options)
    else:
        assert mirror_url(base, *options) == expected


@pytest.mark.parametrize(
    ("base", "options", "advice"),
    [
        ("", (), "is empty"),
        ("mirror.example.com:8000", (), "Write 'http://mirror.example.com:8000'"),
        ("mnt/mirror", (), "absolute path"),
        ("ftp://mirror", (), "cannot fetch from ftp://"),
        ("nfs://filer/mirror", (), "mount it"),
        ("file:///srv/mirror", (), "'/srv/mirror'"),
        ("http://", (), "names no host"),
        ("http://mirror:99999", (), "port"),
        ("http://mirror:http", (), "port"),
        ("http://mirror/?x=1", (), "'?' or '#'"),
        ("http://mirror#", (), "'?' or '#'"),
        ("http://mirror/two words", (), "%20"),
        ("http://mirror/linux/production", (), "the mirror's root"),
        ("/srv/mirror/linux/preview/", (), "the mirror's root"),
        ("http://mirror/linux/production/arch_x86_64", (), "Leave arch_* out"),
        ("/srv/mirror/arch_arm64/", (), "Leave arch_* out"),
        ("/srv/../mirror", (), "'..'"),
        ("http://mirror", ("arch_x86_64",), "Leave arch_* out"),
        ("http://mirror", ("a/b",), "cannot be a folder"),
        ("http://mirror", ("..",), "cannot be a folder"),
        ("http://mirror", ("production", "windows"), "linux, mac"),
        (None, (), "strings"),
    ],
)
def test_advice(base: str, options: tuple[str, ...], advice: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        mirror_url(base, *options)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://reader:s3cret@mirror.example.com:8000",
        "http://reader:s3cret/x@mirror.example.com:8000",
        "http://reader:12/s3cret@mirror.example.com",
        "http://reader:s3cret x@mirror.example.com",
        "HTTP://reader:s3cret%40mirror.example.com",
        "reader:s3cret@mirror.example.com",
        "reader:s3cret%40mirror.example.com",
        "//reader:s3cret@mirror.example.com/x",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        mirror_url(address)
    assert "no credentials" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@given(st.text(), st.text())
def test_whatever_is_given_the_answer_is_an_address_or_advice(base: str, channel: str) -> None:
    try:
        address = mirror_url(base, channel)
    except AnsibleFilterError:
        return
    assert address.startswith(("http://", "https://", "/"))
    assert address.rstrip("/").endswith(f"/linux/{channel}")
    assert "/arch_" not in address
