"""OpenPGP signatures of JSON documents, made by gpg and checked by gpgv in a temporary home that is removed.

A signed document has the member `signed` with the signed text and its signature (base64). The text holds all other
members, so that one file, and each copy of it, has content and signature that belong together.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Iterator, NamedTuple

from .errors import MirrorError
from .openpgp import binary
from .privileges import for_program

MEMBER = "signed"
_SECONDS = 20
# The agent of gpg has a socket in its home, and the path of a socket has at most 107 bytes.
_LONGEST_FOLDER = 60
# A key and a keyring are small. What is larger is not one of them.
_MAX_KEY_BYTES = 1024 * 1024


class Keyring(NamedTuple):
    """Public keys without armour, and where they are from."""

    keys: bytes
    name: str


class Signature(NamedTuple):
    """`fingerprint` is that of the primary key."""

    content: dict[str, Any]
    fingerprint: str


def signed(fields: dict[str, Any], key: Path) -> dict[str, Any]:
    """The document with its signature by the secret key in a file. Raises `MirrorError`."""
    text = _canonical(fields)
    signature = base64.b64encode(_sign(text.encode(), key)).decode("ascii")
    return {**fields, MEMBER: {"text": text, "signature": signature, "sha256": _sha256(signature)}}


def is_signed(fields: Any) -> bool:
    return isinstance(fields, dict) and MEMBER in fields


def verified(fields: dict[str, Any], keyring: Keyring, what: str) -> Signature:
    """The signed content of a document. `what` names the document in messages.

    Raises `MirrorError`: `unsigned`, `unknown_key`, or `bad_signature` where text, signature and content do not belong
    together.
    """
    if not is_signed(fields):
        raise MirrorError(
            "unsigned",
            f"{what} is not signed",
            "Sign it on the mirror that made it (`signing.key` in the settings there). To take it unsigned, use "
            "source.unsigned instead of source.trustedKeys, or `import --unsigned` (module: unsigned).",
        )
    part = fields[MEMBER]
    text, signature = (part.get("text"), part.get("signature")) if isinstance(part, dict) else (None, None)
    if not isinstance(text, str) or not isinstance(signature, str):
        raise _bad(what, "its signature is incomplete")
    try:
        # Parts of an OpenPGP signature may change without effect. The digest shows that a copy is damaged there too.
        if set(part) != {"text", "signature", "sha256"} or part["sha256"] != _sha256(signature):
            raise ValueError
        packet = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise _bad(what, "its signature is damaged") from None
    fingerprint = _check(text.encode("utf-8", "surrogatepass"), packet, keyring, what)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad(what, "the signed text is not JSON") from None
    rest = {name: value for name, value in fields.items() if name != MEMBER}
    if not isinstance(content, dict) or _canonical(content) != _canonical(rest):
        raise _bad(what, "its content is not what was signed")
    return Signature(content, fingerprint)


def _canonical(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def trusted_keys(path: Path) -> Keyring:
    """The keys in a file that is binary, or has one or more armoured blocks. Raises `MirrorError`."""
    data = _read(path, "source.trustedKeys", "the keyring")
    try:
        return Keyring(binary(data), str(path))
    except ValueError:
        raise MirrorError(
            "signing",
            f"the keyring {path} is not readable",
            "Export the keys again: `gpg --export --armor KEY-ID`.",
        ) from None


def own_keys(key: Path) -> Keyring:
    """The public part of the secret key in a file. Raises `MirrorError`."""
    with _home() as home:
        _import(home, key)
        return Keyring(_run("gpg", home, ["--export"], b"").stdout, str(key))


def _sha256(signature: str) -> str:
    return hashlib.sha256(signature.encode("utf-8", "surrogatepass")).hexdigest()


def _bad(what: str, why: str) -> MirrorError:
    return MirrorError(
        "bad_signature",
        f"the signature of {what} is not valid: {why}",
        "It was changed after it was signed, by accident or on purpose. Fetch or copy it again; if that does not help, "
        "find out what changes it in transit.",
    )


# --- gpg --------------------------------------------------------------------------------------------------------------


def _sign(data: bytes, key: Path) -> bytes:
    with _home() as home:
        _import(home, key)
        made = _run("gpg", home, ["--pinentry-mode", "error", "--detach-sign", "--output", "-"], data)
        if made.returncode != 0 or not made.stdout:
            raise MirrorError(
                "signing",
                f"gpg cannot sign with the key {key}: {_reason(made)}",
                "The file must hold one secret key that can sign, has no passphrase and has not expired. Check it with "
                f"`gpg --show-keys {key}`.",
            )
        return made.stdout


def _import(home: Path, key: Path) -> None:
    imported = _run("gpg", home, ["--import"], _read(key, "signing.key", "the secret key"))
    if imported.returncode != 0:
        raise MirrorError(
            "signing",
            f"gpg cannot use the secret key {key}: {_reason(imported)}",
            "Export the key again: `gpg --export-secret-keys --armor KEY-ID`.",
        )


def _check(data: bytes, signature: bytes, keyring: Keyring, what: str) -> str:
    """The fingerprint of the key in the keyring that made the signature."""
    with _home() as home:
        named = {"keys.gpg": keyring.keys, "text": data, "text.sig": signature}
        for name, content in named.items():
            (home / name).write_bytes(content)
        options = ["--keyring", str(home / "keys.gpg"), "--ignore-time-conflict", "--status-fd", "1"]
        done = _run("gpgv", home, [*options, str(home / "text.sig"), str(home / "text")], b"")
    found: dict[str, list[list[str]]] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "[GNUPG:]":
            found.setdefault(words[1], []).append(words[2:])
    if done.returncode == 0 and len(found.get("GOODSIG", [])) == 1 and len(found.get("VALIDSIG", [])) == 1:
        return found["VALIDSIG"][0][-1]
    for word, why in (
        ("EXPKEYSIG", "has expired"),
        ("REVKEYSIG", "was revoked"),
        ("NO_PUBKEY", "is not in the keyring"),
    ):
        if word in found:
            number = re.sub("[^0-9A-F]", "", (found[word][0] or [""])[0])
            raise MirrorError(
                "unknown_key",
                f"{what} is signed by the key {number}, which {why} ({keyring.name})",
                "If this is the right key, add its public part to the trusted keys of this mirror.",
            )
    raise _bad(what, "gpgv refuses it")


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    folder = tempfile.gettempdir()
    home = Path(tempfile.mkdtemp(prefix="mde-gpg-", dir=folder if len(folder) <= _LONGEST_FOLDER else "/tmp"))
    try:
        yield home
    finally:
        # gpg-agent ends by itself once its home is gone, but only after a while.
        if (home / "private-keys-v1.d").exists():
            with contextlib.suppress(MirrorError):
                _run("gpgconf", home, ["--kill", "gpg-agent"], b"")
        shutil.rmtree(home, ignore_errors=True)


def _run(program: str, home: Path, options: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    own = ["--homedir", str(home)]
    if program == "gpg":
        own += ["--no-options", "--batch", "--no-tty", "--quiet"]
    try:
        return subprocess.run(
            [program, *own, *options],
            input=data,
            capture_output=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(home), "GNUPGHOME": str(home)},
            timeout=_SECONDS,
            check=False,
            preexec_fn=for_program(),  # pylint: disable=subprocess-popen-preexec-fn
        )
    except FileNotFoundError:
        raise MirrorError(
            "signing", f"{program} is not installed on this host", f"Install the package that has {program}."
        ) from None
    except (OSError, subprocess.SubprocessError) as error:
        raise MirrorError(
            "signing", f"{program} could not be run: {error}", "Run the command by hand as the user of the mirror."
        ) from None


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    text = "".join(c for c in (lines[-1] if lines else f"exit status {done.returncode}") if c.isprintable())
    return text[:200]


def _read(path: Path, key: str, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_BYTES + 1)
    except OSError as error:
        raise MirrorError(
            "signing",
            f"{what} {path} cannot be read: {error.strerror}",
            f"Check {key} in the settings, and that the user of the mirror may read the file.",
        ) from None
    if not data or len(data) > _MAX_KEY_BYTES:
        raise MirrorError("signing", f"{what} {path} is empty or too large", f"Check {key} in the settings.")
    return data
