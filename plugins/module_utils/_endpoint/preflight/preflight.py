"""Measures whether a host meets Microsoft's requirements. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# Each check returns what it measured and whether that is enough; None if it could not be measured.

from ansible_collections.mde.offline.plugins.module_utils._endpoint import agent_versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.catalogue import BY_ID
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import proven
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import distributions, storage
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.writers import DEFAULT_PATH
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight import agent_checks, system_checks
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight.context import HostContext


def look(host=None, agent=None, managed_file=DEFAULT_PATH):
    """All requirements of a host, findings for those that it does not meet, and its distribution."""
    context = HostContext(host or Host(), agent, managed_file)
    found, requirements = [], []
    for name, title, required, finding_id, check in CHECKS:
        result = check(context)
        finding_id = result.finding_id or finding_id
        required = result.required or required
        severity = result.severity or BY_ID[finding_id].severity
        requirements.append(
            {
                "id": name,
                "title": title,
                "required": required,
                "actual": masked(result.actual),
                "ok": result.ok,
                "severity": severity,
                "hint": BY_ID[finding_id].remedy,
            }
        )
        if result.ok is False:
            message = "{0}: required: {1}; found: {2}.".format(title, required, result.actual.rstrip("."))
            found.append(proven(finding_id, message, severity))
    return {"requirements": requirements, "findings": _ordered(found), "distribution": context.distribution}


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
        "Kernel for the eBPF sensor",
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
        "not running together with an agent that blocks",
        "fapolicyd_conflict",
        agent_checks.fapolicyd,
    ),
    (
        "agent_version",
        "Version of the agent",
        agent_versions.OFFLINE_UPDATES_X86_64,
        "agent_too_old",
        agent_checks.agent_version,
    ),
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
        "Installation path of the agent",
        "the default path; a custom one from agent {0} on".format(agent_versions.CUSTOM_PATH),
        "install_path_unsupported",
        agent_checks.install_path,
    ),
    (
        "auditd",
        "auditd",
        "running, for agents before {0}".format(agent_versions.WITHOUT_AUDITD),
        "auditd_missing",
        agent_checks.auditd,
    ),
    (
        "user",
        "User and group mdatp",
        "neither, or both with the shell /usr/sbin/nologin",
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
    (
        "managed_file",
        "Managed configuration and the folders above it",
        "writable by root only",
        "managed_file_writable",
        agent_checks.managed_file,
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
