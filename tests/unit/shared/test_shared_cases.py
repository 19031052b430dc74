"""The parts that may not import each other have the same verdicts about addresses, proxies, JSON texts and versions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions as endpoint_versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import proxies
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import strict_json
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address as endpoint_address
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import manifest
from ansible_collections.mde.offline.plugins.module_utils._mirror import settings
from ansible_collections.mde.offline.plugins.module_utils._mirror import versions as mirror_versions
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.plugin_utils._fleet.mirror_url import AddressError, compose
from ansible_collections.mde.offline.plugins.plugin_utils._managed import validate
from ansible_collections.mde.offline.plugins.plugin_utils._managed import versions as managed_versions
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.shared.cases import (
    ADDRESSES,
    AGENT_VERSIONS,
    JSON_PLACES,
    JSON_TEXTS,
    PACKAGE_VERSIONS,
    PROXIES,
)

Side = Callable[[str], bool]


# --- Addresses of mirrors -----------------------------------------------------------------------------------------


def channel_folder(root: str) -> str:
    """The address that an agent is given for a mirror."""
    folder = f"{root.rstrip('/') if root.strip('/') else ''}/linux/production"
    return folder if root.startswith("/") else f"{folder}/"


def managed_errors(config: dict[str, Any], path: str) -> list[str]:
    found = validate.config_findings(config, "101.26062.0005")
    return [finding["id"] for finding in found if finding["severity"] == "error" and finding["path"] == path]


def address_in_managed(root: str) -> bool:
    config = {"antivirusEngine": {"offlineDefinitionUpdateUrl": channel_folder(root)}}
    return managed_errors(config, "antivirusEngine.offlineDefinitionUpdateUrl") == []


def address_in_endpoint(root: str) -> bool:
    address = channel_folder(root)
    return endpoint_address.Address(address).problem is None and not endpoint_address.points_below_channel(address)


def address_in_fleet(root: str) -> bool:
    try:
        return compose(root) == compose(root)
    except AddressError:
        return False


def accepted_by_settings(**source: str) -> bool:
    try:
        settings.parse({"source": source})
    except MirrorError:
        return False
    return True


def address_in_mirror(root: str) -> bool:
    return accepted_by_settings(type="mirror", url=root, unsigned=True)


ADDRESS_SIDES: dict[str, Side] = {
    "managed": address_in_managed,
    "endpoint": address_in_endpoint,
    "fleet": address_in_fleet,
}


def mirror_judges(root: str) -> bool:
    """Whether the mirror's setting source.url has the same rule.

    The setting cannot be a directory. It may contain a query, because the address of Microsoft's service has one. It is
    the root of a mirror, to which the engine, not the agent, appends the paths of folders and files.
    """
    path = root.partition("://")[2].partition("/")[2]
    return not root.startswith("/") and "?" not in root and not re.search(r"(?i)arch_|\.zip|manifest\.json", path)


@pytest.mark.parametrize(("root", "usable"), ADDRESSES.items())
def test_addresses(root: str, usable: bool) -> None:
    verdicts = {name: judge(root) for name, judge in ADDRESS_SIDES.items()}
    if mirror_judges(root):
        verdicts["mirror"] = address_in_mirror(root)
    assert verdicts == dict.fromkeys(verdicts, usable)


PIECES = ["http://", "https://", "HTTP://", "ftp://", "file://", "//", "/", ":", "@", "[", "]", "::1", "%", "?", "#"]
PIECES += ["m", "m.corp", "proxy", ".", "..", "_", "-", "80", "0", "65536", "arch_", "arch_x86_64", ".zip", "linux"]
PIECES += ["manifest.json", " ", "\t", "\\", "\u00e4", "x" * 64, "u:p@", "wpad", ".pac", "pac+", "%20", "\x00", "'"]
ADDRESS_LIKE = st.builds(
    lambda scheme, rest: scheme + "".join(rest),
    st.sampled_from(["http://", "https://", "/", ""]),
    st.lists(st.sampled_from(PIECES), max_size=6),
)


@given(ADDRESS_LIKE | st.from_regex(r"\A(?:https?://|/)[ -~]{0,20}\Z"))
def test_generated_addresses(root: str) -> None:
    # Blanks around an address are removed from the value of an option, but are an error in the file.
    assume(root and root == root.strip())
    # In the file, a value that looks like a placeholder has its own error.
    assume("placeholder_value" not in managed_errors({"antivirusEngine": {"offlineDefinitionUpdateUrl": root}}, "$"))
    # The address of a channel is an error only if the root of a mirror is required.
    assume(not re.search(r"(?i)/(linux|mac)/", root + "/"))
    verdicts = {name: judge(root) for name, judge in ADDRESS_SIDES.items()}
    if mirror_judges(root):
        verdicts["mirror"] = address_in_mirror(root)
    assert len(set(verdicts.values())) == 1, verdicts


# --- Proxies --------------------------------------------------------------------------------------------------------


def proxy_in_managed(value: str) -> bool:
    return managed_errors({"cloudService": {"proxy": value}}, "cloudService.proxy") == []


def proxy_in_endpoint(value: str) -> bool:
    return proxies.problem(value) is None


def proxy_in_mirror(value: str) -> bool:
    return accepted_by_settings(proxy=value)


def mirror_has_the_same_rule(value: str) -> bool:
    """The mirror's HTTP client accepts credentials and any host name, but not TLS to the proxy."""
    return not re.search(r"(?i)@|\Ahttps:|wpad|\.pac|proxy\.(server|example)", value)


@pytest.mark.parametrize(("value", "usable"), PROXIES.items())
def test_proxies(value: str, usable: bool) -> None:
    verdicts = {"managed": proxy_in_managed(value), "endpoint": proxy_in_endpoint(value)}
    if mirror_has_the_same_rule(value):
        verdicts["mirror"] = proxy_in_mirror(value)
    assert verdicts == dict.fromkeys(verdicts, usable)


