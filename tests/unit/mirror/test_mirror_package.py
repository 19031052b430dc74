"""The verification of a package: valid zips of every kind, and every kind of damage."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zipfile
from unittest import mock

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror.cancel import Cancel
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import Cancelled, MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.package import check_beginning, prove
from ansible_collections.mde.offline.plugins.module_utils._mirror.settings import parse
from hypothesis import given
from hypothesis import strategies as st

MEMBERS = {"libmpengine.so": b"engine " * 20, "vdm/": b"", "vdm/mpasbase.vdm": bytes(range(64)), "empty": b""}
NO_RULES = parse({}).policy


class Unseekable(io.RawIOBase):
    """A stream without seek, such as a pipe, to which a zip is written."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data.extend(data)
        return len(data)


def zipped(method=zipfile.ZIP_DEFLATED, members=MEMBERS, comment=b"", streamed=False, zip64=False, prefix=b""):
    made = Unseekable() if streamed else io.BytesIO(prefix)
    # The standard library writes a Zip64 end record only for many members; a low limit makes it write one.
    limit = mock.patch.object(zipfile, "ZIP_FILECOUNT_LIMIT", 1) if zip64 else contextlib.nullcontext()
    if prefix:
        made.seek(0, io.SEEK_END)
    with limit, zipfile.ZipFile(made, "w" if not prefix else "a") as package:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_STORED if name.endswith("/") else method
            with package.open(info, "w", force_zip64=zip64) as stream:
                stream.write(data)
        package.comment = comment
    return bytes(made.data) if streamed else made.getvalue()


KINDS = {
    "stored": zipped(zipfile.ZIP_STORED),
    "deflated": zipped(),
    "zip64": zipped(zip64=True),
    "streamed": zipped(streamed=True),
    "streamed zip64 with comment": zipped(streamed=True, zip64=True, comment=b"made by a stream"),
    "comment": zipped(comment=b"a comment"),
    "longest comment": zipped(comment=b"c" * 65535),
}
RARE_KINDS = {"bzip2": zipped(zipfile.ZIP_BZIP2), "lzma": zipped(zipfile.ZIP_LZMA)}


def content(data):
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        return {name: package.read(name) for name in package.namelist()}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """Verifies bytes as a package: returns None if they are accepted, or else the error code."""
    path = tmp_path_factory.mktemp("package") / "updates.zip"

    def judged(data, **rules):
        path.write_bytes(data)
        proof = parse({"verify": rules}).policy if rules else NO_RULES
        try:
            prove(path, proof, "https://example.com/updates.zip", Cancel())
        except MirrorError as error:
            assert error.message.startswith("https://example.com/updates.zip ")
            assert error.hint
            return error.code
        return None

    return judged


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
def test_whole_zips_are_taken(judge, data):
    assert judge(data) is None


@pytest.mark.parametrize("data", RARE_KINDS.values(), ids=RARE_KINDS)
def test_what_is_not_unpacked_everywhere_is_refused(judge, data):
    assert judge(data) == "unexpected_content"


def assert_refused_or_unharmed(judge, kind, data):
    assert judge(data) is not None or content(data) == content(kind)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_zip_that_ends_early_is_refused(judge, kind):
    cuts = range(len(kind)) if len(kind) < 2000 else [*range(400), *range(400, len(kind), 997), len(kind) - 1]
    assert {judge(kind[:cut]) for cut in cuts} <= {"corrupt_package", "size_out_of_bounds"}


SMALL = {name: data for name, data in KINDS.items() if len(data) < 2000}


@pytest.mark.parametrize("name", ["stored", "deflated", "streamed zip64 with comment"])
def test_a_flipped_bit_is_refused_or_does_no_harm(judge, name):
    kind = SMALL[name]
    for at in range(len(kind)):
        for bit in (0x01, 0x80):
            assert_refused_or_unharmed(judge, kind, kind[:at] + bytes([kind[at] ^ bit]) + kind[at + 1 :])


@given(st.sampled_from(sorted(SMALL)), st.data())
def test_another_byte_is_refused_or_does_no_harm(judge, name, data):
    kind = SMALL[name]
    at = data.draw(st.integers(0, len(kind) - 1))
    byte = data.draw(st.integers(0, 255))
    assert_refused_or_unharmed(judge, kind, kind[:at] + bytes([byte]) + kind[at + 1 :])


