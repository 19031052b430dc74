"""The origin of packages: signed statuses and bundles, and each way in which a signed document can be wrong."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import json
import random
import tarfile
import threading

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror.bundle import _head
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.files import json_bytes
from ansible_collections.mde.offline.plugins.module_utils._mirror.signing import signed, trusted_keys, verified
from ansible_collections.mde.offline.plugins.module_utils._mirror.trust import Trust, proven

from tests.support.engine import PRODUCTION, kill, version
from tests.support.openpgp import Key

LONG_AGO = "2020-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two keys: the key of the mirror, and another one."""
    folder = tmp_path_factory.mktemp("keys")
    return Key(folder, "one"), Key(folder, "two")


@pytest.fixture
def key(keys):
    return keys[0]


@pytest.fixture
def signing(mirror, key):
    """A mirror with channels of its own that signs, and serves release 1."""
    mirror.configure(signing={"key": str(key.secret)})
    mirror.sync_well()
    return mirror


@pytest.fixture
def replica(signing, web_server, replica_of, key):
    return replica_of(web_server(signing.root), trustedKeys=str(key.public))


@pytest.fixture
def bundle(signing, tmp_path):
    signing.well("export", tmp_path / "bundle.tar")
    return tmp_path / "bundle.tar"


@pytest.fixture
def island(new_mirror, key):
    made = new_mirror("island")
    made.configure(source={"trustedKeys": str(key.public)})
    return made


def signed_text(mirror):
    return json.loads(mirror.status()["signed"]["text"])


def sign_again(mirror, key, **changes):
    """Replaces the status of a mirror with a changed one that the key signs."""
    fields = {name: value for name, value in {**mirror.status(), **changes}.items() if name != "signed"}
    (mirror.root / "status.json").write_text(json.dumps(signed(fields, key.secret)), encoding="utf-8")


def codes(run):
    report = run.report
    found = [error["code"] for error in report["errors"]]
    found += [unit["error"]["code"] for unit in report.get("units", []) if unit.get("error")]
    return set(found)


def assert_refused(mirror, code, before, *arguments):
    run = mirror.sync(*arguments)
    assert run.status == 1, run.text
    assert codes(run) == {code}
    assert mirror.snapshot() == before
    return run


# --- statuses ---------------------------------------------------------------------------------------------------------


def test_a_replica_takes_what_a_trusted_key_signed(replica, signing):
    replica.sync_well()

    assert replica.snapshot([PRODUCTION]) == signing.snapshot([PRODUCTION])
    status = json.loads(replica.run("status", "--json").stdout)
    assert status["origin"] == "signed"
    assert [hop["mirror_id"] for hop in status["chain"]] == [signing.status()["mirror_id"]]
    assert "a signature of a trusted key" in replica.run("status").stdout
    assert 'mde_mirror_origin{origin="signed"} 1' in replica.run("metrics").stdout


def test_a_keyring_may_be_binary_and_have_several_keys(replica, keys, tmp_path):
    for name, parts in (("binary", [keys[0].binary]), ("both", [keys[1].public, keys[0].public])):
        ring = tmp_path / name
        ring.write_bytes(b"".join(part.read_bytes() for part in parts))
        replica.configure(source={"trustedKeys": str(ring)})

        replica.sync_well()


def test_the_signed_text_is_the_content(signing):
    status = signing.status()
    rest = {name: value for name, value in status.items() if name != "signed"}

    assert signed_text(signing) == rest
    assert status["expires"] > status["generated"]
    assert status["sequence"] > 0


def test_each_write_has_a_higher_sequence_and_the_same_id(signing):
    first = signing.status()

    signing.sync_well()

    second = signing.status()
    assert second["sequence"] > first["sequence"]
    assert second["mirror_id"] == first["mirror_id"]


def test_status_signs_anew_on_request_only(signing):
    before = signing.status()

    signing.run("status")
    assert signing.status() == before
    assert signing.run("status", "--sign").status == 0

    assert signing.status()["sequence"] > before["sequence"]


