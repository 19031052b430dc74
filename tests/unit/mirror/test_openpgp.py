"""Files with keys that gpg made, in each form, and files that are something else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror import openpgp

from tests.support.openpgp import Key

GOOD = ""
SECRET_IN_PUBLIC = "contains a secret key, which hosts that only check signatures must not have"
ONLY_PUBLIC = "contains a public key only"
SEVERAL = "contains several secret keys"
PASSPHRASE = "contains a secret key with a passphrase"
NOT_A_KEY = "is not an exported OpenPGP key"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The content of a file for each name."""
    folder = tmp_path_factory.mktemp("keys")
    one, two = Key(folder, "one"), Key(folder, "two")
    text = one.secret.read_bytes()
    return {
        "armored": one.public.read_bytes(),
        "binary": one.binary.read_bytes(),
        "two armored": one.public.read_bytes() + b"\nfor the second mirror\n" + two.public.read_bytes(),
        "two binary": one.binary.read_bytes() + two.binary.read_bytes(),
        "carriage returns": one.public.read_bytes().replace(b"\n", b"\r\n"),
        "secret": text,
        "secret binary": openpgp.binary(text),
        "secret after public": one.public.read_bytes() + text,
        "two secrets": text + two.secret.read_bytes(),
        "empty": b"",
        "text": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 mirror\n",
        "binary data": bytes(range(256)) * 4,
        "half": one.public.read_bytes()[:90],
        "half of binary": one.binary.read_bytes()[:20],
        "keybox": bytes.fromhex("0000002001010002") + b"KBXf" + bytes(20),
        "damaged armour": one.public.read_bytes().replace(b"\n\n", b"\n\n*", 1),
        "signature": b"-----BEGIN PGP SIGNATURE-----\n\niHUEABYKAB0=\n-----END PGP SIGNATURE-----\n",
    }


CASES = [
    ("armored", GOOD, ONLY_PUBLIC),
    ("binary", GOOD, ONLY_PUBLIC),
    ("two armored", GOOD, ONLY_PUBLIC),
    ("two binary", GOOD, ONLY_PUBLIC),
    ("carriage returns", GOOD, ONLY_PUBLIC),
    ("secret", SECRET_IN_PUBLIC, GOOD),
    ("secret binary", SECRET_IN_PUBLIC, GOOD),
    ("secret after public", SECRET_IN_PUBLIC, NOT_A_KEY),
    ("two secrets", SECRET_IN_PUBLIC, SEVERAL),
    ("empty", NOT_A_KEY, NOT_A_KEY),
    ("text", NOT_A_KEY, NOT_A_KEY),
    ("binary data", NOT_A_KEY, NOT_A_KEY),
    ("half", NOT_A_KEY, NOT_A_KEY),
    ("half of binary", NOT_A_KEY, NOT_A_KEY),
    ("keybox", NOT_A_KEY, NOT_A_KEY),
    ("damaged armour", NOT_A_KEY, NOT_A_KEY),
    ("signature", NOT_A_KEY, NOT_A_KEY),
]


@pytest.mark.parametrize(("name", "public", "secret"), CASES)
def test_files_are_judged_for_each_purpose(files: dict[str, bytes], name: str, public: str, secret: str) -> None:
    for judge, said in ((openpgp.fault_of_public_keys, public), (openpgp.fault_of_secret_key, secret)):
        fault = judge(files[name])
        assert (fault is None) if said == GOOD else said in (fault or ""), judge


def test_every_case_is_judged(files: dict[str, bytes]) -> None:
    assert {name for name, *_said in CASES} == set(files)


def test_the_text_has_all_keys_of_a_file(files: dict[str, bytes], tmp_path: Path) -> None:
    one, same, two, same_two = map(openpgp.armored, map(files.get, ("armored", "binary", "two armored", "two binary")))
    assert (one, two) == (same, same_two)
    assert [len(keys_shown(text, tmp_path)) for text in (one, two, one + two)] == [1, 2, 3]


def keys_shown(keys: str, folder: Path) -> list[str]:
    """The primary keys in a text, as gpg lists them."""
    command = ["gpg", "--homedir", str(folder), "--batch", "--quiet", "--with-colons", "--show-keys"]
    shown = subprocess.run(command, input=keys, capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if line.startswith("pub:")]


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa2048", "nistp256"])
@pytest.mark.parametrize(("passphrase", "said"), [("", None), ("s3cret", PASSPHRASE)])
def test_a_passphrase_is_noticed(tmp_path: Path, algorithm: str, passphrase: str, said: str | None) -> None:
    if not shutil.which("gpg"):
        pytest.skip("NOT TESTED: keys are made by gpg, not installed here")
    tmp_path.chmod(0o700)
    # Without this option, gpg-agent first measures how many hash iterations take 100 ms, which takes seconds.
    (tmp_path / "gpg-agent.conf").write_text("s2k-count 65536\n", encoding="utf-8")

    def gpg(*options: str) -> bytes:
        own = ["--homedir", str(tmp_path), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        command = ["gpg", *own, "--passphrase", passphrase, *options]
        return subprocess.run(command, check=True, capture_output=True).stdout

    gpg("--quick-generate-key", "m@mirrors.example", algorithm, "sign", "never")
    listed = gpg("-k", "--with-colons").decode().splitlines()
    fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))
    encrypts = {"ed25519": "cv25519"}.get(algorithm, algorithm)
    gpg("--quick-add-key", fingerprint, encrypts, "encr", "never")
    exported = gpg("--export-secret-keys")
    subkeys = gpg("--export-secret-subkeys")
    subprocess.run(["gpgconf", "--homedir", tmp_path, "--kill", "gpg-agent"], check=False)
    for data in (exported, subkeys):
        fault = openpgp.fault_of_secret_key(data)
        assert fault is None if said is None else said in (fault or "")
