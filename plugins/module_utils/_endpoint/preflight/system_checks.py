"""Checks what the agent requires of a system. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import distributions, storage
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight.context import Answer

KERNEL = (3, 10, 0, 327)
# The lowest kernels that the documents name for eBPF: of EL 7, and of every other distribution.
EBPF = ((3, 10, 0, 957), (4, 15, 0, 0))
GLIBC = {"rpm": "2.17", "deb": "2.23"}
# What the kernel and the firmware keep of one gigabyte is not in MemTotal.
MEMORY = 850 * 1000**2
CORES = 2
SCANNED = ("btrfs", "ecryptfs", "ext2", "ext3", "ext4", "fuse", "fuseblk", "jfs", "nfs", "overlay", "ramfs")
SCANNED += ("reiserfs", "tmpfs", "udf", "vfat", "xfs")
# These hold no files of people.
_NO_FILES = ("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs")
_NO_FILES += ("efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rootfs", "rpc_pipefs")
_NO_FILES += ("securityfs", "selinuxfs", "squashfs", "sysfs", "tracefs")


def distribution(seen):
    """Whether Microsoft supports the agent on it."""
    record = seen.distribution
    actual = record["name"] or "an unknown system"
    if record["version"] and record["version"] not in actual:
        actual += " ({0})".format(record["version"])
    if record["reason"]:
        actual += ": " + record["reason"]
    return Answer(actual, record["supported"], finding_id="offline_updates_impossible" if record["el6"] else None)


def architecture(seen):
    """Whether there is an agent for the processor."""
    if seen.arch == "x86_64":
        return Answer(seen.arch, True)
    if seen.arch != "arm64":
        return Answer(seen.arch, False)
    named = distributions.arm64_supported(seen.distribution)
    said = {True: "", False: " on a release that is supported on x86_64 only", None: " on a release that is not known"}
    return Answer(seen.arch + said[named], named)


def systemd(seen):
    """Whether the host was booted with systemd."""
    if seen.distribution["el6"]:
        return Answer("EL 6, which never had it", None)
    if seen.host.is_folder("run/systemd/system"):
        return Answer("systemd runs", True)
    init = seen.host.text("proc/1/comm", 256).strip()
    return Answer("{0} as process 1".format(init or "something else"), False)


def kernel(seen):
    """Whether the kernel is new enough."""
    release = seen.host.kernel
    numbers = kernel_numbers(release)
    if seen.distribution["el6"]:
        return Answer("{0} (EL 6 had a list of its own)".format(release or "unknown"), None)
    return Answer(release or "not told", None if numbers is None else numbers >= KERNEL)


def ebpf(seen):
    """Whether the agent gets all its events; without eBPF it takes what Netlink has."""
    numbers = kernel_numbers(seen.host.kernel)
    if seen.distribution["el6"] or numbers is None:
        return Answer(seen.host.kernel or "not told", None)
    return Answer(seen.host.kernel, numbers >= EBPF[1] or (numbers[0] == 3 and numbers >= EBPF[0]))


def kernel_numbers(release):
    """(3, 10, 0, 327) of `3.10.0-327.el7.x86_64`; None for what is no kernel release."""
    match = re.match(r"([0-9]+)\.([0-9]+)(?:\.([0-9]+))?(?:-([0-9]+))?", release)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def fanotify(seen):
    """Whether the kernel lets the agent see and stop access to files."""
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


def glibc(seen):
    """Whether the C library is new enough."""
    lowest = GLIBC.get(seen.distribution["packages"], GLIBC["rpm"])
    required = "glibc {0} or later".format(lowest)
    if seen.distribution["el6"]:
        return Answer("EL 6, which has 2.12", None, required)
    found = versions.compare(seen.host.c_library.rpartition(" ")[2] if seen.host.c_library else "", lowest)
    if found is None:
        return Answer("not told by the C library", None, required)
    return Answer(seen.host.c_library, found >= 0, required)


def memory(seen):
    """How much there is."""
    match = re.search(r"^MemTotal:\s+([0-9]+) kB", seen.host.text("proc/meminfo", 65536), re.MULTILINE)
    if match is None:
        return Answer("not told", None)
    total = int(match.group(1)) * 1024
    return Answer(storage.size(total), total >= MEMORY)


def cores(seen):
    """How many there are."""
    count = len(re.findall(r"^processor\s*:", seen.host.text("proc/cpuinfo"), re.MULTILINE))
    return Answer("{0}".format(count), count >= CORES) if count else Answer("not told", None)


def filesystems(seen):
    """What real-time protection does not scan."""
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
