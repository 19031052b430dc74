"""Settings: each key, each invalid value, and the message, which contains no secret."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror import settings
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import SettingsError
from ansible_collections.mde.offline.plugins.module_utils._mirror.settings import Settings, load, parse
from hypothesis import given
from hypothesis import strategies as st


def faults_of(fields):
    with pytest.raises(SettingsError) as refused:
        parse(fields)
    assert refused.value.code == "settings"
    assert refused.value.hint
    return refused.value.message


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def test_no_settings_are_settings():
    found = parse({})
    assert found.root == Path("/srv/mde-mirror")
    assert [str(unit) for unit in found.followed_units()] == ["linux/production/x86_64", "linux/production/arm64"]
    assert found.keep_previous
    assert found.source.url == "https://go.microsoft.com/fwlink/"
    assert found.source.allowed_hosts == ("go.microsoft.com", "definitionupdates.microsoft.com")


def test_the_six_keys_of_microsofts_script_mean_what_they_mean_there():
    found = parse(
        {
            "downloadFolder": "/tmp/wdav-update",
            "downloadLinuxUpdates": True,
            "logFilePath": "/tmp/mdatp_offline.log",
            "downloadMacUpdates": True,
            "downloadPreviewUpdates": True,
            "backupPreviousUpdates": False,
        }
    )
    assert found.root == Path("/tmp/wdav-update")
    assert found.log_file == "/tmp/mdatp_offline.log"
    assert found.keep_previous is False
    assert {unit.path for unit in found.followed_units()} == {
        f"{platform}/{ring}/arch_{arch}"
        for platform in ("linux", "mac")
        for ring in ("production", "preview")
        for arch in ("x86_64", "arm64")
    }


@pytest.mark.parametrize(
    ("url", "hosts", "allowed"),
    [
        ("https://go.microsoft.com/fwlink/", [], ("go.microsoft.com", "definitionupdates.microsoft.com")),
        ("https://GO.Microsoft.com/fwlink/", [], ("go.microsoft.com", "definitionupdates.microsoft.com")),
        ("https://mirror.example.com:8443/fwlink/", [], ("mirror.example.com",)),
        ("https://[2001:db8::1]/fwlink/", [], ("2001:db8::1",)),
        ("https://mirror.example.com/", ["CDN.example.com", "*.example.net"], ("cdn.example.com", "*.example.net")),
    ],
)
def test_redirects_may_go_to_the_hosts_of_the_source(url, hosts, allowed):
    assert parse({"source": {"url": url, "allowedHosts": hosts}}).source.allowed_hosts == allowed


WRONG = {
    "downloadFolder": [None, "", "relative/path", 5, [], "~/mirror"],
    "downloadLinuxUpdates": ["true", 1, 0, None, "yes"],
    "downloadMacUpdates": ["false", 1],
    "downloadPreviewUpdates": ["", []],
    "backupPreviousUpdates": ["True", 2],
    "logFilePath": ["sync.log", True, 3, {}],
    "architectures": ["x86_64", [], ["amd64"], ["x86_64", "x86_64"], [1], [""], None, {"x86_64": True}],
    "channels": [
        "canary",
        None,
        [1],
        ["canary", "canary"],
        ["production"],
        ["preview"],
        ["canary_back"],
        ["Canary"],
        ["../x"],
        ["."],
        [".releases"],
        ["a/b"],
        ["x" * 41],
        ["c\n"],
        [""],
    ],
    "retain": [0, -1, 1001, "3", 3.0, True, None],
    "parallel": [0, 33, "4", 1.5, False],
    "rateLimit": [-1, "10M", 1.5, None, 10**13],
    "maxDefinitionsAge": [-1, "72", True, None, 10**7, [72], {"canary": -1}, {"canary": "24"}, {"a b": 5}, {5: 5}],
    "verify": [None, [], "minBytes", 5],
    "source": [None, [], "https://example.com/", 5],
    "verify.minBytes": [0, -1, "1", 1.0],
    "verify.maxBytes": [0, "2G", None],
    "verify.expectedMembers": ["*.so", [1], [""], None, ["*.so", "*.so"]],
    "source.type": ["Microsoft", "proxy", None, 1, [], {}],
    "source.url": [
        "",
        5,
        "go.microsoft.com",
        "ftp://example.com/",
        "file:///srv",
        "https://",
        "https:///fwlink/",
        "https://exa mple.com/",
        "https://example.com:port/",
        "https://example.com:0/",
        "https://example.com:70000/",
        "https://[::1/",
        "https://example.com/#here",
        "https://user:word@example.com/",
        "https://bücher.example/",
        "http://go.microsoft.com/fwlink/",
        "http://definitionupdates.microsoft.com/",
    ],
    "source.script": [None, [], "/opt/script", 5],
    "source.script.path": ["script", 5, []],
    "source.script.url": [
        5,
        [],
        "mdatp-xplat",
        "github.com/microsoft/mdatp-xplat",
        "ftp://example.com/xplat.zip",
        "git://example.com/xplat.git",
        "ext::sh -c id",
        "--upload-pack=id",
        "https://",
        "https:///xplat.zip",
        "https://exa mple.com/xplat.zip",
        "https://example.com:0/xplat.zip",
        "https://example.com/xplat.zip#main",
        "https://user:a%0ab@example.com/xplat.git",
        "ssh://-oProxyCommand=id/xplat.git",
        "ssh://-x@example.com/xplat.git",
        "ssh://git:secret@example.com/xplat.git",
        "-x@example.com:xplat.git",
        "git@-oProxyCommand=id:xplat.git",
        "git@example.com:--upload-pack=id",
        "file://server/xplat.git",
        "file:xplat.git",
    ],
    "source.script.commit": ["main", "HEAD", "1" * 39, "1" * 41, "g" * 40, 5, []],
    "source.caFile": ["ca.pem", 5, "/no/such/file.pem", "/"],
    "source.clientCert": ["client.pem", "/no/such/file.pem"],
    "source.clientKey": ["client.key", True],
    "source.proxy": [
        5,
        "proxy",
        "proxy:3128",
        "https://proxy.example.com",
        "socks5://proxy.example.com",
        "http://proxy.example.com:3128/path",
        "http://proxy.example.com:3128?x=1",
        "http://proxy.example.com:0",
    ],
    "source.allowedHosts": ["example.com", [1], [""], None],
    "source.retries": [-1, 101, "3", 1.5, None],
    "source.timeout": [0, -1, "30", None, True, 3601, float("nan"), float("inf")],
    "source.connectTimeout": [0, "10", False, 10**6],
    "source.minSpeed": [-1, "16k", 1.5, None],
    "source.trustedKeys": ["keys.gpg", 5, [], "/no/such/keys.gpg", "/"],
    "source.unsigned": ["true", 1, 0, None],
    "signing": [None, [], "key.asc", 5],
    "signing.key": ["key.asc", 5, [], "/no/such/key.asc", "/"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_by_the_name_of_its_key(key, value):
    message = faults_of(nested(key, value))
    assert f"{key} " in message
    assert ";" not in message, "more than the one fault was found"


def test_no_key_is_left_out_of_these_tests():
    tables = (("", settings._TOP), ("verify.", settings._VERIFY), ("source.", settings._SOURCE))
    tables += (("source.script.", settings._SCRIPT), ("signing.", settings._SIGNING))
    assert {prefix + key for prefix, table in tables for key in table} == set(WRONG)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("downloadfolder", "unknown key downloadfolder (did you mean downloadFolder?)"),
        ("downloadLinuxUpdate", "unknown key downloadLinuxUpdate (did you mean downloadLinuxUpdates?)"),
        ("architecture", "unknown key architecture (did you mean architectures?)"),
        ("source.cafile", "unknown key source.cafile (did you mean caFile?)"),
        ("verify.maxByte", "unknown key verify.maxByte (did you mean maxBytes?)"),
        ("nothingOfTheKind", "unknown key nothingOfTheKind"),
        ("source.zzz", "unknown key source.zzz"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_it_may_mean(key, said):
    assert faults_of(nested(key, 1)).endswith(": " + said)


def test_all_faults_are_named_at_once():
    message = faults_of(
        {"retain": 0, "downloadFolder": "here", "colour": "blue", "verify": {"minBytes": "1"}, "source": {"retires": 2}}
    )
    assert message.count(";") == 4
    for part in ("retain ", "downloadFolder ", "colour", "verify.minBytes ", "source.retires (did you mean retries?)"):
        assert part in message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"verify": {"minBytes": 10, "maxBytes": 9}}, "verify.minBytes is above verify.maxBytes"),
        ({"downloadLinuxUpdates": False}, "downloadLinuxUpdates and downloadMacUpdates"),
        ({"source": {"clientKey": "/etc/hostname"}}, "source.clientKey"),
        ({"source": {"type": "mirror"}}, "source.url is missing"),
        ({"source": {"type": "mirror", "url": "http://a/"}}, "source.unsigned true"),
        ({"source": {"type": "mirror", "url": "HTTP://a/"}}, "source.trustedKeys"),
        ({"source": {"unsigned": True, "trustedKeys": __file__}}, "mutually exclusive"),
        ({"source": {"type": "script"}}, "source.script.path"),
        ({"source": {"script": {"path": "/opt/script"}}}, "source.script.path"),
        ({"source": {"type": "script"}}, "source.script.url"),
        ({"source": {"script": {"url": "/opt/xplat.zip"}}}, "source.script.url is for source.type script only"),
        (
            {"source": {"type": "mirror", "url": "https://a/", "script": {"commit": "1" * 40}}},
            "source.script.commit is for source.type",
        ),
        ({"source": {"type": "script", "script": {"path": "/opt/script", "url": "/opt/x.zip"}}}, "mutually exclusive"),
        (
            {"source": {"type": "script", "script": {"path": "/opt/script", "commit": "1" * 40}}},
            "without source.script.url",
        ),
    ],
)
def test_keys_that_do_not_fit_together(fields, said):
    assert said in faults_of(fields)


@pytest.mark.parametrize(
    "origin",
    [
        "https://github.com/microsoft/mdatp-xplat.git",
        "https://token:x-oauth@git.example.com:8443/xplat.git",
        "http://[2001:db8::1]/xplat.zip",
        "ssh://git@example.com:2222/srv/xplat.git",
        "git@example.com:microsoft/mdatp-xplat.git",
        "file:///srv/xplat.git",
        "file://localhost/srv/xplat.git",
        "/srv/a folder/xplat.zip",
    ],
)
def test_where_the_script_may_be_got_from(origin):
    found = parse({"source": {"type": "script", "script": {"url": origin, "commit": "AB" * 20}}}).source.script
    assert (found.url, found.commit, found.path) == (origin, "ab" * 20, None)


@pytest.mark.parametrize(
    ("former", "present"),
    [("path", "source.script.path"), ("origin", "source.script.url"), ("commit", "source.script.commit")],
)
def test_a_former_key_is_refused_with_the_present_one(former, present):
    assert (
        faults_of({"source": {"type": "script", former: "/opt/script"}}).count(f"source.{former} is now {present}") == 1
    )


@pytest.mark.parametrize("fields", [None, [], "text", 5, True])
def test_settings_are_an_object(fields):
    assert "object" in faults_of(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"source": {"proxy": "http://us er:hunter2@proxy.example.com"}},
        {"source": {"proxy": "https://user:hunter2@proxy.example.com"}},
        {"source": {"proxy": "user:hunter2@proxy.example.com:3128"}},
        {"source": {"proxy": "http://user:hunter2@proxy.example.com:3128/x"}},
        {"source": {"proxy": "http://user:hunter2@proxy.example.com:hunter2"}},
        {"source": {"proxy": ["http://user:hunter2@proxy.example.com"]}},
        {"source": {"proxy": {"user": "u", "password": "hunter2"}}},
        {"source": {"url": "https://user:hunter2@example.com/"}},
        {"source": {"script": {"url": "https://user:hunter2@exa mple.com/x.git"}}},
        {"source": {"origin": "https://user:hunter2@exa mple.com/x.git"}},
        {"source": {"script": {"url": "ssh://user:hunter2@example.com/x.git"}}},
        {"source": {"origin": "ssh://user:hunter2@example.com/x.git"}},
        {"source": {"script": {"url": "https://user:hunter2@example.com/x.git"}}},
        {"source": {"origin": "https://user:hunter2@example.com/x.git"}},
        {"source": {"proxyPassword": "hunter2"}},
        {"retain": 0, "source": {"proxy": "http://user:hunter2@proxy.example.com"}},
        {"source": [{"proxy": "http://user:hunter2@proxy"}]},
        [{"source": {"proxy": "http://u:hunter2@proxy"}}],
    ],
    ids=str,
)
def test_a_password_is_never_in_the_message(fields):
    assert "hunter2" not in faults_of(fields)


FILE = '{"downloadFolder": "/srv/mirrör", "retain": 2}'


@pytest.mark.parametrize("mark", [True, False], ids=["mark", "no mark"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_file_is_read_in_the_encodings_that_editors_write(tmp_path, encoding, mark):
    path = tmp_path / "settings.json"
    path.write_bytes((("\ufeff" if mark else "") + FILE.replace(",", ",\r\n")).encode(encoding))
    found = load(path)
    assert (found.root, found.retain) == (Path("/srv/mirrör"), 2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "valid JSON"),
        (b"{", "valid JSON"),
        (b"{'retain': 3}", "valid JSON"),
        (b'{"retain": 3,}', "valid JSON"),
        (b'{"retain": 3} {}', "valid JSON"),
        (FILE.encode("latin-1"), "valid JSON"),
        (codecs.BOM_UTF16_LE, "valid JSON"),
        (b"\0\0\0", "valid JSON"),
        (b'{"retain": NaN}', "retain"),
        (b'{"retain": 1' + b"0" * 5000 + b"}", "valid JSON"),
        (b'{"retain": 3, "retain": 4}', "'retain' occurs twice"),
        (b'{"source": {"url": "https://a/", "url": "https://b/"}}', "'url' occurs twice"),
        (b"[" * 100_000, "JSON"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, data, said):
    path = tmp_path / "settings.json"
    path.write_bytes(data)
    with pytest.raises(SettingsError) as refused:
        load(path)
    assert str(path) in refused.value.message
    assert said in refused.value.message


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(SettingsError, match=str(path)) as refused:
            load(path)
        assert "--settings" in refused.value.hint


@pytest.mark.parametrize("text", ["/srv/a\0b", "/srv/\ud800"], ids=["NUL", "half a letter"])
@pytest.mark.parametrize("key", ["downloadFolder", "logFilePath"])
def test_a_path_that_no_system_takes_is_refused(key, text):
    assert key in faults_of({key: text})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
URLS = st.text(alphabet="htps:/@[]%.#?a0-é\0 ", max_size=30) | st.text(max_size=12).map(lambda text: f"https://{text}")
SOURCE = st.fixed_dictionaries({}, optional=dict.fromkeys(settings._SOURCE, VALUES | URLS))
VERIFY = st.fixed_dictionaries({}, optional=dict.fromkeys(settings._VERIFY, VALUES))
FIELDS = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(settings._TOP, VALUES), "source": SOURCE | VALUES, "verify": VERIFY | VALUES}
)


@given(FIELDS | VALUES)
def test_whatever_is_given_is_settings_or_a_settings_error(fields):
    try:
        found = parse(fields)
    except SettingsError as error:
        assert error.message
        return
    assert isinstance(found, Settings)
    assert found.followed_units()


@given(st.binary(max_size=60) | FIELDS.map(lambda fields: json.dumps(fields).encode()))
def test_whatever_a_file_holds_is_settings_or_a_settings_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "settings-of-hypothesis.json"
    path.write_bytes(data)
    try:
        assert load(path).followed_units()
    except SettingsError as error:
        assert str(path) in error.message
