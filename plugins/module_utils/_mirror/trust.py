"""Whether a signed status or bundle may be used: whose it is, how old it is, and whether a newer one was seen before.

`judge` decides. `.state/trust.json` remembers for each key which mirror signs with it, and the last sequence numbers.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, NamedTuple

from .errors import MirrorError
from .files import read_json
from .records import FORMAT, is_mirror_id, read_identity
from .times import now_iso, readable

FILE = "trust.json"
EXPIRED = "expired"
SIGNED, TLS, UNSIGNED = "signed", "tls", "unsigned"
# The kinds of documents, whose sequences are counted apart.
STATUS, BUNDLE = "status", "bundle"
_MOST_EXPECTED = 16


class Known(NamedTuple):
    """What was signed by one key until now: the mirror's id, and the highest sequence number of each kind."""

    mirror_id: str
    status: int = 0
    bundle: int = 0


class Trust(NamedTuple):
    """What is remembered, by fingerprint, and the ids of mirrors that an operator expects (`mde-mirror trust`)."""

    known: Mapping[str, Known] = {}
    expected: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        keys = {fingerprint: known._asdict() for fingerprint, known in self.known.items()}
        return {"format": FORMAT, "keys": keys, "expected": list(self.expected)}

    def expecting(self, mirror_id: str) -> Trust:
        """The trust after an operator accepted this mirror."""
        if any(known.mirror_id == mirror_id for known in self.known.values()):
            return self
        return self._replace(expected=(*(i for i in self.expected if i != mirror_id), mirror_id)[-_MOST_EXPECTED:])

    def after(self, proof: Proof) -> Trust:
        """The trust after a document was used."""
        if proof.fingerprint is None:
            return self
        known = self.known.get(proof.fingerprint)
        if known is None or known.mirror_id != proof.mirror_id:
            known = Known(proof.mirror_id)
        highest = max(getattr(known, proof.kind), proof.sequence)
        return Trust(
            {**self.known, proof.fingerprint: known._replace(**{proof.kind: highest})},
            tuple(expected for expected in self.expected if expected != proof.mirror_id),
        )


class Proof(NamedTuple):
    """How the origin of a document was proven. `accepted` has the codes of refusals that the operator overrode."""

    origin: str
    kind: str = STATUS
    fingerprint: str | None = None
    mirror_id: str = ""
    sequence: int = 0
    accepted: tuple[str, ...] = ()

    @property
    def is_proven(self) -> bool:
        return self.origin in (SIGNED, TLS)


def read(state: Path) -> Trust:
    """The trust that is saved in the folder `.state`. Entries that cannot be read count as never seen."""
    fields = read_json(state / FILE)
    if not isinstance(fields, dict):
        return Trust()
    keys, expected = fields.get("keys"), fields.get("expected")
    known = {}
    for fingerprint, entry in keys.items() if isinstance(keys, dict) else ():
        if isinstance(entry, dict) and is_mirror_id(entry.get("mirror_id")):
            numbers = (entry.get(kind) for kind in (STATUS, BUNDLE))
            known[fingerprint] = Known(entry["mirror_id"], *(n if isinstance(n, int) else 0 for n in numbers))
    ids = expected if isinstance(expected, list) else []
    return Trust(known, tuple(mirror_id for mirror_id in ids if is_mirror_id(mirror_id)))


def judge(
    content: Mapping[str, Any], fingerprint: str, kind: str, what: str, trust: Trust, now: str
) -> MirrorError | None:
    """Why a document with a valid signature must not be used; None if it may be."""
    identity, expires = read_identity(content), readable(content.get("expires"))
    if not identity.mirror_id or not expires:
        return MirrorError(
            "bad_signature",
            f"{what} is signed, but the signed text has no mirror id, sequence number or expiry",
            "Make it again with `mde-mirror sync` or `mde-mirror export`.",
        )
    known = trust.known.get(fingerprint)
    if known and known.mirror_id != identity.mirror_id:
        if identity.mirror_id not in trust.expected:
            return MirrorError(
                "foreign_mirror",
                f"{what} comes from the mirror {identity.mirror_id}; with this key, the mirror {known.mirror_id} was "
                "seen before",
                f"If that mirror was set up again, run `mde-mirror trust {identity.mirror_id}`. Otherwise give each "
                "mirror a key of its own.",
            )
        known = None
    if known and identity.sequence < getattr(known, kind):
        return MirrorError(
            "older_sequence",
            f"{what} has the sequence number {identity.sequence}; {getattr(known, kind)} was seen before",
            "An old copy was repeated, by a cache or on purpose. Fetch the present one, or export again.",
        )
    if expires < now:
        return MirrorError(
            "expired",
            f"{what} expired at {expires}; the clock of this host says {now}",
            "Find out why the other mirror does not renew the signature; set the clock of this host if it is wrong. "
            f"To use it once as it is, add --accept {EXPIRED} (module: accept).",
        )
    return None


def proven(
    fields: dict[str, Any],
    kind: str,
    what: str,
    trust: Trust,
    keyring: Path,
    accept: frozenset[str],
) -> tuple[dict[str, Any], Proof]:
    """The content of a signed document, and the proof of its origin. Raises `MirrorError`."""
    # Without a key there is nothing to check, so the programs are not looked for.
    from . import signing

    content, fingerprint = signing.verified(fields, signing.trusted_keys(keyring), what)
    error = judge(content, fingerprint, kind, what, trust, now_iso())
    if error and error.code not in accept:
        raise error
    identity = read_identity(content)
    accepted = (error.code,) if error else ()
    return content, Proof(SIGNED, kind, fingerprint, identity.mirror_id, identity.sequence, accepted)
