"""A small virtual machine whose kernel is both NFS server and client. It runs the `init` of a payload."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Sequence

from collection_tree import CHECKOUT

# Debian packages that run the machine and create its disks.
PACKAGES = ("qemu-system-x86", "e2fsprogs", "mmdebstrap")
INSIDE = (
    *("python3", "mount", "iproute2", "kmod", "linux-image-cloud-amd64", "initramfs-tools"),
    *("nfs-kernel-server", "nfs-common", "rpcbind", "netbase", "procps"),
)
# Part of the folder's name, so that a changed list creates a new machine.
RECIPE = hashlib.sha256(" ".join(INSIDE).encode()).hexdigest()[:12]
HOME = CHECKOUT / ".cache" / "molecule" / f"machine-{RECIPE}"
# In seconds. Without hardware virtualisation the machine is slow, but usually needs only a fraction of this.
LIMIT = 300
FIRST = """#!/bin/sh
/bin/mount -t proc p /proc
/bin/mount -t sysfs s /sys
/bin/mkdir -p /rig
/bin/mount /dev/vdb /rig
exec /rig/init
"""


def disk(folder: Path, image: Path, spare: int) -> None:
    """Creates an ext4 file system with the content of a folder and `spare` megabytes of free space."""
    size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) // 2**20 + spare
    subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(image), f"{size}M"], check=True)


def make(suite: str, package_mirror: str, options: Sequence[str] = ()) -> None:
    """Creates kernel, initial file system and disk if they do not exist. Requires root, to set the owners of files."""
    if (HOME / "disk.img").exists():
        return
    with tempfile.TemporaryDirectory(dir=HOME.parent) as work:
        made, root = Path(work) / "made", Path(work) / "root"
        made.mkdir()
        hook = (
            'printf "virtio_pci\\nvirtio_blk\\next4\\n" >>"$1/etc/initramfs-tools/modules"; '
            'sed -i "s/^MODULES=.*/MODULES=list/" "$1/etc/initramfs-tools/initramfs.conf"; '
            f'chroot "$1" update-initramfs -u; cp "$1"/boot/vmlinuz-* "{made}/vmlinuz"; '
            f'cp "$1"/boot/initrd.img-* "{made}/initrd"'
        )
        command = ["mmdebstrap", "--variant=apt", f"--include={','.join(INSIDE)}", f"--customize-hook={hook}", *options]
        subprocess.run([*command, suite, str(root), package_mirror], check=True, capture_output=True)
        (root / "first").write_text(FIRST, encoding="utf-8")
        (root / "first").chmod(0o755)
        disk(root, made / "disk.img", 400)
        made.rename(HOME)


def run(payload: Path) -> list[str]:
    """Runs the machine; returns the lines of its console that begin with RIG."""
    with tempfile.TemporaryDirectory() as work:
        image = Path(work) / "payload.img"
        disk(payload, image, 64)
        append = "console=ttyS0 root=/dev/vda rw init=/first quiet panic=1 mitigations=off random.trust_cpu=on"
        command = [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"),
            *("-nographic", "-no-reboot", "-kernel", str(HOME / "vmlinuz"), "-initrd", str(HOME / "initrd")),
            *("-append", append),
            *("-drive", f"file={HOME / 'disk.img'},if=virtio,format=raw,snapshot=on"),
            *("-drive", f"file={image},if=virtio,format=raw,cache=unsafe"),
        ]
        console = Path(work) / "console"
        with console.open("wb") as stream:
            try:
                subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    timeout=LIMIT,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                print(f"the machine did not finish within {LIMIT} s", file=sys.stderr)
        output = console.read_text(encoding="utf-8", errors="replace")
    lines = [line[line.index("RIG ") :].strip() for line in output.splitlines() if "RIG " in line]
    if "RIG done" not in lines:
        print(output[-4000:], file=sys.stderr)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("payload", type=Path, help="folder with `init` and the files that it needs; mounted at /rig")
    lines = run(parser.parse_args().payload)
    print("\n".join(lines))
    return 0 if "RIG done" in lines and not any(line.startswith("RIG failed") for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