def test_status_does_not_sign_without_a_key(mirror):
    before = (mirror.root / "status.json").read_bytes()

    assert mirror.run("status", "--sign").status == 0

    assert (mirror.root / "status.json").read_bytes() == before


@pytest.fixture
def synced(replica):
    """The replica after its first sync."""
    replica.sync_well()
    return replica


def test_what_nobody_signed_is_refused(synced, signing):
    signing.configure(signing=None)
    signing.publish(2)

    assert_refused(synced, "unsigned", synced.snapshot())


def test_an_unknown_key_is_refused(synced, signing, keys):
    signing.configure(signing={"key": str(keys[1].secret)})
    signing.publish(2)

    run = assert_refused(synced, "unknown_key", synced.snapshot())
    assert keys[1].fingerprint[-16:] in run.text


def test_an_expired_status_is_refused_and_can_be_accepted_once(synced, signing, key):
    before = synced.snapshot()
    signing.publish(2)
    sign_again(signing, key, expires=LONG_AGO)

    assert_refused(synced, "expired", before)
    run = synced.sync_well("--accept", "expired")

    assert synced.served().number == 2
    assert {tuple(unit["accepted"]) for unit in run.report["units"]} == {("expired",)}
    assert synced.channels()[PRODUCTION]["history"][-1]["accepted"] == "expired"


def test_an_older_status_is_refused(synced, signing):
    old = (signing.root / "status.json").read_bytes()
    signing.publish(2)
    synced.sync_well()
    before = synced.snapshot()

    (signing.root / "status.json").write_bytes(old)

    assert_refused(synced, "older_sequence", before)
    # The present status may be read repeatedly.
    signing.sync_well()
    synced.sync_well()
    synced.sync_well()


def test_another_mirror_with_the_same_key_is_refused_until_an_operator_trusts_it(synced, signing, key):
    other = "0123456789abcdef" * 2
    signing.publish(2)
    sign_again(signing, key, mirror_id=other, sequence=1)
    before = synced.snapshot()

    run = assert_refused(synced, "foreign_mirror", before)
    assert f"mde-mirror trust {other}" in run.text
    assert synced.run("trust", other).status == 0
    synced.sync_well()

    assert synced.served().number == 2
    # The replica now refuses the previous mirror as foreign.
    signing.sync_well()
    assert_refused(synced, "foreign_mirror", synced.snapshot())


@pytest.mark.parametrize("wrong", ["", "x" * 32, "0" * 31, "0" * 33])
def test_trust_takes_the_id_of_a_mirror_only(unsynced, wrong):
    assert unsynced.run("trust", wrong).status == 2


def test_a_signed_document_of_another_kind_is_refused(synced, signing, bundle):
    with tarfile.open(bundle) as archive:
        inventory = archive.extractfile("inventory.json").read()
    before = synced.snapshot()
    (signing.root / "status.json").write_bytes(inventory)

    run = synced.sync()

    assert run.status == 1
    assert codes(run) == {"bad_status"}
    assert synced.snapshot() == before


def variants(fields):
    """For each member, yields its path and a copy of the document in which only this member is changed."""

    def changed(value):
        if isinstance(value, bool) or value is None:
            return "changed"
        if isinstance(value, int):
            return value + 1
        if isinstance(value, str):
            return value[:-1] + ("0" if value[-1:] != "0" else "1") if value else "x"
        return None

    def walk(value, path):
        replaced = changed(value)
        if replaced is not None:
            yield path, replaced
        elif isinstance(value, dict):
            for name in value:
                yield from walk(value[name], (*path, name))
            yield (*path, "added"), 1
        else:
            for index in range(len(value)):
                yield from walk(value[index], (*path, index))
            yield path, [*value, 1]

    for path, value in walk(fields, ()):
        if path:
            copy = json.loads(json.dumps(fields))
            place = copy
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            yield path, copy


def test_each_member_of_a_status_is_covered_by_the_signature(synced, signing, key):
    """Each member is changed in the content, or in the signature itself; no change reaches the replica."""
    status, accepted, count = signing.status(), [], 0
    for path, copy in variants(status):
        count += 1
        try:
            proven(copy, "status", "the status", Trust(), key.public, frozenset())
            accepted.append(path)
        except MirrorError as error:
            assert error.code == "bad_signature", (path, error.code)
    assert accepted == []
    assert count > 50


