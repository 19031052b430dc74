"""A zip of Microsoft's script is untrusted: the members that are extracted, and those for which the zip is refused."""

from __future__ import annotations

import io
import stat
import zipfile

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror.cancel import Cancel
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.settings import parse
from ansible_collections.mde.offline.plugins.module_utils._mirror.sources.script_checkout import (
    ScriptCheckout,
    is_zip_address,
)
from ansible_collections.mde.offline.plugins.module_utils._mirror.sources.script_files import (
    BASH,
    HOME,
    POWERSHELL,
    in_folder,
)
from ansible_collections.mde.offline.plugins.module_utils._mirror.workspace import Workspace
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

COMMIT, OTHER = "1a" * 20, "2b" * 20
BODY = b"#!/bin/bash\necho the script\n"


def member(name, mode=stat.S_IFREG | 0o644, **fields):
    info = zipfile.ZipInfo("placeholder")
    # The constructor of ZipInfo would correct an invalid name.
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def zipped(*members, comment=b""):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = comment
        for info, content in members:
            archive.writestr(info, content)
    return data.getvalue()


def genuine(prefix=f"mdatp-xplat-{COMMIT}/", comment=b"1a" * 20):
    names = ("README.md", f"{HOME}/README.md", f"{HOME}/settings.json", f"{HOME}/settings.ps1", f"{HOME}/{POWERSHELL}")
    members = [(member(prefix + name), b"text") for name in (*names, "VERSION", f"{HOME}/lib/deep.sh")]
    return zipped((member(f"{prefix}{HOME}/{BASH}"), BODY), *members, comment=comment)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture
def take(root):
    """Extracts the script from a zip: `take(data)`; with `commit`, only if the zip is of that commit."""

    def take(data, commit=None):
        path = root / "origin.zip"
        path.write_bytes(data)
        fields = {"url": str(path), **({"commit": commit} if commit else {})}
        found = parse({"downloadFolder": str(root / "mirror"), "source": {"type": "script", "script": fields}})
        workspace = Workspace(found.root, found.retain)
        with workspace.occupied([]):
            copy, stale = ScriptCheckout(found.source, workspace, Cancel()).refreshed()
        with_copy = workspace.state / "script"
        assert stale is None
        link = with_copy / "current"
        assert link.is_symlink()
        link.unlink()
        return copy

    yield take
    assert sorted(path.name for path in root.iterdir() if path.name != "origin.zip") in ([], ["mirror"])


def refused(take, data, code, commit=None):
    with pytest.raises(MirrorError) as error:
        take(data, commit)
    assert error.value.code == code
    assert error.value.hint
    return error.value.message


@pytest.mark.parametrize("prefix", [f"mdatp-xplat-{COMMIT}/", "mdatp-xplat-main/", "", "a folder/"])
def test_what_the_script_needs_is_taken(take, prefix):
    copy = take(genuine(prefix))
    assert copy.files == {f"{HOME}/{BASH}": BODY, f"{HOME}/{POWERSHELL}": b"text", "VERSION": b"text"}
    assert copy.commit == COMMIT


@pytest.mark.parametrize(
    "name", [BASH, f"definition_downloader/{BASH}", f"top/definition_downloader/{BASH}", POWERSHELL]
)
def test_a_zip_of_the_folder_alone_will_do(take, name):
    assert list(take(zipped((member(name), BODY))).files.values()) == [BODY]


def test_the_script_in_its_place_is_preferred(take):
    decoys = [(member(f"a/{BASH}"), b"decoy"), (member(f"a/{HOME}/{BASH}"), BODY), (member(f"a/b/c/{BASH}"), b"decoy")]
    assert take(zipped(*decoys)).files == {f"{HOME}/{BASH}": BODY}


