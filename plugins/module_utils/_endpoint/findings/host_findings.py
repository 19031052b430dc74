"""What preflight and diagnosis find beyond the health of the agent. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# The ids are a public contract; docs/findings-health.md explains each of them and a test compares the two.

from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings import health_rules

# What a host must have: id -> (severity, what to do).
REQUIREMENTS = (
    (
        "offline_updates_impossible",
        "error",
        "Move what this host does to a supported release; nothing that is configured here can change it. Until then it "
        "needs another protection.",
    ),
    (
        "distribution_unsupported",
        "error",
        "Move to a supported release, or ask Microsoft. The agent may run, but nobody answers for it.",
    ),
    ("architecture_unsupported", "error", "Use a host with x86_64, or a distribution that is supported on arm64."),
    ("kernel_too_old", "error", "Update the kernel to 3.10.0-327 or later and reboot."),
    (
        "fanotify_missing",
        "error",
        "Boot a kernel with CONFIG_FANOTIFY and CONFIG_FANOTIFY_ACCESS_PERMISSIONS; the kernels of the supported "
        "distributions have both.",
    ),
    (
        "fanotify_conflict",
        "error",
        "Remove the other product, or run the agent in passive mode; two that block through fanotify can stop "
        "the host.",
    ),
    (
        "fapolicyd_conflict",
        "error",
        "Stop fapolicyd, or run the agent in passive mode; on RHEL and Fedora, agent 101.25062.0003 or later gets "
        "along with it.",
    ),
    (
        "ebpf_unavailable",
        "info",
        "Nothing, if that is known: the agent then takes its events from Netlink (or from auditd, before "
        "101.24082.0004) and sees less of files and connections. Updates of definitions do not need it.",
    ),
    ("systemd_missing", "error", "Run a distribution with systemd; the agent's service is a systemd unit."),
    ("glibc_too_old", "error", "Move to a release of the distribution with a newer C library."),
    ("disk_space_low", "error", "Make room, or enlarge the file system; engine and definitions are unpacked there."),
    (
        "filesystem_noexec",
        "error",
        "Mount it without noexec, or upgrade the agent to 101.24092.0002 or later, which then keeps definitions below "
        "/opt/microsoft/mdatp.",
    ),
    ("memory_too_small", "warning", "Give the host at least 1 GB of memory; 4 GB are preferred."),
    ("cores_too_few", "warning", "Give the host at least 2 cores; 4 are preferred."),
    (
        "wdavdaemon_not_executable",
        "error",
        "chmod 0755 /opt/microsoft/mdatp/sbin/wdavdaemon, then restart the service mdatp; or install the package "
        "again.",
    ),
    (
        "install_path_unsupported",
        "warning",
        "Install the agent in its default path, or upgrade it: a custom path needs 101.25062.0003 or later.",
    ),
    (
        "agent_release_old",
        "warning",
        "Upgrade the agent: each release works for nine months, and gets full support while it is one of the newest.",
    ),
    ("auditd_missing", "warning", "Start auditd, or upgrade the agent: from 101.24082.0004 on it does not need it."),
    (
        "mdatp_user_unusual",
        "warning",
        "Make user and group mdatp alike before the installation: mdatp:x:UID:GID::/home/mdatp:/usr/sbin/nologin. "
        "Or remove them, and the package makes its own.",
    ),
    (
        "packages_missing",
        "warning",
        "Install them from a repository that this host reaches; the agent's package depends on them.",
    ),
    (
        "proxy_unsupported",
        "error",
        "Use a transparent proxy, or a static one without user and password: http://host:port.",
    ),
    (
        "filesystems_not_scanned",
        "info",
        "Nothing, if that is known: real-time protection and full scans do not look there. A custom scan does on some.",
    ),
)

# Why a host does not update. What `health_rules.CATALOGUE` has is not repeated.
CAUSES = (
    ("service_missing", "error", "Install the agent's package again; it brings the unit mdatp.service."),
    ("service_stopped", "error", "systemctl enable --now mdatp; if it ends again, read journalctl -u mdatp."),
    (
        "service_disabled",
        "warning",
        "systemctl enable mdatp, or the agent is gone after the next reboot. Package 101.26042.0009 left it disabled.",
    ),
    (
        "managed_file_missing",
        "error",
        "Write the managed configuration (module managed_config, role endpoint), or let the portal's policy set it.",
    ),
    ("managed_file_unreadable", "error", "Make it a regular file that root can read, and run this as root."),
    (
        "managed_file_invalid",
        "error",
        "Correct it by hand, or replace it with managed_config and state=replaced, which keeps a copy. The agent "
        "ignores a broken file as a whole.",
    ),
    (
        "managed_file_incomplete",
        "error",
        "Write offlineDefinitionUpdate and offlineDefinitionUpdateUrl into antivirusEngine, spelt exactly so (module "
        "managed_config checks that).",
    ),
    (
        "managed_file_overruled",
        "error",
        "Look for a portal policy that sets the same, and keep one owner. If the file was changed just now, look again "
        "in a minute.",
    ),
    (
        "mirror_url_malformed",
        "error",
        "Write http://host:port/linux/production/ or an absolute directory, ending at the folder that holds arch_*.",
    ),
    (
        "mirror_name_unresolved",
        "error",
        "Correct the host name, or give this host a name server (or a line in /etc/hosts) that knows it.",
    ),
    (
        "mirror_port_unreachable",
        "error",
        "See that the mirror's web server runs and listens on that port, and that no firewall on the way refuses it.",
    ),
    (
        "mirror_tls_failed",
        "error",
        "Let this host trust the mirror's certificate authority, and let the certificate name the host in the address "
        "and be in date.",
    ),
    (
        "mirror_package_missing",
        "error",
        "Run a sync on the mirror and look at its errors; see that the web server may read the new files.",
    ),
    (
        "mirror_redirects",
        "warning",
        "Write the address that it redirects to; whether the agent follows redirects of a mirror is not documented.",
    ),
    (
        "mirror_stale",
        "error",
        "Look at the last sync on the mirror (mde-mirror status, its timer and log) and whether the channel is held.",
    ),
    (
        "clock_differs",
        "warning",
        "Set the clock of the one that is wrong (chronyc tracking, timedatectl); certificates and the age of "
        "definitions are judged by it.",
    ),
    ("filesystem_read_only", "error", "Mount it read-write; check the disk first if the kernel made it read-only."),
    (
        "selinux_denials",
        "warning",
        "Read them with ausearch -m AVC -ts recent, and let the agent do that: restorecon -R /opt/microsoft "
        "/var/opt/microsoft for wrong labels, else a policy module (audit2allow).",
    ),
    ("agent_known_fault", "warning", "Upgrade the agent package to the release that mends it, or to a newer one."),
    (
        "proxy_configured",
        "info",
        "Nothing, if the mirror is reached. Otherwise except the mirror from the proxy: whether the agent asks it for "
        "a mirror is not documented.",
    ),
    (
        "tls_inspected",
        "warning",
        "Except Microsoft's addresses from TLS inspection; the agent pins certificates there. Offline updates over the "
        "mirror are not affected.",
    ),
)
CATALOGUE = REQUIREMENTS + CAUSES
KNOWN = {entry[0]: entry for entry in health_rules.CATALOGUE + CATALOGUE}


def finding(finding_id, message, severity=None, evidence=(), hint=None):
    """A finding of one of the catalogues, with what speaks for it."""
    usual, advice = KNOWN[finding_id][1:]
    return {
        "id": finding_id,
        "severity": severity or usual,
        "message": masked(message),
        "hint": hint or advice,
        "evidence": [masked(line) for line in evidence],
    }