def test_each_member_that_is_left_out_is_noticed(signing, key):
    status = signing.status()
    for name in status:
        copy = {other: value for other, value in status.items() if other != name}
        with pytest.raises(MirrorError) as error:
            proven(copy, "status", "the status", Trust(), key.public, frozenset())
        assert error.value.code == ("unsigned" if name == "signed" else "bad_signature")


def test_a_byte_of_the_signature_that_openpgp_leaves_unprotected_is_noticed(signing, key):
    status = signing.status()
    packet = base64.b64decode(status["signed"]["signature"])
    for index in range(len(packet)):
        flipped = bytearray(packet)
        flipped[index] ^= 1
        signed = {**status["signed"], "signature": base64.b64encode(bytes(flipped)).decode()}
        with pytest.raises(MirrorError, match="signature"):
            proven({**status, "signed": signed}, "status", "the status", Trust(), key.public, frozenset())


def test_readers_see_content_and_signature_that_belong_together(signing, key):
    """10,000 reads while the status is written 20 times and writers are killed."""
    stop, seen = threading.Event(), {}

    def read():
        for _time in range(10_000):
            seen.setdefault((signing.root / "status.json").read_bytes(), None)
        stop.set()

    reader = threading.Thread(target=read)
    reader.start()
    written = 0
    while written < 20 or not stop.is_set():
        assert signing.run("status", "--sign").status == 0
        process = signing.start("status", "--sign")
        kill(process)
        written += 1
    reader.join()
    seen.setdefault((signing.root / "status.json").read_bytes(), None)
    assert len(seen) > 1
    ring = trusted_keys(key.public)
    sequences = [verified(json.loads(data), ring, "the status").content["sequence"] for data in seen]
    assert sequences == sorted(set(sequences))


def test_a_key_that_cannot_be_used_fails_the_sync_but_not_the_publication(signing, tmp_path):
    broken = tmp_path / "broken.asc"
    broken.write_text("no key", encoding="utf-8")
    before = (signing.root / "status.json").read_bytes()
    signing.configure(signing={"key": str(broken)})
    signing.service.publish(version(2), size=30_000)

    run = signing.sync()

    assert run.status == 1
    assert "signing" in codes(run)
    assert signing.served().number == 2
    assert (signing.root / "status.json").read_bytes() == before
    assert "no key" not in run.text


def test_a_program_that_is_missing_is_named(signing, tmp_path):
    run = signing.sync(env={"PATH": str(tmp_path)})

    assert run.status == 1
    assert "gpg is not installed" in run.text


def test_signing_needs_no_home_and_leaves_nothing_behind(signing, tmp_path):
    scratch = tmp_path / "t"
    scratch.mkdir()

    run = signing.sync_well(env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "TMPDIR": str(scratch)})

    assert run.status == 0
    assert list(scratch.iterdir()) == []


# --- replicas without keys --------------------------------------------------------------------------------------------


def test_a_replica_over_http_must_say_what_it_trusts(signing, web_server, replica_of):
    replica = replica_of(web_server(signing.root))
    replica.configure(source={"unsigned": None})

    run = replica.run("sync")

    assert run.status == 2
    assert "source.trustedKeys" in run.text
    assert "source.unsigned" in run.text


def test_a_replica_says_that_its_source_is_unsigned(signing, web_server, replica_of):
    replica = replica_of(web_server(signing.root))
    replica.sync_well()

    assert json.loads(replica.run("status", "--json").stdout)["origin"] == "unsigned"
    assert 'mde_mirror_origin{origin="unsigned"} 1' in replica.run("metrics").stdout


def test_the_service_is_proven_by_tls(mirror):
    mirror.sync_well()

    expected = "tls" if mirror.settings["source"]["url"].startswith("https:") else "unsigned"
    assert json.loads(mirror.run("status", "--json").stdout)["origin"] == expected


