"""OpenPGP keys for tests, made by gpg."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


class Key:
    """A key without a passphrase: `secret` is the secret key; `public` (armoured) and `binary` are the public key."""

    def __init__(self, folder: Path, name: str) -> None:
        if not shutil.which("gpg") or not shutil.which("gpgv"):
            pytest.skip("NOT TESTED: signatures need gpg and gpgv, not installed here")
        self.home = folder / name
        self.home.mkdir(mode=0o700, parents=True)
        self._gpg("--passphrase", "", "--quick-generate-key", f"{name}@mirrors.example", "ed25519", "sign", "never")
        self.secret = self._export("secret.asc", "--armor", "--export-secret-keys")
        self.public = self._export("public.asc", "--armor", "--export")
        self.binary = self._export("public.gpg", "--export")
        listed = self._gpg("--with-colons", "--list-keys").decode()
        self.fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "gpg-agent"], check=False)

    def _export(self, name: str, *options: str) -> Path:
        path = self.home / name
        path.write_bytes(self._gpg(*options))
        return path

    def _gpg(self, *options: str) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--no-tty", *options]
        return subprocess.run(command, check=True, capture_output=True).stdout