def entries(data):
    """The offsets of the entries in the central directory."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        at = package.start_dir
        for _member in package.infolist():
            yield at
            at += 46 + sum(struct.unpack_from("<3H", data, at + 28))


@pytest.mark.parametrize("kind", SMALL.values(), ids=SMALL)
def test_no_member_is_hidden_behind_a_comment(judge, kind):
    for at in entries(kind):
        for place in (at + 32, at + 33):
            assert_refused_or_unharmed(judge, kind, kind[:place] + bytes([kind[place] ^ 0x7F]) + kind[place + 1 :])


@pytest.mark.parametrize("kind", SMALL.values(), ids=SMALL)
def test_another_compression_method_is_refused_or_does_no_harm(judge, kind):
    for at in entries(kind):
        for method in (0, 1, 8, 9, 12, 14, 93, 99):
            assert_refused_or_unharmed(judge, kind, kind[: at + 10] + bytes([method]) + kind[at + 11 :])


def test_an_end_record_that_is_said_to_be_elsewhere_is_refused(judge):
    kind = KINDS["zip64"]
    locator = kind.rfind(b"PK\6\7")
    for at in range(locator + 8, locator + 16):
        for byte in (0x01, 0x7F, 0x80, 0xFF):
            assert judge(kind[:at] + bytes([kind[at] ^ byte]) + kind[at + 1 :]) == "corrupt_package"


def with_flags(data, flags):
    """The zip with these flags added to each member."""
    data = bytearray(data)
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        at = package.start_dir
        for member in package.infolist():
            data[member.header_offset + 6] |= flags
            data[at + 8] |= flags
            at += 46 + sum(struct.unpack_from("<3H", data, at + 28))
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\3\4",
        b"PK\3\4" + bytes(1000),
        zipped(members={}),
        KINDS["deflated"] + b"\0",
        KINDS["comment"] + b"\n<!-- appended -->",
        KINDS["deflated"] + KINDS["deflated"],
        b"\0" + KINDS["deflated"],
        b"#!/bin/sh\n" + KINDS["deflated"],
        zipped(prefix=b"PK\3\4" + bytes(40))[44:],
        KINDS["deflated"][:40] + KINDS["deflated"][60:],
        KINDS["deflated"][:40] + bytes(20) + KINDS["deflated"][40:],
        with_flags(KINDS["deflated"], 0x1),
        with_flags(KINDS["deflated"], 0x41),
        with_flags(KINDS["deflated"], 0x20),
    ],
    ids=[
        "nothing",
        "a header alone",
        "a header and zeros",
        "no members",
        "a byte behind",
        "text behind",
        "twice",
        "a byte before",
        "a script before",
        "its prefix lost",
        "bytes missing in the middle",
        "bytes added in the middle",
        "encrypted",
        "strongly encrypted",
        "patch data",
    ],
)
def test_what_is_no_whole_zip_is_refused(judge, data):
    assert judge(data) in ("corrupt_package", "size_out_of_bounds")


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/etc/evil", "..", "a\\b", "..\\evil", "C:evil", "c:/evil"],
)
def test_members_stay_in_their_folder(judge, name):
    assert judge(zipped(members={**MEMBERS, name: b"x"})) == "unexpected_content"


@pytest.mark.parametrize("name", ["..evil", "a/..b/c", "a/.b", "ünïcode/日本", "with space"])
def test_odd_names_are_fine(judge, name):
    assert judge(zipped(members={**MEMBERS, name: b"x"})) is None


def test_a_member_is_named_once(judge):
    with pytest.warns(UserWarning, match="Duplicate"):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as package:
            package.writestr("a", b"1")
            package.writestr("a", b"2")
    assert judge(made.getvalue()) == "unexpected_content"


def test_a_package_holds_something(judge):
    assert judge(zipped(members={"a/": b"", "b": b""})) == "unexpected_content"


def test_a_bomb_is_refused_before_it_is_unpacked(judge):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as package, package.open("bomb", "w") as stream:
        for _ in range(260):
            stream.write(bytes(1 << 20))
    assert judge(made.getvalue()) == "unexpected_content"


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["deflated", "bzip2", "lzma"]
)
def test_memory_stays_flat_whatever_a_member_unpacks_to(judge, method):
    data = zipped(method, {"big": bytes(48 << 20)})
    tracemalloc.start()
    try:
        judge(data)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("patterns", "code"),
    [
        (["*.so", "vdm/*.vdm"], None),
        (["libmpengine.so"], None),
        (["*"], None),
        (["*.dll"], "unexpected_content"),
        (["*.so", "*.dll"], "unexpected_content"),
        (["LIBMPENGINE.SO"], "unexpected_content"),
    ],
)
def test_expected_members(judge, patterns, code):
    assert judge(KINDS["deflated"], expectedMembers=patterns) == code


@pytest.mark.parametrize(("by", "code"), [(0, None), (1, "size_out_of_bounds"), (-1, "size_out_of_bounds")])
def test_size_bounds_hold_to_the_byte(judge, by, code):
    size = len(KINDS["deflated"]) + by
    assert judge(KINDS["deflated"], minBytes=size, maxBytes=size) == code


def test_proving_can_be_stopped(tmp_path):
    path = tmp_path / "updates.zip"
    path.write_bytes(KINDS["deflated"])
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        prove(path, NO_RULES, "it", cancel)


@pytest.mark.parametrize(
    ("data", "content_type", "said"),
    [
        (b"PK\3\4rest", "text/html", None),
        (b"\r\n <!DOCTYPE HTML>", "application/zip", "HTML page"),
        (b"<html>", "", "HTML page"),
        (b"Please sign in", "text/html; charset=utf-8", "HTML page"),
        (b"", "application/zip", "nothing"),
        (b"\x1f\x8b\x08", "application/zip", "not a zip"),
        (b"PK\5\6" + bytes(18), "application/zip", "not a zip"),
    ],
)
def test_the_first_bytes_tell_what_came(data, content_type, said):
    if said is None:
        check_beginning(data, content_type, "it")
        return
    with pytest.raises(MirrorError, match=said) as refused:
        check_beginning(data, content_type, "it")
    assert refused.value.code == "not_a_package"
