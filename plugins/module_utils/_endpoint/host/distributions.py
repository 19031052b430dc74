"""Lists the distributions on which Microsoft supports the agent. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re

from ansible_collections.mde.offline.plugins.module_utils._endpoint import agent_versions

# Supported major releases with their lowest minor release; "later": all major releases from this one on are supported;
# "arm64": the major releases that are supported on arm64.
DISTRIBUTIONS = {
    "rhel": {"name": "Red Hat Enterprise Linux", "majors": {7: 2, 8: 0, 9: 0}, "arm64": (8, 9), "packages": "rpm"},
    "centos": {"name": "CentOS", "majors": {7: 2, 8: 0}, "arm64": (), "packages": "rpm"},
    "ubuntu": {"name": "Ubuntu LTS", "majors": {16: 4}, "later": 18, "arm64": (20, 22, 24), "packages": "deb"},
    "debian": {"name": "Debian", "majors": {9: 0, 10: 0, 11: 0, 12: 0, 13: 0}, "arm64": (11, 12), "packages": "deb"},
    "sles": {"name": "SUSE Linux Enterprise Server", "majors": {12: 0, 15: 0}, "arm64": (15,), "packages": "rpm"},
    "ol": {"name": "Oracle Linux", "majors": {7: 2, 8: 0, 9: 0}, "arm64": (8, 9), "packages": "rpm"},
    "amzn": {"name": "Amazon Linux", "majors": {2: 0, 2023: 0}, "arm64": (2, 2023), "packages": "rpm"},
    "fedora": {"name": "Fedora", "majors": {}, "later": 33, "arm64": (), "packages": "rpm"},
    "rocky": {"name": "Rocky Linux", "majors": {8: 7}, "later": 9, "arm64": (), "packages": "rpm"},
    "almalinux": {"name": "AlmaLinux", "majors": {8: 4}, "later": 9, "arm64": (), "packages": "rpm"},
    "mariner": {"name": "CBL-Mariner", "majors": {2: 0}, "arm64": (), "packages": "rpm"},
}
_ALIASES = {"oracle": "ol", "redhat": "rhel", "alma": "almalinux", "amazon": "amzn", "sles_sap": "sles"}
REQUIRED = (
    "RHEL 7.2+, 8, 9; CentOS 7.2+; Ubuntu 16.04 LTS or a later LTS; Debian 9-13; SLES 12, 15; Oracle Linux 7.2+, 8, 9; "
    "Amazon Linux 2, 2023; Fedora 33+; Rocky Linux 8.7+; AlmaLinux 8.4+; CBL-Mariner 2"
)
EL6 = ("rhel", "centos", "ol")
EL6_NEVER = (
    "the last agent for EL 6 is {0}, and offline updates begin with {1}. An EL 6 host can never use them"
).format(agent_versions.LAST_EL6, agent_versions.OFFLINE_UPDATES_X86_64)
_ASSIGNMENT = re.compile(r"^\s*([A-Z][A-Z0-9_]*)=(.*?)\s*$", re.MULTILINE)
_RELEASE_FILES = (
    ("etc/oracle-release", "ol"),
    ("etc/centos-release", "centos"),
    ("etc/rocky-release", "rocky"),
    ("etc/almalinux-release", "almalinux"),
    ("etc/fedora-release", "fedora"),
    ("etc/redhat-release", "rhel"),
)
_WORDS = (("red hat", "rhel"), ("centos", "centos"), ("oracle", "ol"), ("rocky", "rocky"), ("alma", "almalinux"))


def parse_os_release(text):
    """The assignments of an os-release file, without quotes and escapes."""
    return {name: _unquoted(value) for name, value in _ASSIGNMENT.findall(text)}


def _unquoted(value):
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        quote, value = value[0], value[1:-1]
        if quote == "'":
            return value
    return re.sub(r"\\(.)", r"\1", value)


def read(host):
    """The distribution of a host: id, name, version, and whether Microsoft supports the agent on it, or why not."""
    os_release = parse_os_release(host.text("etc/os-release", 65536) or host.text("usr/lib/os-release", 65536))
    ident = os_release.get("ID", "").lower()
    ident = _ALIASES.get(ident, ident)
    version = os_release.get("VERSION_ID", "")
    name = os_release.get("PRETTY_NAME") or os_release.get("NAME") or ""
    ident, version, name = _from_release_file(host, ident, version, name)
    return judge(ident, version, name, os_release)


def _from_release_file(host, ident, version, name):
    """Completes the record from a release file: EL 6 has no os-release, that of CentOS 7 lacks the minor release."""
    for path, owner in _RELEASE_FILES:
        line = host.text(path, 4096).strip()
        if not line or (ident and ident != owner):
            continue
        found = re.search(r"release ([0-9]+(?:\.[0-9]+)*)", line)
        if not ident:
            others = line.split()[0].lower()
            ident = next((known for word, known in _WORDS if word in line.lower()), others)
            name = name or line.splitlines()[0]
        if found and len(found.group(1)) > len(version):
            version = found.group(1)
        break
    return ident, version, name


def judge(ident, version, name="", os_release=()):
    """The record of a distribution, from its id and version as os-release has them."""
    os_release = dict(os_release)
    known = DISTRIBUTIONS.get(ident)
    numbers = [int(part) for part in re.findall(r"[0-9]+", version)[:2]]
    record = {
        "id": ident,
        "name": name or " ".join(part for part in (known["name"] if known else ident, version) if part),
        "version": version,
        "packages": known["packages"] if known else None,
        "el6": ident in EL6 and numbers[:1] == [6],
    }
    supported, reason = _verdict(known, ident, numbers, os_release)
    return dict(record, supported=supported, reason=reason)


def _verdict(known, ident, numbers, os_release):
    if not ident:
        return None, "neither os-release nor a release file names the distribution"
    if known is None:
        parents = [word for word in os_release.get("ID_LIKE", "").lower().split() if word in DISTRIBUTIONS]
        derived = ", and derivatives of {0} do not count as {0}".format(parents[0]) if parents else ""
        return False, "it is not in Microsoft's list{0}".format(derived)
    if not numbers:
        return None, "it has no version, as on a rolling or unreleased distribution"
    major, minor = numbers[0], (numbers[1] if len(numbers) > 1 else None)
    if ident in EL6 and major == 6:
        return False, EL6_NEVER
    if ident == "centos" and "stream" in (os_release.get("NAME", "") + os_release.get("PRETTY_NAME", "")).lower():
        return False, "CentOS Stream is excluded"
    if ident == "ubuntu" and not (major % 2 == 0 and minor == 4):
        return False, "only the LTS releases of Ubuntu are supported"
    lowest = 0 if major >= known.get("later", major + 1) else known["majors"].get(major)
    if lowest is None:
        return False, "this release of {0} is not supported".format(known["name"])
    if lowest and minor is None:
        return None, "its minor release is unknown; {0}.{1} is the lowest supported one".format(major, lowest)
    if lowest and minor < lowest:
        return False, "{0}.{1} is the lowest supported release".format(major, lowest)
    return True, ""


def arm64_supported(record):
    """Whether the release is supported on arm64; None if it is not supported at all."""
    if not record["supported"]:
        return None
    return int(re.match(r"[0-9]+", record["version"]).group()) in DISTRIBUTIONS[record["id"]]["arm64"]
