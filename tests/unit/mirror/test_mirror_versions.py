"""The versions in the service's XML and in manifests, and the comparison of versions."""

from __future__ import annotations

import codecs
import json

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.versions import (
    MAX_XML_BYTES,
    Versions,
    from_manifest,
    from_xml,
    is_version,
    version_key,
)
from hypothesis import given
from hypothesis import strategies as st

DEFINITIONS, ENGINE, DATE = "1.443.508.0", "1.1.25110.3002", "2026-02-03T08:15:42Z"


def xml(definitions=DEFINITIONS, engine=ENGINE, date="2026-02-03 08:15:42Z", root="versions", head="", extra=""):
    return (
        f"{head}<{root}><engine>{engine}</engine><platform>4.18.26010.5</platform>"
        f'<signatures date="{date}">{definitions}</signatures>{extra}</{root}>'
    )


TAKEN = {
    "as documented": xml().encode(),
    "indented": xml().replace("><", ">\n    <").encode(),
    "white space around values": xml(f"\r\n  {DEFINITIONS}\t", f" {ENGINE} ").encode(),
    "other order": (
        f'<versions><signatures date="2026-02-03 08:15:42Z">{DEFINITIONS}</signatures><engine>{ENGINE}</engine>'
        "</versions>"
    ).encode(),
    "declaration": xml(head='<?xml version="1.0" encoding="utf-8"?>\n').encode(),
    "latin-1": xml(head='<?xml version="1.0" encoding="iso-8859-1"?>').encode("latin-1"),
    "windows-1252": xml(head='<?xml version="1.0" encoding="windows-1252"?>', extra="<x>ü</x>").encode("cp1252"),
    "UTF-8 with mark": codecs.BOM_UTF8 + xml().encode(),
    "UTF-16 little endian": codecs.BOM_UTF16_LE + xml().encode("utf-16-le"),
    "UTF-16 big endian": codecs.BOM_UTF16_BE + xml(head='<?xml version="1.0" encoding="utf-16"?>').encode("utf-16-be"),
    "attributes and unknown elements": xml(extra='<later a="1"><signatures>9.9</signatures></later>').encode(),
    "comment and CDATA": xml(extra="<!-- x -->").replace(ENGINE, f"<![CDATA[{ENGINE}]]>").encode(),
    "as large as allowed": xml().ljust(MAX_XML_BYTES).encode(),
}


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_a_right_answer_is_read(data):
    assert from_xml(data, "it") == Versions(DEFINITIONS, ENGINE, DATE)


@pytest.mark.parametrize(
    ("date", "read"),
    [
        ("2026-02-03 08:15:42Z", DATE),
        ("2026-02-03T08:15:42Z", DATE),
        ("2026-02-03 08:15:42", DATE),
        ("2026-02-03T08:15:42.1234567Z", DATE),
        (" 2026-02-03 08:15:42Z ", DATE),
        ("", None),
        ("yesterday", None),
        ("02/03/2026 08:15:42", None),
        ("2026-02-03", None),
        ("2026-13-45 08:15:42Z", None),
    ],
)
def test_the_date_is_read_in_both_forms_and_is_otherwise_unknown(date, read):
    assert from_xml(xml(date=date).encode(), "it") == Versions(DEFINITIONS, ENGINE, read)


BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 11))
REFUSED = {
    "nothing": b"",
    "white space": b"  \n",
    "text": b"It works!",
    "a page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "cut off": xml().encode()[:60],
    "cut off within a letter": xml().encode("utf-16")[:-1],
    "two documents": (xml() + xml()).encode(),
    "not closed": b"<versions><engine>1.1.1.1</engine><signatures>1.2</versions>",
    "other root": xml(root="version").encode(),
    "wrapped": f"<answer>{xml()}</answer>".encode(),
    "no versions": b"<versions/>",
    "no engine": xml().replace("engine", "motor").encode(),
    "no definitions": xml().replace("signatures", "definitions").encode(),
    "engine twice": xml(extra=f"<engine>{ENGINE}</engine>").encode(),
    "definitions twice": xml(extra="<signatures>1.443.999.0</signatures>").encode(),
    "document type": xml(head="<!DOCTYPE versions>").encode(),
    "entity bomb": xml(definitions="&e10;", head=f'<!DOCTYPE versions [<!ENTITY e0 "1">{BOMB}]>').encode(),
    "external entity": xml("&x;", head='<!DOCTYPE versions [<!ENTITY x SYSTEM "file:///etc/hostname">]>').encode(),
    "external parameter entity": xml(head='<!DOCTYPE versions [<!ENTITY % x SYSTEM "file:///dev/zero"> %x;]>').encode(),
    "external document type": xml(head='<!DOCTYPE versions SYSTEM "http://127.0.0.1/x.dtd">').encode(),
    "document type in UTF-16": xml(head="<!DOCTYPE versions>").encode("utf-16"),
    "entity without a document type": xml("&x;").encode(),
    "too large": xml().ljust(MAX_XML_BYTES + 1).encode(),
    "too large by a comment": (f"<!--{'x' * MAX_XML_BYTES}-->" + xml()).encode(),
    "unknown encoding": xml(head='<?xml version="1.0" encoding="no-such"?>').encode(),
    "encoding that is none": xml(head='<?xml version="1.0" encoding="hex"?>').encode(),
    "multi-byte encoding": xml(head='<?xml version="1.0" encoding="utf-7"?>').encode(),
    "not in its encoding": xml(head='<?xml version="1.0" encoding="utf-8"?>', extra="<x>ü</x>").encode("latin-1"),
    "NUL": xml().replace("0.5", "0\0").encode(),
    "namespace prefix": xml().replace("engine", "a:engine").encode(),
    **{
        f"definitions {value!r}": xml(definitions=value).encode()
        for value in ("", "1", "1.", ".1", "1..2", "-1.443.508.0", "1.443.508.0-beta", "v1.443.508.0", "1,443", "1.2 3")
    },
    "definitions of other digits": xml(DEFINITIONS.translate({ord("5"): "\uff15"})).encode(),
    "definitions that leave the folder": xml("../../../../tmp/x").encode(),
    "definitions too long to be a version": xml("1.2.3.4.5.6.7").encode(),
    "engine of huge numbers": xml(engine="1.1.99999999999999999999").encode(),
    "value in a child": xml(f"<v>{DEFINITIONS}</v>").encode(),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused_with_advice(data):
    with pytest.raises(MirrorError) as refused:
        from_xml(data, "https://example.com/info")
    error = refused.value
    assert error.code == "bad_versions"
    assert error.retriable
    assert "https://example.com/info" in error.message
    assert len(error.message) < 250
    assert error.hint


RIGHT = xml().encode()


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: xml(text).encode("utf-8", "surrogatepass")),
        st.text(alphabet="<>/&;[]!\"'= abe:-?\0", max_size=80).map(lambda text: xml(extra=text).encode()),
        st.sampled_from(["utf-16", "utf-32", "cp037", "utf-7"]).map(lambda encoding: xml().encode(encoding)),
        st.builds(
            lambda at, byte: RIGHT[:at] + bytes([byte]) + RIGHT[at + 1 :],
            st.integers(0, len(RIGHT) - 1),
            st.integers(0, 255),
        ),
    )
)
def test_whatever_comes_is_versions_or_a_mirror_error(data):
    try:
        found = from_xml(data, "it")
    except MirrorError:
        return
    assert is_version(found.definitions)
    assert is_version(found.engine)


def test_a_manifest_comes_back_as_it_was_written():
    versions = Versions(DEFINITIONS, ENGINE)
    assert from_manifest(versions.manifest()) == versions
    assert json.loads(versions.manifest()) == {"EngineVersion": ENGINE, "DefinitionVersion": DEFINITIONS}
    assert from_manifest(codecs.BOM_UTF8 + versions.manifest()) == versions


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"EngineVersion": "1.1.1.1"}',
        b'{"EngineVersion": 1.1, "DefinitionVersion": 1.2}',
        b'{"EngineVersion": "1.1.1.1", "DefinitionVersion": "../x"}',
        b'{"EngineVersion": "null", "DefinitionVersion": "null"}',
        b"\xff\xfe\xfd",
        b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:40]),
)
def test_another_manifest_is_a_value_error(data):
    with pytest.raises(ValueError):
        from_manifest(data)


def test_versions_sort_as_numbers():
    ordered = ["1.9.0.0", "1.443.9.0", "1.443.10.0", "1.443.508.0", "1.443.1000.0", "1.1000.0.0", "2.0.0.0", "10.0.0.0"]
    mixed = ordered[::2] + ordered[1::2]
    assert sorted(mixed, key=version_key) == ordered


@pytest.mark.parametrize(
    ("offered", "lower"),
    [
        ((DEFINITIONS, ENGINE), False),
        (("1.443.1000.0", ENGINE), False),
        (("1.443.99.0", ENGINE), True),
        ((DEFINITIONS, "1.1.25110.3001"), True),
        (("1.443.509.0", "1.1.9999.1"), True),
        (("1.443.99.0", "1.1.30000.1"), True),
    ],
)
def test_lower_is_what_went_back_in_either_number(offered, lower):
    assert Versions(*offered).lower_than(Versions(DEFINITIONS, ENGINE)) is lower


def test_the_same_versions_are_the_same_however_they_are_written_and_dated():
    assert Versions("1.443.0508.0", ENGINE, DATE).same_as(Versions(DEFINITIONS, ENGINE))
    assert not Versions(DEFINITIONS, ENGINE).same_as(Versions(DEFINITIONS, "1.1.25110.3003"))