def test_a_status_of_version_0_1_0_is_read_as_unsigned(signing, web_server, replica_of):
    replica = replica_of(web_server(signing.root))
    status = signing.status()
    for name in ("kind", "mirror_id", "sequence", "expires", "signed", "chain", "origin"):
        del status[name]
    for channel in status["channels"]:
        del channel["state"], channel["withdrawn"]
    (signing.root / "status.json").write_text(json.dumps(status), encoding="utf-8")

    replica.sync_well()

    assert json.loads(replica.run("status", "--json").stdout)["chain"] == []


# --- bundles ----------------------------------------------------------------------------------------------------------


def test_a_signed_bundle_is_imported(bundle, island, signing):
    run = island.well("import", bundle)

    assert run.report["origin"] == "signed"
    assert island.snapshot([PRODUCTION]) == signing.snapshot([PRODUCTION])
    status = json.loads(island.run("status", "--json").stdout)
    assert status["origin"] == "signed"
    assert [hop["mirror_id"] for hop in status["chain"]] == [signing.status()["mirror_id"]]


def test_a_bundle_is_refused_where_no_keys_are_trusted(bundle, new_mirror):
    island = new_mirror("other")

    error = island.refused("unsigned", "import", bundle)

    assert "--unsigned" in error["hint"]
    island.well("import", "--unsigned", bundle)


def test_a_bundle_that_nobody_signed_is_refused_where_keys_are_trusted(mirror, island, tmp_path):
    mirror.well("export", tmp_path / "plain.tar")

    island.refused("unsigned", "import", tmp_path / "plain.tar")
    assert island.well("import", "--unsigned", tmp_path / "plain.tar").report["origin"] == "unsigned"


def test_a_bundle_of_an_unknown_key_is_refused(bundle, island, keys):
    island.configure(source={"trustedKeys": str(keys[1].public)})

    island.refused("unknown_key", "import", bundle)


def test_an_older_bundle_is_refused(bundle, island, signing, tmp_path):
    signing.publish(2)
    signing.well("export", tmp_path / "newer.tar")
    island.well("import", tmp_path / "newer.tar")

    island.refused("older_sequence", "import", bundle)
    island.refused("older_sequence", "import", bundle, "--accept", "downgrade", "--accept", "expired")


def resealed(source, target, change):
    """A copy of a bundle with another inventory and a seal that matches it: only the signature shows the change."""
    with tarfile.open(source) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members[:-1]:
            if name == "inventory.json":
                data = json_bytes(change(json.loads(data)))
            archive.addfile(_head(name, len(data)), io.BytesIO(data))
        seal = json_bytes({"sha256": hashlib.sha256(out.getvalue()).hexdigest()})
        archive.addfile(_head("seal.json", len(seal)), io.BytesIO(seal))
    target.write_bytes(out.getvalue())
    return target


def test_a_bundle_of_another_mirror_is_refused(bundle, island, key, tmp_path):
    def rebuilt(fields):
        del fields["signed"]
        return signed({**fields, "mirror_id": "ab" * 16, "sequence": 1}, key.secret)

    island.well("import", bundle)
    other = resealed(bundle, tmp_path / "other.tar", rebuilt)

    island.refused("foreign_mirror", "import", other)
    assert island.run("trust", "ab" * 16).status == 0
    island.well("import", other)


def test_an_expired_bundle_is_refused_and_can_be_accepted_once(bundle, island, key, tmp_path):
    def expired(fields):
        del fields["signed"]
        return signed({**fields, "expires": LONG_AGO}, key.secret)

    old = resealed(bundle, tmp_path / "old.tar", expired)

    island.refused("expired", "import", old)
    run = island.well("import", old, "--accept", "expired")
    assert {tuple(unit["accepted"]) for unit in run.report["units"]} == {("expired",)}
    assert island.channels()[PRODUCTION]["history"][-1]["accepted"] == "expired"