@given(ADDRESS_LIKE | st.from_regex(r"\A(?:https?://)?[ -~]{1,16}\Z"))
def test_generated_proxies(value: str) -> None:
    assume(value and value == value.strip())
    verdicts = {"managed": proxy_in_managed(value), "endpoint": proxy_in_endpoint(value)}
    if mirror_has_the_same_rule(value):
        verdicts["mirror"] = proxy_in_mirror(value)
    assert len(set(verdicts.values())) == 1, verdicts


# --- JSON texts -----------------------------------------------------------------------------------------------------

ABOUT_THE_TEXT = {
    "byte_order_mark",
    "wrong_encoding",
    "empty_file",
    "not_json",
    "duplicate_name",
    "root_not_object",
    "too_deep",
}


def json_in_endpoint(text: bytes) -> str | None:
    try:
        strict_json.loads(strict_json.decode(text))
    except strict_json.NotStrictJson as error:
        return str(error.kind)
    return None


def json_in_managed(text: bytes) -> set[str]:
    return {finding["id"] for finding in validate.config_findings(text)} & ABOUT_THE_TEXT


def assert_same_json(text: bytes) -> str | None:
    """The endpoint reports the first fault; the controller may report several."""
    first, found = json_in_endpoint(text), json_in_managed(text)
    if text and not text.strip(b"\x00"):
        # Both refuse an empty file: the endpoint as `empty_file`, the controller as `not_json`.
        assert (first, found) == ("empty_file", {"not_json"})
        return first
    assert (first in found) if first else not found, (first, found)
    return first


@pytest.mark.parametrize(("text", "finding"), JSON_TEXTS.items())
def test_json_texts(text: bytes, finding: str | None) -> None:
    assert assert_same_json(text) == finding


@pytest.mark.parametrize(("text", "place"), JSON_PLACES.items())
def test_places_in_json_texts(text: bytes, place: tuple[int, int]) -> None:
    with pytest.raises(strict_json.NotStrictJson) as caught:
        strict_json.loads(strict_json.decode(text))
    message = next(finding["message"] for finding in validate.config_findings(text) if finding["id"] == "not_json")
    assert "(line {}, column {})".format(*place) in caught.value.message
    assert message.startswith("Line {}, column {}: ".format(*place))


TOKENS = [*'{}[]:,"\\', '"a"', '"b"', '"a":', '{"a":', "1", "0", "-", "+", ".", "e9", "1e999", "01", "true", "nul"]
TOKENS += ["NaN", "Infinity", " ", "\n", "\t", "\x00", "\u00a0", "//", "#", "'", "\\u00", "\\ud800", "\u00e4", "\ufeff"]
JSON_LIKE = st.lists(st.sampled_from(TOKENS), max_size=12).map("".join)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


@given(JSON_LIKE | JSON_LIKE.map(lambda text: f'{{"a": {text}}}'))
def test_generated_json_texts(text: str) -> None:
    assert_same_json(text.encode())


@given(st.dictionaries(st.sampled_from("abc"), ANY_JSON), st.data())
def test_damaged_json_texts(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    assert_same_json((text[:at] + data.draw(st.sampled_from(["", *TOKENS])) + text[at + cut :]).encode())


# --- Versions -------------------------------------------------------------------------------------------------------


def manifest_of(version: Any) -> bytes:
    return json.dumps({"DefinitionVersion": version, "EngineVersion": "1.1.1.1"}).encode()


def version_in_endpoint(version: Any) -> bool:
    try:
        return bool(manifest._versions(manifest_of(version), "manifest.json"))
    except FindingError:
        return False


def version_in_mirror(version: Any) -> bool:
    try:
        return bool(mirror_versions.from_manifest(manifest_of(version)))
    except ValueError:
        return False


@pytest.mark.parametrize(("version", "usable"), PACKAGE_VERSIONS.items())
def test_package_versions(version: str, usable: bool) -> None:
    verdicts = {"endpoint": version_in_endpoint(version), "mirror": version_in_mirror(version)}
    assert verdicts == dict.fromkeys(verdicts, usable)


@given(st.from_regex(r"\A[0-9. v-]{0,12}\Z") | st.text(max_size=8) | st.none() | st.integers() | st.lists(st.text()))
def test_generated_package_versions(version: Any) -> None:
    assert version_in_endpoint(version) == version_in_mirror(version)


NUMBERS = st.integers(0, 10**9 - 1)
ORDERED = st.lists(NUMBERS, min_size=2, max_size=6).map(lambda numbers: ".".join(map(str, numbers)))


@given(ORDERED, ORDERED)
def test_the_order_of_package_versions(left: str, right: str) -> None:
    def without_zeros(version: str) -> str:
        return re.sub(r"(\.0+)+\Z", "", version)

    assume(without_zeros(left) != without_zeros(right))  # 1.2 and 1.2.0 are one version on an endpoint
    older = mirror_versions.version_key(left) < mirror_versions.version_key(right)
    assert endpoint_versions.older(left, right) == older


@pytest.mark.parametrize(("older", "newer"), pairwise(AGENT_VERSIONS))
def test_the_order_of_agent_versions(older: str, newer: str) -> None:
    assert managed_versions.parse(older) < managed_versions.parse(newer)
    assert endpoint_versions.older(older, newer)


AGENT = st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda numbers: ".".join(map(str, numbers)))


@given(AGENT, AGENT)
def test_the_order_of_generated_agent_versions(left: str, right: str) -> None:
    assert endpoint_versions.older(left, right) == (managed_versions.parse(left) < managed_versions.parse(right))
