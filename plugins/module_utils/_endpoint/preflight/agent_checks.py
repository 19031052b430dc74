"""Checks the agent, and what it requires of other programs. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint import agent_versions, versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import packages, proxies, storage
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import writers
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight.context import NOT_INSTALLED, CheckResult

LIFETIME_MONTHS = 9


def fanotify_products(context):
    """Whether another product may block accesses to files."""
    others = sorted(
        {
            (name, blocking)
            for _number, name, blocking in context.fanotify[0]
            if not name.startswith(("wdavdaemon", "fapolicyd"))
        },
        key=repr,
    )
    blocking = [name for name, blocks in others if blocks]
    unsure = [name for name, blocks in others if blocks is None]
    listed = context.fields.get("conflicting_applications")
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
        return CheckResult(actual, False, severity="warning" if context.passive else None)
    agents = sorted({name for _number, name in context.processes if name in packages.SECURITY_PRODUCTS})
    if agents:
        products = ", ".join("{0} ({1})".format(packages.SECURITY_PRODUCTS[name], name) for name in agents)
        return CheckResult("running: {0}; none was seen to block".format(products), False, severity="warning")
    if unsure or not context.fanotify[1]:
        return CheckResult("not all processes could be examined", None)
    listening = "none that blocks; listening: " + ", ".join(name for name, _blocks in others)
    return CheckResult(listening if others else "none", True)


def fapolicyd(context):
    """Whether fapolicyd runs together with an agent that blocks."""
    if not context.processes:
        return CheckResult("processes cannot be listed", None)
    if not any(name == "fapolicyd" for _number, name in context.processes):
        return CheckResult("not running", True)
    if context.passive:
        return CheckResult("running, and the agent is passive", True)
    if context.distribution["id"] in ("rhel", "fedora") and versions.compare(
        context.version, agent_versions.BESIDE_FAPOLICYD
    ) in (0, 1):
        return CheckResult("running, and agent {0} can run together with it".format(context.version), True)
    return CheckResult("fapolicyd is running", False)


def space(path):
    """The check of the free space at a path."""

    def check(context):
        section = (context.managed or {}).get("cloudService")
        dumps = isinstance(section, dict) and section.get("diagnosticLevel") == "optional"
        needed = storage.NEEDED * (2 if dumps else 1)
        reason = ", since optional diagnostic data is enabled" if dumps else ""
        required = "{0} free for {1}{2}".format(storage.size(needed), path, reason)
        space = context.host.space(path)
        if space is None:
            return CheckResult("unknown", None, required)
        actual = "{0} free of {1}".format(storage.size(space["free"]), storage.size(space["total"]))
        # An installed agent has used its part already; the diagnosis checks the space for an update.
        severity = "warning" if context.installed or dumps else None
        return CheckResult(actual, space["free"] >= needed, required, severity=severity)

    return check


def noexec(context):
    """Whether folders with programs of the agent are mounted noexec."""
    if not context.host.mounts():
        return CheckResult("the table of mounts cannot be read", None)
    bad = storage.noexec(context.host, context.version)
    if not bad:
        return CheckResult("none of them", True)
    actual = ", ".join("{0} on {1}".format(path, mount["folder"]) for path, mount in bad)
    # A new agent works with /var mounted noexec; no agent works with /opt mounted noexec.
    copes = not context.installed and all(path != storage.AGENT for path, _mount in bad)
    return CheckResult(actual + " (noexec)", False, severity="warning" if copes else None)


def agent_version(context):
    """Whether the agent supports offline updates."""
    minimum = agent_versions.OFFLINE_UPDATES.get(context.arch, agent_versions.OFFLINE_UPDATES_X86_64)
    required = "agent {0} or later for offline updates".format(minimum)
    found = versions.compare(context.version, minimum)
    if found is None:
        return CheckResult(NOT_INSTALLED if not context.installed else "unknown version", None, required)
    return CheckResult(context.version, found >= 0, required)


def agent_release(context):
    """Whether the agent is within its lifetime."""
    match = re.match(r"101\.([0-9]{2})([0-9]{2})[0-9]\.", context.version or "")
    if match is None or not 1 <= int(match.group(2)) <= 12:
        return CheckResult(NOT_INSTALLED if not context.installed else "its version has no month", None)
    now = time.gmtime()
    months = (now.tm_year - 2000 - int(match.group(1))) * 12 + now.tm_mon - int(match.group(2))
    actual = "{0}, built in 20{1}-{2}".format(context.version, *match.groups())
    return CheckResult(actual, months <= LIFETIME_MONTHS)


def wdavdaemon(context):
    """Whether the daemon is executable."""
    mode = context.host.mode(storage.DAEMON)
    if mode is None:
        return CheckResult("does not exist", None)
    return CheckResult("mode {0:04o}".format(mode), bool(mode & 0o100))


def install_path(context):
    """Whether the agent supports its installation path."""
    if not context.host.exists(storage.AGENT) and not context.host.is_link(storage.AGENT):
        return CheckResult(NOT_INSTALLED, None)
    if not context.host.is_link(storage.AGENT):
        return CheckResult("the default path", True)
    known = versions.compare(context.version, agent_versions.CUSTOM_PATH)
    actual = "a custom path with agent {0}".format(context.version or "of unknown version")
    return CheckResult(actual, None if known is None else known >= 0)


def auditd(context):
    """Whether auditd runs, if the agent needs it."""
    needs = versions.older(context.version, agent_versions.WITHOUT_AUDITD)
    if not needs:
        known = "agent {0} does not need it".format(context.version) if context.version else NOT_INSTALLED
        return CheckResult(known, True if context.version else None)
    running = any(name == "auditd" for _number, name in context.processes)
    return CheckResult("auditd is {0}running".format("" if running else "not "), running)


def user(context):
    """Whether user and group are as the package creates them."""
    users = [line.split(":") for line in context.host.text("etc/passwd").splitlines() if line.startswith("mdatp:")]
    groups = [line.split(":") for line in context.host.text("etc/group").splitlines() if line.startswith("mdatp:")]
    if not users and not groups:
        return CheckResult("neither; the package creates both", True)
    if not users or not groups:
        return CheckResult("a {0} without a {1}".format(*(("user", "group") if users else ("group", "user"))), False)
    user = users[0] + [""] * 7
    shape = []
    if user[3] != (groups[0] + [""] * 3)[2]:
        shape.append("whose primary group is {0} instead of mdatp".format(user[3] or "none"))
    if user[6] not in ("/usr/sbin/nologin", "/sbin/nologin"):
        shape.append("with the shell {0}".format(user[6] or "(none)"))
    numbers = "mdatp ({0}:{1})".format(user[2], user[3])
    return CheckResult(numbers + "".join(" " + part for part in shape), not shape)


def dependencies(context):
    """Whether the packages that the agent depends on are installed."""
    missing = packages.missing(context.host, context.distribution, context.version)
    if missing is None:
        return CheckResult("unknown for this distribution", None)
    severity = None if context.installed else "info"  # The package of the agent installs them.
    return CheckResult("without " + ", ".join(missing) if missing else "all of them", not missing, severity=severity)


def managed_file(context):
    """Whether nobody but root can write the managed configuration."""
    try:
        found = writers.problem(context.managed_file, context.host.root)
    except EnvironmentError as failure:
        return CheckResult("cannot be examined: {0}".format(failure.strerror), None)
    return CheckResult(found, False) if found else CheckResult("writable by root only", True)


def proxy(context):
    """Whether the agent can use the proxies that are configured."""
    found = proxies.configured(context.host, context.managed)
    judged = [(where, name, proxies.problem(value)) for where, name, value in found]
    wrong = ["{0} in {1}: {2}".format(name, where, reason) for where, name, reason in judged if reason]
    if wrong:
        return CheckResult("; ".join(wrong), False)
    named = ", ".join("{0} in {1}".format(name, where) for where, name, _value in found)
    return CheckResult("a static one: " + named if found else "none is configured", True)
