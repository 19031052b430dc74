"""Measures on a host what Microsoft requires of it. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# Each check gives what is there and whether that is enough; None says that it cannot be measured here.

from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.host_findings import KNOWN, finding
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import distributions, storage
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight import agent_checks, system_checks
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight.context import Seen


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


CHECKS = (
    ("distribution", "Distribution", distributions.REQUIRED, "distribution_unsupported", system_checks.distribution),
    (
        "architecture",
        "Architecture",
        "x86_64, or arm64 where supported",
        "architecture_unsupported",
        system_checks.architecture,
    ),
    ("kernel", "Kernel", "3.10.0-327 or later", "kernel_too_old", system_checks.kernel),
    (
        "fanotify",
        "fanotify in the kernel",
        "fanotify with access permissions",
        "fanotify_missing",
        system_checks.fanotify,
    ),
    (
        "ebpf",
        "Kernel for events through eBPF",
        "3.10.0-957 of EL 7, or 4.15 or later",
        "ebpf_unavailable",
        system_checks.ebpf,
    ),
    ("systemd", "Service manager", "systemd", "systemd_missing", system_checks.systemd),
    ("glibc", "C library", "glibc 2.17 or later", "glibc_too_old", system_checks.glibc),
    ("cores", "Processor cores", "2 (4 are preferred)", "cores_too_few", system_checks.cores),
    ("memory", "Memory", "1 GB (4 GB are preferred)", "memory_too_small", system_checks.memory),
    ("disk", "Space for the agent", "2 GB", "disk_space_low", agent_checks.space(storage.AGENT)),
    ("disk_var", "Space for definitions", "2 GB", "disk_space_low", agent_checks.space(storage.DEFINITIONS[0])),
    ("noexec", "Folders of the agent that are mounted noexec", "none", "filesystem_noexec", agent_checks.noexec),
    (
        "fanotify_products",
        "Other products that use fanotify",
        "none that blocks",
        "fanotify_conflict",
        agent_checks.fanotify_products,
    ),
    (
        "fapolicyd",
        "fapolicyd",
        "not running beside an agent that blocks",
        "fapolicyd_conflict",
        agent_checks.fapolicyd,
    ),
    ("agent_version", "Version of the agent", "101.24022.0001", "agent_too_old", agent_checks.agent_version),
    (
        "agent_release",
        "Age of the agent",
        "a release of the last nine months",
        "agent_release_old",
        agent_checks.agent_release,
    ),
    ("wdavdaemon", "Program " + storage.DAEMON, "executable", "wdavdaemon_not_executable", agent_checks.wdavdaemon),
    (
        "install_path",
        "Place of the agent",
        "the default path; a custom one from agent 101.25062.0003 on",
        "install_path_unsupported",
        agent_checks.install_path,
    ),
    ("auditd", "auditd", "running, for agents before 101.24082.0004", "auditd_missing", agent_checks.auditd),
    (
        "user",
        "User and group mdatp",
        "none yet, or both with the shell /usr/sbin/nologin",
        "mdatp_user_unusual",
        agent_checks.user,
    ),
    (
        "packages",
        "Packages that the agent depends on",
        "all installed",
        "packages_missing",
        agent_checks.dependencies,
    ),
    ("proxy", "Proxy", "none, a transparent or a static one", "proxy_unsupported", agent_checks.proxy),
    (
        "filesystems",
        "File systems that real-time protection does not scan",
        "only " + " ".join(system_checks.SCANNED).replace("nfs", "nfs(3)"),
        "filesystems_not_scanned",
        system_checks.filesystems,
    ),
)