HOSTILE = {
    "above": [(member("../../evil.sh"), b"x")],
    "above, deep inside": [(member(f"{HOME}/../../../evil.sh"), b"x")],
    "absolute": [(member("/etc/cron.d/evil"), b"x")],
    "a share": [(member("\\\\server\\share\\evil"), b"x")],
    "backslashes": [(member("..\\evil.sh"), b"x")],
    "a home": [(member("~/.bashrc"), b"x")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_zip_that_reaches_outside_is_refused_whole(take, name):
    good = (member(f"{HOME}/{BASH}"), BODY)
    assert "outside" in refused(take, zipped(good, *HOSTILE[name]), "script_missing")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice(take):
    twice = zipped((member(f"{HOME}/{BASH}"), BODY), (member(f"{HOME}/{BASH}"), b"exit 1"))
    assert "twice" in refused(take, twice, "script_missing")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_a_script_that_is_no_file(take, kind):
    assert "link" in refused(take, zipped((member(f"{HOME}/{BASH}", kind | 0o777), b"/etc/passwd")), "script_missing")


def test_a_script_below_a_link(take):
    members = [(member("linux", stat.S_IFLNK | 0o777), b"/etc"), (member(f"{HOME}/{BASH}"), BODY)]
    refused(take, zipped(*members), "script_missing")


def test_a_link_elsewhere_is_left_out(take):
    members = [
        (member(f"{HOME}/{BASH}"), BODY),
        (member("macos/link", stat.S_IFLNK | 0o777), b"/etc/passwd"),
        (member("VERSION", stat.S_IFLNK | 0o777), b"/etc/passwd"),
        (member(f"{HOME}/other.sh", stat.S_IFLNK | 0o777), b"/etc/passwd"),
    ]
    assert take(zipped(*members)).files == {f"{HOME}/{BASH}": BODY}


def test_a_script_that_unpacks_without_end(take):
    bomb = zipped((member(f"{HOME}/{BASH}", compress_type=zipfile.ZIP_DEFLATED), b"\0" * 50_000_000))
    assert len(bomb) < 100_000
    assert "50000000 bytes" in refused(take, bomb, "script_missing")


def test_a_script_that_unpacks_to_more_than_it_says(take):
    data = bytearray(zipped((member(f"{HOME}/{BASH}", compress_type=zipfile.ZIP_DEFLATED), b"\0" * 3_000_000)))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.index(signature) + at
        data[start : start + 4] = (100).to_bytes(4, "little")
    refused(take, bytes(data), "script_missing")


def test_an_encrypted_script(take):
    data = bytearray(zipped((member(f"{HOME}/{BASH}"), BODY)))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    refused(take, bytes(data), "script_missing")


def test_a_directory_that_fills_the_memory_is_not_read(take):
    data = bytearray(genuine())
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = (900 * 1024 * 1024).to_bytes(4, "little")
    assert "943718400" in refused(take, bytes(data), "script_missing")


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"<html>", genuine()[:-30], genuine()[200:], genuine().replace(BODY, BODY[::-1])]
)
def test_what_is_no_whole_zip(take, data):
    refused(take, data, "script_missing")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (genuine("mdatp-xplat-main/", b""), "unknown commit"),
        (genuine("mdatp-xplat-main/", OTHER.encode()), OTHER),
        (genuine(f"mdatp-xplat-{COMMIT}/", b""), "unknown commit"),
        (genuine(f"mdatp-xplat-{OTHER}/"), OTHER),
        (genuine("mdatp-xplat-main/", COMMIT[:39].encode()), "unknown commit"),
    ],
)
def test_a_zip_of_another_commit_is_refused(take, data, said):
    message = refused(take, data, "script_commit", COMMIT)
    assert said in message
    assert COMMIT in message


def test_a_zip_of_the_pinned_commit(take):
    assert take(genuine(), COMMIT).commit == COMMIT
    assert take(genuine("mdatp-xplat-main/"), COMMIT.upper()).commit == COMMIT


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(0, len(genuine()) - 1), st.integers(1, 255))
@example(at=len(genuine()) - 1, bits=255)
def test_a_damaged_zip_gives_the_script_or_a_named_error(take, at, bits):
    data = bytearray(genuine())
    data[at] ^= bits
    try:
        copy = take(bytes(data))
    except MirrorError as error:
        assert error.code in ("script_missing", "script_commit")
        return
    assert copy.files.get(f"{HOME}/{BASH}", BODY) == BODY


@pytest.mark.parametrize(
    ("address", "is_zip"),
    [
        ("https://github.com/microsoft/mdatp-xplat", False),
        ("https://github.com/microsoft/mdatp-xplat.git", False),
        ("https://github.com/microsoft/mdatp-xplat/archive/refs/heads/master.zip", True),
        ("https://github.com/microsoft/mdatp-xplat/archive/1234.ZIP", True),
        ("https://codeload.github.com/microsoft/mdatp-xplat/zip/refs/heads/master", True),
        ("https://api.github.com/repos/microsoft/mdatp-xplat/zipball", True),
        ("https://server.example.com/xplat.zip?token=1", True),
        ("https://zip.example.com/zipper/xplat", False),
        ("ssh://git@server.example.com/xplat.zip", False),
        ("git@server.example.com:xplat.zip", False),
        ("file:///srv/xplat.git", False),
    ],
)
def test_which_addresses_are_those_of_zips(address, is_zip):
    assert is_zip_address(address) is is_zip


def test_the_operators_folder_may_hold_anything(tmp_path):
    home = tmp_path / HOME
    home.mkdir(parents=True)
    (home / BASH).write_bytes(BODY)
    (home / "settings.json").write_text("{}")
    (home / "notes.txt").write_text("a password")
    (home / "wdav-update").mkdir()
    (home / "huge.sh").write_bytes(b"x" * 2_000_000)
    (tmp_path / "VERSION").write_text("1.2.0\n")
    expected = {f"{HOME}/{BASH}": BODY, "VERSION": b"1.2.0\n"}
    assert in_folder(tmp_path) == in_folder(home) == expected
    (tmp_path / "elsewhere").symlink_to(home)
    assert in_folder(tmp_path / "elsewhere") == {f"{HOME}/{BASH}": BODY}
    with pytest.raises(MirrorError, match="contains neither"):
        in_folder(tmp_path / "nothing")
