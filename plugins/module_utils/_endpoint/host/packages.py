"""Lists the packages that the agent needs, and other security products. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

from ansible_collections.mde.offline.plugins.module_utils._endpoint import agent_versions, versions

# By process name; the kernel cuts names to 15 characters.
SECURITY_PRODUCTS = {
    "falcon-sensor": "CrowdStrike Falcon",
    "falcon-sensor-b": "CrowdStrike Falcon",
    "ds_agent": "Trend Micro Deep Security",
    "ds_am": "Trend Micro Deep Security",
    "savd": "Sophos Anti-Virus",
    "savscand": "Sophos Anti-Virus",
    "sophos_threat_d": "Sophos Protection",
    "soapd": "Sophos Protection",
    "nailsd": "McAfee VirusScan",
    "isectpd": "Trellix Endpoint Security",
    "mfetpd": "Trellix Endpoint Security",
    "xagt": "Trellix HX",
    "clamonacc": "ClamAV on-access scanner",
    "kesl": "Kaspersky Endpoint Security",
    "klnagent": "Kaspersky agent",
    "oaeventd": "ESET Endpoint Antivirus",
    "bdsecd": "Bitdefender",
    "s1-agent": "SentinelOne",
    "cbagentd": "Carbon Black Cloud",
    "cbdaemon": "Carbon Black EDR",
    "fsaccd": "WithSecure Linux Protection",
    "fsoasd": "F-Secure Linux Security",
    "drweb-spider": "Dr.Web",
    "rtvscand": "Symantec Endpoint Protection",
    "sisamddaemon": "Symantec Endpoint Protection",
    "cmdagent": "Comodo Antivirus",
    "cortex-xdr": "Cortex XDR",
    "pmd": "Cortex XDR",
}
_RED_HAT = ("rhel", "centos", "ol", "rocky", "almalinux", "fedora", "amzn")
_LIBRARIES = {
    "rpm": (
        ("libmnl", "libmnl.so.0"),
        ("libnfnetlink", "libnfnetlink.so.0"),
        ("libnetfilter_queue", "libnetfilter_queue.so.1"),
        ("glib2", "libglib-2.0.so.0"),
    ),
    "deb": (("libnetfilter-queue1", "libnetfilter_queue.so.1"), ("libglib2.0-0", "libglib-2.0.so.0")),
}
_FILES = {
    "rpm": (("audit", ("usr/sbin/auditctl", "sbin/auditctl")),),
    "deb": (
        ("uuid-runtime", ("usr/bin/uuidgen", "usr/sbin/uuidd")),
        ("auditd", ("usr/sbin/auditd", "sbin/auditd")),
    ),
}
_SELINUX = (
    ("policycoreutils", ("usr/sbin/restorecon", "sbin/restorecon")),
    ("semanage", ("usr/sbin/semanage", "sbin/semanage")),
    ("selinux-policy-targeted", ("etc/selinux/targeted", "usr/share/selinux/targeted")),
)


def missing(host, distribution, agent_version=None):
    """The packages that are missing, recognised by their files; None if the needed packages are not known.

    mde-netfilter is not checked, since it is installed from the agent's repository together with the agent.
    """
    kind = distribution["packages"]
    if kind is None:
        return None
    present = set()
    for folder in _library_folders(host):
        present.update(host.names(folder))
    found = [name for name, library in _LIBRARIES[kind] if library not in present]
    files = _FILES[kind] + (_SELINUX if distribution["id"] in _RED_HAT else ())
    for name, places in files:
        # Newer agents do not need auditd.
        needless = name in ("audit", "auditd") and versions.compare(agent_version, agent_versions.WITHOUT_AUDITD) in (
            0,
            1,
        )
        if not needless and not any(host.exists(place) for place in places):
            found.append(name)
    return found


def _library_folders(host):
    folders = ["lib", "lib64", "usr/lib", "usr/lib64"]
    for parent in ("lib", "usr/lib"):
        folders += ["{0}/{1}".format(parent, name) for name in host.names(parent) if name.endswith("-linux-gnu")]
    return folders
