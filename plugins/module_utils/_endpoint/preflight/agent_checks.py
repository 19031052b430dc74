"""Checks what the agent requires around itself. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings import health_rules
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import packages, proxies, storage
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight.context import NOT_INSTALLED, Answer

LIFETIME_MONTHS = 9
CUSTOM_PATH_SINCE = "101.25062.0003"
AUDITD_UNTIL = "101.24082.0004"


def fanotify_products(seen):
    """Who else may stop access to files."""
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


def fapolicyd(seen):
    """Whether it runs beside an agent that blocks."""
    if not seen.processes:
        return Answer("processes cannot be listed", None)
    if not any(name == "fapolicyd" for _number, name in seen.processes):
        return Answer("not running", True)
    if seen.passive:
        return Answer("running, and the agent is passive", True)
    if seen.distribution["id"] in ("rhel", "fedora") and versions.compare(seen.version, CUSTOM_PATH_SINCE) in (0, 1):
        return Answer("running, and agent {0} gets along with it".format(seen.version), True)
    return Answer("fapolicyd is running", False)


def space(path):
    """The check of the free space for a path."""

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


def noexec(seen):
    """Whether programs of the agent lie where none may run."""
    if not seen.host.mounts():
        return Answer("no table of mounts", None)
    bad = storage.noexec(seen.host, seen.version)
    if not bad:
        return Answer("none of them", True)
    actual = ", ".join("{0} on {1}".format(path, mount["folder"]) for path, mount in bad)
    # A new agent copes with /var; nothing copes with /opt.
    copes = not seen.installed and all(path != storage.AGENT for path, _mount in bad)
    return Answer(actual + " (noexec)", False, severity="warning" if copes else None)


def agent_version(seen):
    """Whether the agent knows offline updates."""
    minimum = health_rules.MINIMUM_AGENT.get(seen.arch, health_rules.MINIMUM_AGENT["x86_64"])
    required = "agent {0} or later for offline updates".format(minimum)
    found = versions.compare(seen.version, minimum)
    if found is None:
        return Answer(NOT_INSTALLED if not seen.installed else "it does not say its version", None, required)
    return Answer(seen.version, found >= 0, required)


def agent_release(seen):
    """Whether the agent is within its lifetime."""
    match = re.match(r"101\.([0-9]{2})([0-9]{2})[0-9]\.", seen.version or "")
    if match is None or not 1 <= int(match.group(2)) <= 12:
        return Answer(NOT_INSTALLED if not seen.installed else "its version tells no month", None)
    now = time.gmtime()
    months = (now.tm_year - 2000 - int(match.group(1))) * 12 + now.tm_mon - int(match.group(2))
    actual = "{0}, built in 20{1}-{2}".format(seen.version, *match.groups())
    return Answer(actual, months <= LIFETIME_MONTHS)


def wdavdaemon(seen):
    """Whether the daemon may be executed."""
    mode = seen.host.mode(storage.DAEMON)
    if mode is None:
        return Answer("nothing is there", None)
    return Answer("mode {0:04o}".format(mode), bool(mode & 0o100))


def install_path(seen):
    """Whether the agent supports the place where it is."""
    if not seen.host.exists(storage.AGENT) and not seen.host.is_link(storage.AGENT):
        return Answer(NOT_INSTALLED, None)
    if not seen.host.is_link(storage.AGENT):
        return Answer("the default path", True)
    known = versions.compare(seen.version, CUSTOM_PATH_SINCE)
    actual = "a custom path with agent {0}".format(seen.version or "of unknown version")
    return Answer(actual, None if known is None else known >= 0)


def auditd(seen):
    """Whether it runs where the agent needs it."""
    needs = versions.older(seen.version, AUDITD_UNTIL)
    if not needs:
        known = "agent {0} does not need it".format(seen.version) if seen.version else NOT_INSTALLED
        return Answer(known, True if seen.version else None)
    running = any(name == "auditd" for _number, name in seen.processes)
    return Answer("auditd is {0}running".format("" if running else "not "), running)


def user(seen):
    """Whether user and group are as the package makes them."""
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


def dependencies(seen):
    """Whether what the agent depends on is there."""
    lacking = packages.lacking(seen.host, seen.distribution, seen.version)
    if lacking is None:
        return Answer("a system whose packages are not known", None)
    severity = None if seen.installed else "info"  # Its own package brings them along.
    return Answer("without " + ", ".join(lacking) if lacking else "all of them", not lacking, severity=severity)


def proxy(seen):
    """Whether the agent can use the proxies that are configured."""
    found = proxies.configured(seen.host, seen.managed)
    judged = [(where, name, proxies.problem(value)) for where, name, value in found]
    wrong = ["{0} in {1}: {2}".format(name, where, reason) for where, name, reason in judged if reason]
    if wrong:
        return Answer("; ".join(wrong), False)
    named = ", ".join("{0} in {1}".format(name, where) for where, name, _value in found)
    return Answer("a static one: " + named if found else "none is configured", True)
