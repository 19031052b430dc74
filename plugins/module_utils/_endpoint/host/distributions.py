"""Tells whether Microsoft supports the agent on a distribution. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re

# Majors that the documents name, each with its lowest minor; "later" is the major from which on every one is meant.
# `arm64` are the majors that are named for that architecture.
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
    "the last agent for EL 6 is 101.23082.0011, which is older than 101.24022.0001, the first one that knows offline "
    "updates. An EL 6 host can never use them"
)
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
    """The assignments of an os-release file, quotes and escapes taken away."""
    return {name: _unquoted(value) for name, value in _ASSIGNMENT.findall(text)}


def _unquoted(value):
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        quote, value = value[0], value[1:-1]
        if quote == "'":
            return value
    return re.sub(r"\\(.)", r"\1", value)


def read(host):
    """What distribution this is: id, name, version, and whether (and why not) Microsoft supports the agent on it."""
    told = parse_os_release(host.text("etc/os-release", 65536) or host.text("usr/lib/os-release", 65536))
    ident = told.get("ID", "").lower()
    ident = _ALIASES.get(ident, ident)
    version = told.get("VERSION_ID", "")
    name = told.get("PRETTY_NAME") or told.get("NAME") or ""
    ident, version, name = _from_release_file(host, ident, version, name)
    return judge(ident, version, name, told)


def _from_release_file(host, ident, version, name):
    """EL 6 has no os-release, and CentOS 7 names its minor release in another file only."""
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


def judge(ident, version, name="", told=()):
    """The record of a distribution, from its id and version as os-release has them."""
    told = dict(told)
    known = DISTRIBUTIONS.get(ident)
    numbers = [int(part) for part in re.findall(r"[0-9]+", version)[:2]]
    record = {
        "id": ident,
        "name": name or " ".join(part for part in (known["name"] if known else ident, version) if part),
        "version": version,
        "packages": known["packages"] if known else None,
        "el6": ident in EL6 and numbers[:1] == [6],
    }
    supported, reason = _verdict(known, ident, numbers, told)
    return dict(record, supported=supported, reason=reason)


def _verdict(known, ident, numbers, told):
    if not ident:
        return None, "neither os-release nor a release file says what this is"
    if known is None:
        parents = [word for word in told.get("ID_LIKE", "").lower().split() if word in DISTRIBUTIONS]
        derived = ", being derived from {0} does not count".format(parents[0]) if parents else ""
        return False, "no document names it{0}".format(derived)
    if not numbers:
        return None, "it names no version, as a rolling or unreleased one does"
    major, minor = numbers[0], (numbers[1] if len(numbers) > 1 else None)
    if ident in EL6 and major == 6:
        return False, EL6_NEVER
    if ident == "centos" and "stream" in (told.get("NAME", "") + told.get("PRETTY_NAME", "")).lower():
        return False, "CentOS Stream is excluded"
    if ident == "ubuntu" and not (major % 2 == 0 and minor == 4):
        return False, "only the LTS releases of Ubuntu are supported"
    lowest = 0 if major >= known.get("later", major + 1) else known["majors"].get(major)
    if lowest is None:
        return False, "this release is not among the supported ones of {0}".format(known["name"])
    if lowest and minor is None:
        return None, "which minor release it is cannot be told; {0}.{1} is the lowest".format(major, lowest)
    if lowest and minor < lowest:
        return False, "{0}.{1} is the lowest supported release".format(major, lowest)
    return True, ""


def arm64_supported(record):
    """Whether the release is named for arm64; None where the release itself is not known to be supported."""
    if not record["supported"]:
        return None
    return int(re.match(r"[0-9]+", record["version"]).group()) in DISTRIBUTIONS[record["id"]]["arm64"]