def test_each_member_of_the_inventory_is_covered_by_the_signature(bundle, island, tmp_path):
    """An attacker changes a member and renews the seal. The import fails, by the signature or by the format check."""
    with tarfile.open(bundle) as archive:
        fields = json.loads(archive.extractfile("inventory.json").read())
    chosen = random.Random(5).sample(list(variants(fields)), 25)
    for path, copy in chosen:
        changed = resealed(bundle, tmp_path / "changed.tar", lambda _fields, copy=copy: copy)
        run = island.verb("import", changed)
        assert run.status == 1, path
        assert codes(run) <= {"bad_signature", "foreign_bundle", "damaged_bundle"}, (path, codes(run))
        assert island.folders() == []


def test_an_export_signs_again_when_half_of_the_validity_is_over(bundle, signing, key, tmp_path):
    assert signing.well("export", bundle).report["changed"] is False
    aged = {"created": LONG_AGO, "expires": "2020-01-31T00:00:00Z"}
    old = resealed(
        bundle,
        tmp_path / "old.tar",
        lambda fields: signed({**{k: v for k, v in fields.items() if k != "signed"}, **aged}, key.secret),
    )

    assert signing.well("export", old).report["changed"] is True
    assert signing.well("export", old).report["changed"] is False


def test_an_export_signs_again_with_another_key(bundle, signing, keys):
    signing.configure(signing={"key": str(keys[1].secret)})
    assert signing.well("export", bundle).report["changed"] is True

    signing.configure(signing=None)
    assert signing.well("export", bundle).report["changed"] is True


def test_the_validity_of_a_bundle_can_be_chosen(signing, tmp_path):
    signing.well("export", tmp_path / "short.tar", "--valid-days", "2")

    with tarfile.open(tmp_path / "short.tar") as archive:
        fields = json.loads(archive.extractfile("inventory.json").read())
    created, expires = (datetime.datetime.fromisoformat(fields[name][:-1]) for name in ("created", "expires"))
    assert expires - created == datetime.timedelta(days=2)
    assert signing.run("export", str(tmp_path / "x.tar"), "--valid-days", "0").status == 2


# --- what is not public -----------------------------------------------------------------------------------------------


def test_the_public_status_names_no_operator_and_no_path(mirror):
    mirror.well("hold", "production", "--reason", "secret reason", "--by", "carol")

    text = (mirror.root / "status.json").read_text(encoding="utf-8")

    for word in ("secret reason", "carol", str(mirror.root), "127.0.0.1", "message", "hint"):
        assert word not in text
    (entry,) = [entry for entry in mirror.status()["channels"] if entry["path"] == PRODUCTION]
    assert entry["state"] == "held"
    assert set(entry["held"]) == {"kind", "since"}


def test_holds_are_recovered_without_the_public_status(mirror):
    mirror.well("hold", "production", "--reason", "freeze", "--by", "carol")
    held = mirror.channels()[PRODUCTION]["hold"]
    (mirror.root / ".state" / "channels.json").unlink()
    (mirror.root / "status.json").unlink()

    mirror.sync_well()

    assert mirror.channels()[PRODUCTION]["hold"] == held


def test_a_lost_identity_is_read_from_the_status(mirror):
    before = mirror.status()
    (mirror.root / ".state" / "identity.json").unlink()

    mirror.sync_well()

    after = mirror.status()
    assert after["mirror_id"] == before["mirror_id"]
    assert after["sequence"] > before["sequence"]


def test_a_rollback_withdraws_releases_until_they_are_served_again(mirror):
    mirror.publish(2)
    mirror.publish(3)
    mirror.well("rollback", "production", "--to", version(1))

    (entry,) = [entry for entry in mirror.status()["channels"] if entry["path"] == PRODUCTION]
    assert entry["state"] == "rolled_back"
    assert [release["definitions_version"] for release in entry["withdrawn"]] == [version(2), version(3)]

    mirror.well("unhold", "production")
    mirror.sync_well()

    (entry,) = [entry for entry in mirror.status()["channels"] if entry["path"] == PRODUCTION]
    assert entry["state"] == "follows"
    assert [release["definitions_version"] for release in entry["withdrawn"]] == [version(2)]
