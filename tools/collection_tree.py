"""The files of the checkout, and the link under which Python and Ansible find the checkout as a collection."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ROOT = CHECKOUT / ".cache"
LINK = ROOT / "ansible_collections" / "mde" / "offline"


class NoGit(Exception):
    """git cannot list the files of the checkout; the message says why."""


def link_checkout() -> Path:
    """Creates the link `.cache/ansible_collections/mde/offline`; returns the folder for ANSIBLE_COLLECTIONS_PATH."""
    LINK.parent.mkdir(parents=True, exist_ok=True)
    if not LINK.is_symlink() or LINK.resolve() != CHECKOUT:
        staged = LINK.with_name(f"offline.{os.getpid()}")
        staged.symlink_to(Path(os.path.relpath(CHECKOUT, LINK.parent)), target_is_directory=True)
        staged.replace(LINK)
    return ROOT


def checkout_files() -> list[str]:
    """Every file that is committed or that `git add --all` would add, relative to the checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise NoGit("git is not installed") from None
    except subprocess.CalledProcessError as exc:
        raise NoGit(f"git cannot list the files of {CHECKOUT}: {exc.stderr.strip()}") from exc
    names = sorted(set(filter(None, listed.split("\0"))))
    # A deleted file may still be in git's index.
    return [name for name in names if (CHECKOUT / name).is_symlink() or (CHECKOUT / name).is_file()]


if __name__ == "__main__":
    link_checkout()
