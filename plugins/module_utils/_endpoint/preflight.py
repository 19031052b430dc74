"""Measures on a host what Microsoft requires of it. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# Each check gives what is there and whether that is enough; None says that it cannot be measured here.

import re
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint import (
    distributions,
    findings,
    packages,
    proxies,
    storage,
    strict_json,
    versions,
)
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError, masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host_findings import KNOWN, finding
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import DEFAULT_PATH
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import architecture

KERNEL = (3, 10, 0, 327)
GLIBC = {"rpm": "2.17", "deb": "2.23"}
# What the kernel and the firmware keep of one gigabyte is not in MemTotal.
MEMORY = 850 * 1000**2
CORES = 2
LIFETIME_MONTHS = 9
CUSTOM_PATH_SINCE = "101.25062.0003"
AUDITD_UNTIL = "101.24082.0004"
DAEMON = storage.AGENT + "/sbin/wdavdaemon"
SCANNED = ("btrfs", "ecryptfs", "ext2", "ext3", "ext4", "fuse", "fuseblk", "jfs", "nfs", "overlay", "ramfs")
SCANNED += ("reiserfs", "tmpfs", "udf", "vfat", "xfs")
# These hold no files of people.
_NO_FILES = ("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs")
_NO_FILES += ("efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rootfs", "rpc_pipefs")
_NO_FILES += ("securityfs", "selinuxfs", "squashfs", "sysfs", "tracefs")
NOT_INSTALLED = "the agent is not installed"


class Answer:
    """What a check saw; `ok` is None where that says nothing. The rest is where the usual words do not fit."""

    def __init__(self, actual, ok, required=None, finding_id=None, severity=None):
        self.actual = actual
        self.ok = ok
        self.required = required
        self.finding_id = finding_id
        self.severity = severity


class Seen:
    """What several checks need: the host, its distribution, and what the agent says where there is one."""

    def __init__(self, host, agent=None):
        self.host = host
        self.distribution = distributions.read(host)
        self.arch = architecture(host.machine)
        self.fields, self.trouble = {}, None
        if agent is not None:
            try:
                self.fields = agent.health()["fields"]
            except FindingError as error:
                self.trouble = error
        answers = agent is not None and (self.trouble is None or self.trouble.id != "not_installed")
        self.installed = answers or host.exists(DAEMON)
        self.version = self.fields.get("app_version")
        self.passive = self.fields.get("passive_mode_enabled") is True or (
            self.fields.get("antivirus_enforcement_level") == "passive"
        )
        self.managed = _managed(host)
        self.processes = host.processes()
        self.fanotify = host.fanotify_groups()


def look(host=None, agent=None):
    """All requirements of a host, the findings of those that are not met, and its distribution."""
    seen = Seen(host or Host(), agent)
    found, requirements = [], []
    for name, title, required, finding_id, check in CHECKS:
        answer = check(seen)
        finding_id = answer.finding_id or finding_id
        required = answer.required or required
        severity = answer.severity or KNOWN[finding_id][1]
        requirements.append(
            {
                "id": name,
                "title": title,
                "required": required,
                "actual": masked(answer.actual),
                "ok": answer.ok,
                "severity": severity,
                "hint": KNOWN[finding_id][2],
            }
        )
        if answer.ok is False:
            message = "{0}: required is {1}; found: {2}.".format(title, required, answer.actual.rstrip("."))
            found.append(finding(finding_id, message, severity))
    return {"requirements": requirements, "findings": _ordered(found), "distribution": seen.distribution}


def _ordered(found):
    return sorted(found, key=lambda entry: ("error", "warning", "info").index(entry["severity"]))


def _managed(host):
    try:
        return strict_json.loads(strict_json.decode(host.data(DEFAULT_PATH)))
    except (EnvironmentError, strict_json.NotStrictJson):
        return None


# --- The system -------------------------------------------------------------------------------------------------------


def _distribution(seen):
    record = seen.distribution
    actual = record["name"] or "an unknown system"
    if record["version"] and record["version"] not in actual:
        actual += " ({0})".format(record["version"])
    if record["reason"]:
        actual += ": " + record["reason"]
    return Answer(actual, record["supported"], finding_id="offline_updates_impossible" if record["el6"] else None)


def _architecture(seen):
    if seen.arch == "x86_64":
        return Answer(seen.arch, True)
    if seen.arch != "arm64":
        return Answer(seen.arch, False)
    named = distributions.arm64_supported(seen.distribution)
    said = {True: "", False: " on a release that is supported on x86_64 only", None: " on a release that is not known"}
    return Answer(seen.arch + said[named], named)


def _systemd(seen):
    if seen.distribution["el6"]:
        return Answer("EL 6, which never had it", None)
    if seen.host.is_folder("run/systemd/system"):
        return Answer("systemd runs", True)
    init = seen.host.text("proc/1/comm", 256).strip()
    return Answer("{0} as process 1".format(init or "something else"), False)


def _kernel(seen):
    release = seen.host.kernel
    numbers = kernel_numbers(release)
    if seen.distribution["el6"]:
        return Answer("{0} (EL 6 had a list of its own)".format(release or "unknown"), None)
    return Answer(release or "not told", None if numbers is None else numbers >= KERNEL)


def kernel_numbers(release):
    """(3, 10, 0, 327) of `3.10.0-327.el7.x86_64`; None for what is no kernel release."""
    match = re.match(r"([0-9]+)\.([0-9]+)(?:\.([0-9]+))?(?:-([0-9]+))?", release)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def _fanotify(seen):
    host = seen.host
    config = host.text("boot/config-" + host.kernel) if host.kernel else ""
    if config:
        off = [
            name
            for name in ("CONFIG_FANOTIFY", "CONFIG_FANOTIFY_ACCESS_PERMISSIONS")
            if not re.search("^{0}=y$".format(name), config, re.MULTILINE)
        ]
        if off:
            return Answer("a kernel without {0}".format(" and ".join(off)), False)
        return Answer("a kernel with CONFIG_FANOTIFY and CONFIG_FANOTIFY_ACCESS_PERMISSIONS", True)
    if host.is_folder("proc/sys/fs/fanotify"):
        return Answer("a kernel with fanotify (/proc/sys/fs/fanotify)", True)
    known = host.contains("proc/kallsyms", (b"sys_fanotify_init", b"SyS_fanotify_init"))
    if known is None:
        return Answer("neither the kernel's configuration nor its symbols can be read", None)
    return Answer("a kernel with{0} fanotify (/proc/kallsyms)".format("" if known else "out"), known)


def _fanotify_products(seen):
    others = sorted(
        {
            (name, blocking)
            for _number, name, blocking in seen.fanotify[0]
            if not name.startswith(("wdavdaemon", "fapolicyd"))
        },
        key=repr,
    )
    blocking = [name for name, blocks in others if blocks]
    unsure = [name for name, blocks in others if blocks is None]
    listed = seen.fields.get("conflicting_applications")
    named = ["{0}".format(entry) for entry in listed] if isinstance(listed, list) else []
    if blocking or named:
        actual = "; ".join(
            part
            for part in (
                "blocking through fanotify: " + ", ".join(blocking) if blocking else "",
                "named by the agent: " + ", ".join(named) if named else "",
            )
            if part
        )
        return Answer(actual, False, severity="warning" if seen.passive else None)
    agents = sorted({name for _number, name in seen.processes if name in packages.SECURITY_PRODUCTS})
    if agents:
        products = ", ".join("{0} ({1})".format(packages.SECURITY_PRODUCTS[name], name) for name in agents)
        return Answer("running beside it: {0}; none was seen to block".format(products), False, severity="warning")
    if unsure or not seen.fanotify[1]:
        return Answer("not all processes could be looked at", None)
    listening = "none that blocks; listening: " + ", ".join(name for name, _blocks in others)
    return Answer(listening if others else "none", True)


def _fapolicyd(seen):
    if not seen.processes:
        return Answer("processes cannot be listed", None)
    if not any(name == "fapolicyd" for _number, name in seen.processes):
        return Answer("not running", True)
    if seen.passive:
        return Answer("running, and the agent is passive", True)
    if seen.distribution["id"] in ("rhel", "fedora") and versions.compare(seen.version, CUSTOM_PATH_SINCE) in (0, 1):
        return Answer("running, and agent {0} gets along with it".format(seen.version), True)
    return Answer("fapolicyd is running", False)


def _glibc(seen):
    lowest = GLIBC.get(seen.distribution["packages"], GLIBC["rpm"])
    required = "glibc {0} or later".format(lowest)
    if seen.distribution["el6"]:
        return Answer("EL 6, which has 2.12", None, required)
    found = versions.compare(seen.host.c_library.rpartition(" ")[2] if seen.host.c_library else "", lowest)
    if found is None:
        return Answer("not told by the C library", None, required)
    return Answer(seen.host.c_library, found >= 0, required)


# --- Its size ---------------------------------------------------------------------------------------------------------


def _memory(seen):
    match = re.search(r"^MemTotal:\s+([0-9]+) kB", seen.host.text("proc/meminfo", 65536), re.MULTILINE)
    if match is None:
        return Answer("not told", None)
    total = int(match.group(1)) * 1024
    return Answer(storage.size(total), total >= MEMORY)


def _cores(seen):
    count = len(re.findall(r"^processor\s*:", seen.host.text("proc/cpuinfo"), re.MULTILINE))
    return Answer("{0}".format(count), count >= CORES) if count else Answer("not told", None)


def _space(path):
    def check(seen):
        section = (seen.managed or {}).get("cloudService")
        dumps = isinstance(section, dict) and section.get("diagnosticLevel") == "optional"
        needed = storage.NEEDED * (2 if dumps else 1)
        reason = ", as optional diagnostic data is on" if dumps else ""
        required = "{0} free for {1}{2}".format(storage.size(needed), path, reason)
        space = seen.host.space(path)
        if space is None:
            return Answer("not told by the file system", None, required)
        actual = "{0} free of {1}".format(storage.size(space["free"]), storage.size(space["total"]))
        # What is installed has taken its part already; what an update needs is the diagnosis's to say.
        severity = "warning" if seen.installed or dumps else None
        return Answer(actual, space["free"] >= needed, required, severity=severity)

    return check


def _noexec(seen):
    if not seen.host.mounts():
        return Answer("no table of mounts", None)
    bad = storage.noexec(seen.host, seen.version)
    if not bad:
        return Answer("none of them", True)
    actual = ", ".join("{0} on {1}".format(path, mount["folder"]) for path, mount in bad)
    # A new agent copes with /var; nothing copes with /opt.
    copes = not seen.installed and all(path != storage.AGENT for path, _mount in bad)
    return Answer(actual + " (noexec)", False, severity="warning" if copes else None)


def _filesystems(seen):
    odd = ["{0} ({1})".format(mount["folder"], kind) for mount, kind in map(_not_scanned, seen.host.mounts()) if kind]
    if not seen.host.mounts():
        return Answer("no table of mounts", None)
    more = " and {0} more".format(len(odd) - 20) if len(odd) > 20 else ""
    return Answer(", ".join(odd[:20]) + more if odd else "nothing else", not odd)


def _not_scanned(mount):
    """The mount, and its type where real-time protection does not look into that."""
    kind = mount["type"]
    if kind in ("nfs", "nfs4"):
        third = kind == "nfs" and not any(re.match(r"(nfs)?vers=4", option) for option in mount["options"])
        return mount, "" if third else "nfs 4"
    return mount, "" if kind in _NO_FILES or kind.split(".")[0] in SCANNED else kind


# --- The agent, and what it needs -------------------------------------------------------------------------------------


def _agent_version(seen):
    minimum = findings.MINIMUM_AGENT.get(seen.arch, findings.MINIMUM_AGENT["x86_64"])
    required = "agent {0} or later for offline updates".format(minimum)
    found = versions.compare(seen.version, minimum)
    if found is None:
        return Answer(NOT_INSTALLED if not seen.installed else "it does not say its version", None, required)
    return Answer(seen.version, found >= 0, required)


def _agent_release(seen):
    match = re.match(r"101\.([0-9]{2})([0-9]{2})[0-9]\.", seen.version or "")
    if match is None or not 1 <= int(match.group(2)) <= 12:
        return Answer(NOT_INSTALLED if not seen.installed else "its version tells no month", None)
    now = time.gmtime()
    months = (now.tm_year - 2000 - int(match.group(1))) * 12 + now.tm_mon - int(match.group(2))
    actual = "{0}, built in 20{1}-{2}".format(seen.version, *match.groups())
    return Answer(actual, months <= LIFETIME_MONTHS)


def _wdavdaemon(seen):
    mode = seen.host.mode(DAEMON)
    if mode is None:
        return Answer("nothing is there", None)
    return Answer("mode {0:04o}".format(mode), bool(mode & 0o100))


def _install_path(seen):
    if not seen.host.exists(storage.AGENT) and not seen.host.is_link(storage.AGENT):
        return Answer(NOT_INSTALLED, None)
    if not seen.host.is_link(storage.AGENT):
        return Answer("the default path", True)
    known = versions.compare(seen.version, CUSTOM_PATH_SINCE)
    actual = "a custom path with agent {0}".format(seen.version or "of unknown version")
    return Answer(actual, None if known is None else known >= 0)


def _auditd(seen):
    needs = versions.older(seen.version, AUDITD_UNTIL)
    if not needs:
        known = "agent {0} does not need it".format(seen.version) if seen.version else NOT_INSTALLED
        return Answer(known, True if seen.version else None)
    running = any(name == "auditd" for _number, name in seen.processes)
    return Answer("auditd is {0}running".format("" if running else "not "), running)


def _user(seen):
    users = [line.split(":") for line in seen.host.text("etc/passwd").splitlines() if line.startswith("mdatp:")]
    groups = [line.split(":") for line in seen.host.text("etc/group").splitlines() if line.startswith("mdatp:")]
    if not users and not groups:
        return Answer("neither; the package makes them, with numbers of its own", True)
    if not users or not groups:
        return Answer("a {0} without a {1}".format(*(("user", "group") if users else ("group", "user"))), False)
    user = users[0] + [""] * 7
    shape = []
    if user[3] != (groups[0] + [""] * 3)[2]:
        shape.append("whose main group is {0} instead of mdatp".format(user[3] or "none"))
    if user[6] not in ("/usr/sbin/nologin", "/sbin/nologin"):
        shape.append("with the shell {0}".format(user[6] or "(none)"))
    numbers = "mdatp ({0}:{1})".format(user[2], user[3])
    return Answer(numbers + "".join(" " + part for part in shape), not shape)


def _packages(seen):
    lacking = packages.lacking(seen.host, seen.distribution, seen.version)
    if lacking is None:
        return Answer("a system whose packages are not known", None)
    severity = None if seen.installed else "info"  # Its own package brings them along.
    return Answer("without " + ", ".join(lacking) if lacking else "all of them", not lacking, severity=severity)


def _proxy(seen):
    found = proxies.configured(seen.host, seen.managed)
    judged = [(where, name, proxies.problem(value)) for where, name, value in found]
    wrong = ["{0} in {1}: {2}".format(name, where, reason) for where, name, reason in judged if reason]
    if wrong:
        return Answer("; ".join(wrong), False)
    named = ", ".join("{0} in {1}".format(name, where) for where, name, _value in found)
    return Answer("a static one: " + named if found else "none is configured", True)


CHECKS = (
    ("distribution", "Distribution", distributions.REQUIRED, "distribution_unsupported", _distribution),
    ("architecture", "Architecture", "x86_64, or arm64 where supported", "architecture_unsupported", _architecture),
    ("kernel", "Kernel", "3.10.0-327 or later", "kernel_too_old", _kernel),
    ("fanotify", "fanotify in the kernel", "fanotify with access permissions", "fanotify_missing", _fanotify),
    ("systemd", "Service manager", "systemd", "systemd_missing", _systemd),
    ("glibc", "C library", "glibc 2.17 or later", "glibc_too_old", _glibc),
    ("cores", "Processor cores", "2 (4 are preferred)", "cores_too_few", _cores),
    ("memory", "Memory", "1 GB (4 GB are preferred)", "memory_too_small", _memory),
    ("disk", "Space for the agent", "2 GB", "disk_space_low", _space(storage.AGENT)),
    ("disk_var", "Space for definitions", "2 GB", "disk_space_low", _space(storage.DEFINITIONS[0])),
    ("noexec", "Folders of the agent that are mounted noexec", "none", "filesystem_noexec", _noexec),
    (
        "fanotify_products",
        "Other products that use fanotify",
        "none that blocks",
        "fanotify_conflict",
        _fanotify_products,
    ),
    ("fapolicyd", "fapolicyd", "not running beside an agent that blocks", "fapolicyd_conflict", _fapolicyd),
    ("agent_version", "Version of the agent", "101.24022.0001", "agent_too_old", _agent_version),
    ("agent_release", "Age of the agent", "a release of the last nine months", "agent_release_old", _agent_release),
    ("wdavdaemon", "Program " + DAEMON, "executable", "wdavdaemon_not_executable", _wdavdaemon),
    (
        "install_path",
        "Place of the agent",
        "the default path; a custom one from agent 101.25062.0003 on",
        "install_path_unsupported",
        _install_path,
    ),
    ("auditd", "auditd", "running, for agents before 101.24082.0004", "auditd_missing", _auditd),
    (
        "user",
        "User and group mdatp",
        "none yet, or both with the shell /usr/sbin/nologin",
        "mdatp_user_unusual",
        _user,
    ),
    ("packages", "Packages that the agent depends on", "all installed", "packages_missing", _packages),
    ("proxy", "Proxy", "none, a transparent or a static one", "proxy_unsupported", _proxy),
    (
        "filesystems",
        "File systems that real-time protection does not scan",
        "only " + " ".join(SCANNED).replace("nfs", "nfs(3)"),
        "filesystems_not_scanned",
        _filesystems,
    ),
)
