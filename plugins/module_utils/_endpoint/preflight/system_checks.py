"""Checks what the agent requires of the system. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import distributions, storage
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight.context import CheckResult

KERNEL = (3, 10, 0, 327)
# The lowest kernels that the documents name for eBPF: of EL 7, and of every other distribution.
EBPF = ((3, 10, 0, 957), (4, 15, 0, 0))
GLIBC = {"rpm": "2.17", "deb": "2.23"}
# MemTotal of 1 GB of memory, without what the kernel and the firmware reserve.
MEMORY = 850 * 1000**2
CORES = 2
SCANNED = ("btrfs", "ecryptfs", "ext2", "ext3", "ext4", "fuse", "fuseblk", "jfs", "nfs", "overlay", "ramfs")
SCANNED += ("reiserfs", "tmpfs", "udf", "vfat", "xfs")
# File systems without files of users.
_NO_FILES = ("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs")
_NO_FILES += ("efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rootfs", "rpc_pipefs")
_NO_FILES += ("securityfs", "selinuxfs", "squashfs", "sysfs", "tracefs")


def distribution(context):
    """Whether Microsoft supports the agent on the distribution."""
    record = context.distribution
    actual = record["name"] or "an unknown system"
    if record["version"] and record["version"] not in actual:
        actual += " ({0})".format(record["version"])
    if record["reason"]:
        actual += ": " + record["reason"]
    return CheckResult(actual, record["supported"], finding_id="offline_updates_impossible" if record["el6"] else None)


def architecture(context):
    """Whether there is an agent for the processor."""
    if context.arch == "x86_64":
        return CheckResult(context.arch, True)
    if context.arch != "arm64":
        return CheckResult(context.arch, False)
    named = distributions.arm64_supported(context.distribution)
    suffix = {True: "", False: " on a release that is supported on x86_64 only", None: " on an unknown release"}
    return CheckResult(context.arch + suffix[named], named)


def systemd(context):
    """Whether the host was booted with systemd."""
    if context.distribution["el6"]:
        return CheckResult("EL 6, which has no systemd", None)
    if context.host.is_folder("run/systemd/system"):
        return CheckResult("systemd is running", True)
    init = context.host.text("proc/1/comm", 256).strip()
    return CheckResult("{0} as process 1".format(init or "an unknown program"), False)


def kernel(context):
    """Whether the kernel is new enough."""
    release = context.host.kernel
    numbers = kernel_numbers(release)
    if context.distribution["el6"]:
        return CheckResult("{0} (EL 6 has its own list)".format(release or "unknown"), None)
    return CheckResult(release or "unknown", None if numbers is None else numbers >= KERNEL)


def ebpf(context):
    """Whether the kernel is new enough for the eBPF sensor; without it the agent gets fewer events."""
    numbers = kernel_numbers(context.host.kernel)
    if context.distribution["el6"] or numbers is None:
        return CheckResult(context.host.kernel or "unknown", None)
    return CheckResult(context.host.kernel, numbers >= EBPF[1] or (numbers[0] == 3 and numbers >= EBPF[0]))


def kernel_numbers(release):
    """The numbers of a kernel release, (3, 10, 0, 327) of `3.10.0-327.el7.x86_64`; None for any other text."""
    match = re.match(r"([0-9]+)\.([0-9]+)(?:\.([0-9]+))?(?:-([0-9]+))?", release)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def fanotify(context):
    """Whether the kernel lets the agent see and block accesses to files."""
    host = context.host
    config = host.text("boot/config-" + host.kernel) if host.kernel else ""
    if config:
        off = [
            name
            for name in ("CONFIG_FANOTIFY", "CONFIG_FANOTIFY_ACCESS_PERMISSIONS")
            if not re.search("^{0}=y$".format(name), config, re.MULTILINE)
        ]
        if off:
            return CheckResult("a kernel without {0}".format(" and ".join(off)), False)
        return CheckResult("a kernel with CONFIG_FANOTIFY and CONFIG_FANOTIFY_ACCESS_PERMISSIONS", True)
    if host.is_folder("proc/sys/fs/fanotify"):
        return CheckResult("a kernel with fanotify (/proc/sys/fs/fanotify)", True)
    known = host.contains("proc/kallsyms", (b"sys_fanotify_init", b"SyS_fanotify_init"))
    if known is None:
        return CheckResult("neither the kernel's configuration nor its symbols can be read", None)
    return CheckResult("a kernel with{0} fanotify (/proc/kallsyms)".format("" if known else "out"), known)


def glibc(context):
    """Whether the C library is new enough."""
    lowest = GLIBC.get(context.distribution["packages"], GLIBC["rpm"])
    required = "glibc {0} or later".format(lowest)
    if context.distribution["el6"]:
        return CheckResult("EL 6, which has 2.12", None, required)
    found = versions.compare(context.host.c_library.rpartition(" ")[2] if context.host.c_library else "", lowest)
    if found is None:
        return CheckResult("unknown", None, required)
    return CheckResult(context.host.c_library, found >= 0, required)


def memory(context):
    """Whether there is enough memory."""
    match = re.search(r"^MemTotal:\s+([0-9]+) kB", context.host.text("proc/meminfo", 65536), re.MULTILINE)
    if match is None:
        return CheckResult("unknown", None)
    total = int(match.group(1)) * 1024
    return CheckResult(storage.size(total), total >= MEMORY)


def cores(context):
    """Whether there are enough processor cores."""
    count = len(re.findall(r"^processor\s*:", context.host.text("proc/cpuinfo"), re.MULTILINE))
    return CheckResult("{0}".format(count), count >= CORES) if count else CheckResult("unknown", None)


def filesystems(context):
    """Whether all file systems are of types that real-time protection scans."""
    odd = [
        "{0} ({1})".format(mount["folder"], kind) for mount, kind in map(_not_scanned, context.host.mounts()) if kind
    ]
    if not context.host.mounts():
        return CheckResult("the table of mounts cannot be read", None)
    more = " and {0} more".format(len(odd) - 20) if len(odd) > 20 else ""
    return CheckResult(", ".join(odd[:20]) + more if odd else "none of other types", not odd)


def _not_scanned(mount):
    """The mount, and its type if real-time protection does not scan it."""
    kind = mount["type"]
    if kind in ("nfs", "nfs4"):
        third = kind == "nfs" and not any(re.match(r"(nfs)?vers=4", option) for option in mount["options"])
        return mount, "" if third else "nfs 4"
    return mount, "" if kind in _NO_FILES or kind.split(".")[0] in SCANNED else kind
