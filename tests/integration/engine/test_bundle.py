"""Bundles carry releases across an air gap in one file: exactly what was exported is imported, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from simulators.download_service import build_package
from tests.support.engine import (
    BACK,
    CANARY,
    ENGINE,
    LONGEST,
    MEASURED,
    PRODUCTION,
    SIZE,
    Kills,
    damage,
    folders,
    kill,
    linger,
    version,
)

MIB = 1 << 20


@pytest.fixture
def bundle(mirror, tmp_path):
    """A bundle of what a mirror serves: release 2 in production, and release 1 in canary."""
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    file = tmp_path / "bundle.tar"
    mirror.well("export", file)
    return file


@pytest.fixture
def small(new_mirror, tmp_path):
    """A small bundle of one package."""
    made = new_mirror("small", architectures=["x86_64"])
    made.publish(3, size=4000)
    file = tmp_path / "small.tar"
    made.well("export", file)
    return file


@pytest.fixture
def island(new_mirror):
    """A mirror that is filled only by bundles; its source does not respond."""
    return new_mirror("island", channels=["canary"], source={"url": "http://127.0.0.1:9/"})


def refused(island, file, *codes, check=True):
    """Checks that the import fails with one of these codes and changes nothing, also with --check."""
    before = island.state()
    for arguments in (["--check"], []) if check else ([],):
        run = island.verb("import", "--unsigned", file, *arguments)
        assert run.status == 1, run.text
        (error,) = run.report["errors"]
        assert not codes or error["code"] in codes, error
        assert error["hint"]
        assert island.state() == before
    incoming = island.root / ".incoming"
    assert not incoming.exists() or not list(incoming.iterdir())


# -- there and back ----------------------------------------------------------------------------------------------------


def test_what_was_exported_is_served_after_the_import(mirror, bundle, island):
    run = island.well("import", "--unsigned", bundle)
    assert run.report["changed"] is True
    paths = [*folders("production"), *folders("canary")]
    assert island.snapshot(paths) == mirror.snapshot(paths)
    assert [island.name(path) for path in paths] == [mirror.name(path) for path in paths]
    assert island.history(PRODUCTION) == ["import"]
    assert [entry["definitions_date"] for entry in island.status()["channels"]] == [
        entry["definitions_date"] for entry in mirror.status()["channels"]
    ]
    island.agree()
    state = island.channels()
    again = island.well("import", "--unsigned", bundle)
    assert again.report["changed"] is False
    assert island.channels() == state


def test_n_1_grows_with_the_imports(mirror, bundle, island, tmp_path):
    island.well("import", "--unsigned", bundle)
    mirror.publish(3)
    mirror.well("export", tmp_path / "next.tar")
    run = island.well("import", "--unsigned", tmp_path / "next.tar")
    assert {unit["channel"]: unit["changed"] for unit in run.report["units"]} == {"canary": False, "production": True}
    assert (island.numbers("production"), island.numbers("production_back")) == ([3, 3], [2, 2])
    island.well("rollback", "production")
    assert island.numbers("production") == [2, 2]
    island.agree()


def test_what_was_imported_can_be_promoted_and_exported_again(bundle, island, new_mirror, tmp_path):
    island.well("import", "--unsigned", bundle)
    island.well("promote", "production", "canary")
    island.well("export", tmp_path / "further.tar")
    further = new_mirror("further", channels=["canary"])
    further.well("import", "--unsigned", tmp_path / "further.tar")
    assert further.numbers("canary") == [2, 2]
    assert further.snapshot(folders("production")) == island.snapshot(folders("production"))


def test_a_channel_that_shares_a_package_costs_no_copy(mirror, island, tmp_path):
    alone, both = tmp_path / "alone.tar", tmp_path / "both.tar"
    mirror.well("export", alone)
    mirror.well("promote", "production", "canary")
    mirror.well("export", both)
    assert both.stat().st_size - alone.stat().st_size < SIZE
    island.well("import", "--unsigned", both)
    assert (island.root / PRODUCTION).resolve() == (island.root / CANARY).resolve()


def test_exporting_the_same_again_leaves_the_file_alone(mirror, bundle):
    before = (bundle.stat().st_ino, bundle.read_bytes())
    run = mirror.well("export", bundle)
    assert run.report["changed"] is False
    assert run.report["sha256"] == hashlib.sha256(before[1]).hexdigest()
    assert run.report["bytes"] == len(before[1])
    assert (bundle.stat().st_ino, bundle.read_bytes()) == before
    mirror.publish(3)
    assert mirror.well("export", bundle).report["changed"] is True
    # A damaged file is written again.
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    assert mirror.well("export", bundle).report["changed"] is True
    assert [path.name for path in bundle.parent.glob("bundle*")] == ["bundle.tar"]


def test_a_bundle_is_a_plain_tar_archive_that_anybody_can_look_into(mirror, bundle):
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
        inventory = json.load(archive.extractfile("inventory.json"))
        assert names[0] == "inventory.json"
        for entry in inventory["channels"]:
            data = archive.extractfile(f"packages/{entry['sha256']}.zip").read()
            assert data == mirror.served(entry["path"]).zip
    assert bundle.stat().st_mode & 0o777 == 0o644


# -- what the other mirror lacks ---------------------------------------------------------------------------------------


def test_only_what_the_other_side_lacks_is_carried(mirror, bundle, island, tmp_path):
    island.well("import", "--unsigned", bundle)
    mirror.publish(3)
    file = tmp_path / "lacking.tar"
    run = mirror.well("export", file, "--base", island.root / "status.json")
    assert (run.report["carried"], run.report["left_out"]) == (
        sorted(folders("production")),
        sorted(folders("canary")),
    )
    assert file.stat().st_size < bundle.stat().st_size
    island.well("import", "--unsigned", file)
    paths = [*folders("production"), *folders("canary")]
    assert island.snapshot(paths) == mirror.snapshot(paths)
    nothing = mirror.well("export", file, "--base", island.root / "status.json")
    assert nothing.report["carried"] == []
    assert island.well("import", "--unsigned", file).report["changed"] is False


def test_a_bundle_made_for_another_state_of_this_mirror_is_refused(mirror, bundle, island, tmp_path):
    """The other mirror lost a release after its status was copied."""
    island.well("import", "--unsigned", bundle)
    file = tmp_path / "lacking.tar"
    mirror.well("export", file, "--base", island.root / "status.json")
    damage(island.root / folders("canary", "arm64")[0])
    refused(island, file, "incomplete_bundle")
    island.well("import", "--unsigned", bundle)
    island.well("import", "--unsigned", file)
    shutil.rmtree(island.root)
    refused(island, file, "incomplete_bundle")


def test_what_the_other_side_has_is_promoted_without_being_carried(mirror, bundle, island, tmp_path):
    island.well("import", "--unsigned", bundle)
    mirror.well("promote", "production", "canary")
    file = tmp_path / "lacking.tar"
    run = mirror.well("export", file, "--base", island.root / "status.json")
    assert run.report["carried"] == []
    island.well("import", "--unsigned", file)
    assert island.numbers("canary") == [2, 2]


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"format": 2, "channels": []}', "<html>"])
def test_a_status_that_is_none(mirror, tmp_path, content):
    status = tmp_path / "status.json"
    if content is not None:
        status.write_text(content)
    run = mirror.verb("export", tmp_path / "bundle.tar", "--base", status)
    assert (run.status, run.report["errors"][0]["code"]) == (1, "file" if content is None else "bad_status")
    assert not (tmp_path / "bundle.tar").exists()


# -- damage ------------------------------------------------------------------------------------------------------------


def places(file, chance):
    """Positions at which to flip a bit: random ones, and at least one in each part of the archive."""
    data = file.read_bytes()
    found = {chance.randrange(len(data)) for _ in range(12)}
    with tarfile.open(file) as archive:
        for member in archive.getmembers():
            head, body, end = member.offset, member.offset_data, member.offset_data + member.size
            # Name, mode, size, checksum, type, magic, the rest.
            found |= {head + at for at in (0, 101, 130, 150, 156, 258, 505)}
            found |= {body, end - 1, body + member.size // 2}
            if end % 512:
                found.add(chance.randrange(end, end + 512 - end % 512))
    found |= {len(data) - 1, len(data) - 1024, len(data) - 5000}
    return sorted(found)


def damaged_at(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    return bytes(data)


@pytest.mark.parametrize("place", [0, 5, 101, 124, 150, 257, 300, 511])
def test_a_damaged_beginning_is_reported_as_damage(small, island, tmp_path, place):
    file = tmp_path / "flipped.tar"
    file.write_bytes(damaged_at(small, place))
    run = island.verb("import", "--unsigned", file)
    (error,) = run.report["errors"]
    assert (run.status, error["code"]) == (1, "damaged_bundle")
    assert "beginning" in error["message"]


def test_a_beginning_that_was_overwritten_may_have_been_one(small, island, tmp_path):
    file = tmp_path / "flipped.tar"
    file.write_bytes(b"\xff" * 512 + small.read_bytes()[512:])
    (error,) = island.verb("import", "--unsigned", file).report["errors"]
    assert error["code"] == "foreign_bundle"
    assert "not a bundle, or its beginning is damaged" in error["message"]


@pytest.mark.slow
def test_one_flipped_bit_anywhere(small, island, tmp_path):
    chance = random.Random(7)
    whole = small.read_bytes()
    file = tmp_path / "flipped.tar"
    for place in places(small, chance):
        data = bytearray(whole)
        data[place] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        refused(island, file, "damaged_bundle", "foreign_bundle", check=False)
        assert not island.folders(), place
    island.well("import", "--unsigned", small)


@pytest.mark.slow
def test_cut_short_anywhere(small, island, tmp_path):
    chance = random.Random(8)
    whole = small.read_bytes()
    lengths = {0, 1, 511, 512, 513, 1024, len(whole) - 1, len(whole) - 512, len(whole) - 1024, len(whole) - 10240}
    lengths |= {chance.randrange(len(whole)) for _ in range(12)}
    file = tmp_path / "short.tar"
    for length in sorted(lengths):
        file.write_bytes(whole[:length])
        refused(island, file, "damaged_bundle", check=False)
    assert not island.folders()


@pytest.mark.parametrize("more", [b"\0", b"\0" * 512, b"\0" * 10240, b"more", b"x" * 10240, "itself"])
def test_something_added_behind_the_end(small, island, tmp_path, more):
    file = tmp_path / "longer.tar"
    file.write_bytes(small.read_bytes() + (small.read_bytes() if more == "itself" else more))
    refused(island, file, "damaged_bundle")


def forge(file, target, members=None, inventory=None, seal=None, form=tarfile.USTAR_FORMAT):
    """A bundle with other members or another inventory, and with a seal that matches them.

    The functions `members(list)` and `inventory(fields)` change their argument.
    """
    found = []
    with tarfile.open(file) as archive:
        for member in archive.getmembers()[:-1]:
            found.append([member, archive.extractfile(member).read()])
    if inventory:
        fields = json.loads(found[0][1])
        fields = inventory(fields) or fields
        found[0][1] = json.dumps(fields, indent=2, sort_keys=True).encode() + b"\n"
    if members:
        members(found)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=form) as archive:
        for member, content in found:
            if member.isreg():
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        sealed = {"sha256": hashlib.sha256(data.getvalue()).hexdigest()} if seal is None else seal
        content = (json.dumps(sealed, indent=2, sort_keys=True) + "\n").encode()
        entry = tarfile.TarInfo("seal.json")
        entry.size, entry.mode = len(content), 0o644
        archive.addfile(entry, io.BytesIO(content))
    target.write_bytes(data.getvalue())
    return target


def test_the_forger_of_these_tests_makes_bundles_that_are_taken(bundle, island, tmp_path):
    file = forge(bundle, tmp_path / "forged.tar")
    assert file.read_bytes() == bundle.read_bytes()
    island.well("import", "--unsigned", file)


def extra(name, kind=tarfile.REGTYPE, link="", content=b"x"):
    def add(found):
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, link
        found.append([entry, content if kind == tarfile.REGTYPE else b""])

    return add


def in_place_of_a_package(kind, link):
    def replace(found):
        found[1][0].type, found[1][0].linkname, found[1][0].size = kind, link, 0

    return replace


def swap_contents(found):
    found[1][1], found[2][1] = found[2][1], found[1][1]


def set_content(data):
    def put(found):
        found[1][1] = data

    return put


def rename(name):
    def give(found):
        found[1][0].name = name

    return give


FORGERIES = {
    "a name that leads out": extra("packages/../../escaped"),
    "an absolute name": extra("/escaped"),
    "a name of another file": extra("packages/readme.txt"),
    "another file": extra("escaped"),
    "a link": extra("packages/link.zip", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": extra("packages/link.zip", tarfile.LNKTYPE, "inventory.json"),
    "a device": extra("packages/null.zip", tarfile.CHRTYPE),
    "a pipe": extra("packages/pipe.zip", tarfile.FIFOTYPE),
    "a folder": extra("packages", tarfile.DIRTYPE),
    "a link in place of a package": in_place_of_a_package(tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link in place of a package": in_place_of_a_package(tarfile.LNKTYPE, "inventory.json"),
    "a device in place of a package": in_place_of_a_package(tarfile.CHRTYPE, ""),
    "the inventory twice": lambda found: found.append(found[0]),
    "a package twice": lambda found: found.insert(1, found[1]),
    "a package missing": lambda found: found.pop(1),
    "all packages missing": lambda found: found.__delitem__(slice(1, None)),
    "packages in another order": lambda found: found.reverse() or found.insert(0, found.pop()),
    "contents swapped": swap_contents,
    "no package": set_content(b""),
    "a page for a package": set_content(b"<html>Please log in</html>"),
    "a package renamed": rename("packages/" + "0" * 64 + ".zip"),
    "a package renamed outwards": rename("../escaped.zip"),
    "a package not named by its digest": rename("packages/updates.zip"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_members_that_do_not_belong_there(bundle, island, tmp_path, forgery):
    file = forge(bundle, tmp_path / "forged.tar", members=FORGERIES[forgery])
    refused(island, file, "damaged_bundle", "foreign_bundle", "not_a_package")
    assert not list(tmp_path.rglob("escaped*"))
    assert not island.folders()


def test_a_good_package_in_place_of_the_inventorys(bundle, island, tmp_path):
    """The package is a valid zip and has the correct size; only its SHA-256 differs from that in the inventory."""

    def turn(found):
        data = bytearray(found[1][1])
        data[10] ^= 1  # The time of a member in its local header, which no checksum covers.
        with zipfile.ZipFile(io.BytesIO(bytes(data))) as package:
            assert package.testzip() is None
        found[1][1] = bytes(data)

    file = forge(bundle, tmp_path / "forged.tar", members=turn)
    run = island.verb("import", "--unsigned", file)
    assert (run.status, run.report["errors"][0]["code"]) == (1, "damaged_bundle")
    assert not island.folders()


def each(**changes):
    def change(fields):
        for entry in fields["channels"]:
            entry.update(changes)

    return change


def one(**changes):
    def change(fields):
        fields["channels"][-1].update(changes)

    return change


def without(key):
    def change(fields):
        for entry in fields["channels"]:
            del entry[key]

    return change


INVENTORIES = {
    "not ours": lambda fields: fields.update(kind="something else"),
    "a format to come": lambda fields: fields.update(format=2),
    "no format": lambda fields: fields.pop("format") and None,
    "a list": lambda fields: [fields],
    "no channels": lambda fields: fields.pop("channels") and None,
    "channels as an object": lambda fields: fields.update(channels={"a": 1}),
    "channels as texts": lambda fields: fields.update(channels=["a"]),
    "a channel twice": lambda fields: fields["channels"].append(dict(fields["channels"][0])),
    "a path that leads out": each(path="../../escaped"),
    "a path with a hidden folder": each(path=".releases/production/arch_x86_64"),
    "a path that is none": each(path=7),
    "a path that is not there": without("path"),
    "versions that lead out": each(definitions_version="../../../escaped"),
    "an engine that is none": each(engine_version=None),
    "a digest that leads out": one(sha256="../" * 21 + "e"),
    "a digest of another": one(sha256="0" * 64),
    "another size": one(bytes=1),
    "a size as a text": one(bytes="many"),
    "a date as a list": one(definitions_date=[]),
    "carried maybe": one(carried="maybe"),
    "not carried although it is": each(carried=False),
}


@pytest.mark.parametrize("forgery", INVENTORIES)
def test_an_inventory_that_was_edited(bundle, island, tmp_path, forgery):
    file = forge(bundle, tmp_path / "forged.tar", inventory=INVENTORIES[forgery])
    refused(island, file, "foreign_bundle", "damaged_bundle", "incomplete_bundle")
    assert not list(tmp_path.rglob("escaped*"))
    assert not island.folders()


def test_a_strange_date_does_no_harm(bundle, island, tmp_path):
    file = forge(bundle, tmp_path / "forged.tar", inventory=each(definitions_date="0001-01-01T00:00:00"))
    island.well("import", "--unsigned", file)
    for verb in ("status", "metrics"):
        assert island.run(verb).status == 0


@pytest.mark.parametrize("seal", [{}, {"sha256": "0" * 64}, {"sha256": None}, [], {"sha256": "", "more": 1}])
def test_a_seal_that_does_not_fit(bundle, island, tmp_path, seal):
    refused(island, forge(bundle, tmp_path / "forged.tar", seal=seal), "damaged_bundle")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_with_long_names_and_other_extensions(bundle, island, tmp_path, form):
    file = forge(bundle, tmp_path / "forged.tar", members=extra("x" * 300), form=form)
    refused(island, file, "damaged_bundle")


@pytest.mark.slow
def test_headers_with_a_checksum_that_fits(small, island, tmp_path):
    """Random bytes in every field of every header, with a valid checksum. tarfile accepts such headers."""
    chance = random.Random(9)
    whole = small.read_bytes()
    with tarfile.open(small) as archive:
        heads = [member.offset for member in archive.getmembers()]
    file = tmp_path / "forged.tar"
    fields = {"name": (0, 100), "size": (124, 12), "type": (156, 1), "link": (157, 100), "prefix": (345, 155)}
    nonsense = {
        "size": [b"\x80" + b"\xff" * 11, b"\xff" * 12, b"\x80" + b"\0" * 3 + b"\x7f" * 8, b"77777777777\0", b" " * 12],
        "type": [bytes([kind]) for kind in b"\x001234567LKxgSDX\xff"],
    }
    for head in heads:
        for field, (at, length) in fields.items():
            for value in nonsense.get(field, [bytes(chance.randrange(256) for _ in range(length))]):
                data = bytearray(whole)
                data[head + at : head + at + length] = value
                data[head + 148 : head + 156] = b" " * 8
                data[head + 148 : head + 156] = b"%06o\0 " % sum(data[head : head + 512])
                if bytes(data) == whole:
                    continue
                file.write_bytes(data)
                refused(island, file, "damaged_bundle", "foreign_bundle", check=False)
    assert not island.folders()


# -- not for this mirror -----------------------------------------------------------------------------------------------


def make_zip(file):
    build_package(file, version(1), ENGINE, size=SIZE)


def make_tar(file):
    with tarfile.open(file, "w") as archive:
        archive.add(__file__, "somebody.py")


def make_compressed(file):
    with tarfile.open(file, "w:gz") as archive:
        archive.add(__file__, "inventory.json")


FOREIGN = {
    "a package": (make_zip, "foreign_bundle"),
    "another archive": (make_tar, "foreign_bundle"),
    "a compressed archive": (make_compressed, "foreign_bundle"),
    "a text": (lambda file: file.write_text("not a bundle at all\n" * 1000), "foreign_bundle"),
    "an empty file": (lambda file: file.write_bytes(b""), "damaged_bundle"),
    "zeros": (lambda file: file.write_bytes(bytes(10240)), "foreign_bundle"),
    "a folder": (lambda file: file.mkdir(), "file"),
    "nothing": (lambda file: None, "file"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_bundle_of_ours(island, tmp_path, kind):
    make, code = FOREIGN[kind]
    file = tmp_path / "foreign.tar"
    make(file)
    refused(island, file, code)


def test_an_older_bundle_is_refused_without_the_option(mirror, bundle, island, tmp_path):
    mirror.publish(3)
    mirror.well("export", tmp_path / "newer.tar")
    island.well("import", "--unsigned", tmp_path / "newer.tar")
    refused(island, bundle, "downgrade")
    island.well("import", "--unsigned", bundle, "--allow-downgrade")
    assert island.numbers("production") == [2, 2]
    island.agree()


def test_a_held_channel_is_not_moved_by_an_import(mirror, bundle, island, tmp_path):
    island.well("import", "--unsigned", bundle)
    island.well("hold", "production", "--reason", "freeze")
    assert island.well("import", "--unsigned", bundle).report["changed"] is False
    mirror.publish(3)
    mirror.well("export", tmp_path / "newer.tar")
    assert island.well("import", "--unsigned", tmp_path / "newer.tar").report["changed"] is False
    assert island.numbers("production") == [2, 2]
    island.well("unhold", "production")
    island.well("import", "--unsigned", tmp_path / "newer.tar")
    assert island.numbers("production") == [3, 3]


@pytest.mark.parametrize("held", ["production", "canary"])
def test_a_held_channel_does_not_keep_the_rest_of_a_bundle_out(mirror, bundle, island, tmp_path, held):
    other = {"production": "canary", "canary": "production"}[held]
    island.well("import", "--unsigned", bundle)
    before = island.snapshot([*folders(held)])
    island.well("hold", held, "--reason", "change freeze", "--by", "anna", "--arch", "x86_64")
    mirror.publish(3)
    mirror.well("promote", "production", "canary")
    mirror.publish(4)
    file = tmp_path / "newer.tar"
    mirror.well("export", file)
    untouched = island.state()
    foretold = island.well("import", "--unsigned", file, "--check")
    assert island.state() == untouched
    run = island.well("import", "--unsigned", file)
    assert run.report == foretold.report
    assert run.report["changed"] is True
    stood, moved = folders(held)
    for path, unit in run.units.items():
        assert unit["outcome"] == ("held" if path == stood else "updated")
        assert unit["changed"] is (path != stood)
        assert unit["release"] == island.name(path)
        assert (unit["held"] and (unit["held"]["reason"], unit["held"]["by"])) == (
            ("change freeze", "anna") if path == stood else None
        )
        brought = 4 if "production" in path else 3
        assert unit["carries"]["definitions_version"] == version(brought)
        assert island.serves(path) == (island.serves(stood) if path == stood else brought)
    assert island.served(stood) == before[stood]
    assert island.served(moved) != before[moved]
    text = island.run("import", "--unsigned", str(file)).text
    assert "held by anna: change freeze" in text
    island.agree()
    island.well("unhold", held)
    assert set(island.well("import", "--unsigned", file).units) == {*folders(held), *folders(other)}
    assert (island.numbers("production"), island.numbers("canary")) == ([4, 4], [3, 3])


def test_a_bundle_repairs_the_package_that_a_held_channel_serves(bundle, island):
    island.well("import", "--unsigned", bundle)
    before = island.snapshot()
    island.well("hold", "production")
    damage(island.root / PRODUCTION)
    run = island.well("import", "--unsigned", bundle)
    assert run.units[PRODUCTION]["outcome"] == "repaired"
    assert island.snapshot() == before
    island.agree()


def test_a_package_that_only_held_channels_lack_need_not_be_carried(mirror, bundle, island, tmp_path):
    """The other mirror does not have a package that its status lists, but only held channels would use this package."""
    island.well("import", "--unsigned", bundle)
    island.well("hold", "production")
    status = island.status()
    mirror.publish(3)
    mirror.well("promote", "production", "canary")
    (tmp_path / "status.json").write_text(json.dumps({**status, "channels": mirror.status()["channels"]}))
    mirror.well("export", tmp_path / "nothing.tar", "--base", tmp_path / "status.json")
    refused(island, tmp_path / "nothing.tar", "incomplete_bundle")
    island.well("hold", "canary")
    run = island.well("import", "--unsigned", tmp_path / "nothing.tar")
    assert {unit["outcome"] for unit in run.report["units"]} == {"held"}


def test_channels_that_this_mirror_does_not_have_are_skipped(bundle, island):
    island.configure(channels=[], architectures=["arm64"])
    run = island.well("import", "--unsigned", bundle)
    assert [(unit["channel"], unit["arch"]) for unit in run.report["units"]] == [("production", "arm64")]
    assert island.folders() == folders("production", "arm64")
    island.configure(downloadLinuxUpdates=False, downloadMacUpdates=True)
    refused(island, bundle, "nothing_to_import")


def test_the_settings_judge_packages_here_too(bundle, island):
    island.configure(verify={"expectedMembers": ["something-else"]})
    run = island.verb("import", "--unsigned", bundle)
    assert (run.status, run.report["errors"][0]["code"]) == (1, "unexpected_content")
    island.configure(verify={"maxBytes": 100})
    run = island.verb("import", "--unsigned", bundle)
    assert (run.status, run.report["errors"][0]["code"]) == (1, "size_out_of_bounds")
    assert not island.folders()


# -- check mode --------------------------------------------------------------------------------------------------------


def test_check_says_what_an_import_would_do_and_does_nothing(bundle, island):
    foretold = island.well("import", "--unsigned", bundle, "--check")
    assert not island.root.exists()
    happened = island.well("import", "--unsigned", bundle)
    assert foretold.report == happened.report
    before = island.tree()
    assert island.well("import", "--unsigned", bundle, "--check").report["changed"] is False
    assert island.tree() == before


# -- export ------------------------------------------------------------------------------------------------------------


def test_a_mirror_without_anything_exports_nothing(new_mirror, tmp_path):
    run = new_mirror("empty").verb("export", tmp_path / "bundle.tar")
    assert (run.status, run.report["errors"][0]["code"]) == (1, "nothing_to_export")
    assert not (tmp_path / "bundle.tar").exists()


def test_a_damaged_package_is_not_exported(mirror, tmp_path):
    damage(mirror.root / PRODUCTION)
    run = mirror.verb("export", tmp_path / "bundle.tar")
    assert (run.status, run.report["errors"][0]["code"]) == (1, "damaged")
    assert not (tmp_path / "bundle.tar").exists()


def test_damage_that_left_no_trace_in_the_file_times_is_not_exported(mirror, tmp_path):
    """A bit error of a disk changes neither size nor times, so the recorded times are made to match the file."""
    folder = (mirror.root / PRODUCTION).resolve()
    damage(folder)
    looked = {}
    for name in ("updates.zip", "manifest.json", "release.json"):
        stat = (folder / name).lstat()
        looked[name] = [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
    seen_file = mirror.root / ".state" / "seen.json"
    seen = json.loads(seen_file.read_bytes())
    seen_file.write_text(json.dumps({**seen, f"linux-x86_64/{folder.name}": looked}))
    run = mirror.verb("export", tmp_path / "bundle.tar")
    assert (run.status, run.report["errors"][0]["code"]) == (1, "damaged")
    assert list(tmp_path.glob("bundle.tar*")) == []


def test_a_target_that_cannot_be_written(mirror, tmp_path):
    for target in (tmp_path / "missing" / "bundle.tar", tmp_path):
        run = mirror.verb("export", target)
        assert (run.status, run.report["errors"][0]["code"]) == (1, "file")


# -- room --------------------------------------------------------------------------------------------------------------


def test_a_full_transfer_disk_keeps_the_bundle_that_was_there(mirror, tmpfs, tmp_path):
    disk = tmpfs(tmp_path / "disk", "200k")
    file = disk / "bundle.tar"
    mirror.well("export", file)
    before = file.read_bytes()
    mirror.publish(2, size=300_000)
    run = mirror.verb("export", file)
    assert (run.status, run.report["errors"][0]["code"]) == (1, "disk_full")
    assert file.read_bytes() == before
    assert [path.name for path in disk.iterdir()] == ["bundle.tar"]


def test_a_full_disk_stops_the_import_before_it_begins(mirror, bundle, island, tmpfs, tmp_path):
    island.move_to(tmpfs(tmp_path / "disk", "8m"))
    island.well("import", "--unsigned", bundle)
    before = island.snapshot()
    mirror.publish(3, size=6 * MIB, arch="x86_64")
    mirror.well("export", tmp_path / "large.tar")
    run = island.verb("import", "--unsigned", tmp_path / "large.tar")
    assert (run.status, run.report["errors"][0]["code"]) == (1, "disk_full")
    assert island.snapshot() == before
    assert list((island.root / ".incoming").iterdir()) == []


def test_a_disk_that_runs_full_on_the_way(mirror, bundle, island, patched, tmpfs, tmp_path):
    """After the free space was checked, other programs fill the disk, except for a part of what the import needs."""
    disk = tmpfs(tmp_path / "disk", "24m")
    island.move_to(disk)
    island.well("import", "--unsigned", bundle)
    before = island.snapshot()
    mirror.publish(3, size=16 * MIB, arch="x86_64")
    mirror.well("export", tmp_path / "large.tar")
    meanwhile = patched(
        "import contextlib, os",
        "from _mirror.workspace import Workspace",
        "real = Workspace.reserved",
        "@contextlib.contextmanager",
        "def reserved(workspace, wanted):",
        "    with real(workspace, wanted):",
        f"        with open({str(disk / 'others')!r}, 'wb') as others:",
        "            room = os.statvfs(others.name)",
        f"            os.posix_fallocate(others.fileno(), 0, room.f_bavail * room.f_frsize - {4 * MIB})",
        "        yield",
        "Workspace.reserved = reserved",
    )
    run = island.verb("import", "--unsigned", tmp_path / "large.tar", command=meanwhile)
    assert (run.status, run.report["errors"][0]["code"]) == (1, "disk_full")
    assert island.snapshot() == before
    (disk / "others").unlink()
    island.well("import", "--unsigned", tmp_path / "large.tar")
    assert island.numbers("production") == [3, 2]
    island.agree()


# -- kill -9 -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kill_9_at_any_moment_of_an_import(mirror, bundle, island, tmp_path):
    chance = random.Random(11)
    island.well("import", "--unsigned", bundle)
    kills, whole = Kills(rounds=10, wanted=5, first=3), 0.0
    for number in kills:
        mirror.publish(number, size=200_000)
        file = tmp_path / "next.tar"
        mirror.well("export", file)
        last = island.snapshot()
        wrote = island.state_writes()
        process = island.start("import", "--unsigned", str(file))
        if number % 2 and whole:
            linger(process, chance.uniform(0.3, 0.95) * whole)
        else:
            while not wrote() and process.poll() is None:
                pass
        kills.strike(process)
        island.check()
        for path in folders("production"):
            assert island.serves(path) in (number, number - 1)
        assert {path: island.served(path) for path in folders("canary")} == {
            path: last[path] for path in folders("canary")
        }
        begun = time.monotonic()
        island.well("import", "--unsigned", file)
        whole = time.monotonic() - begun
        assert (island.numbers("production"), island.numbers("production_back")) == (
            [number, number],
            [number - 1, number - 1],
        )
        island.agree()


def test_kill_9_during_an_export_leaves_the_bundle_that_was_there(mirror, tmp_path):
    file = tmp_path / "out" / "bundle.tar"
    file.parent.mkdir()
    mirror.well("export", file)
    before = file.read_bytes()
    mirror.publish(2, size=20 * MIB, stored=True)
    scrap = file.parent / ".bundle.tar.part"

    def written():
        with contextlib.suppress(FileNotFoundError):
            return scrap.lstat().st_ctime_ns
        return None

    def killed_while_it_wrote():
        stale = written()
        process = mirror.start("export", str(file))
        while process.poll() is None and written() in (None, stale):
            pass
        kill(process)
        return written() is not None and file.read_bytes() == before

    for _time in range(3):
        # On a busy machine, the command may end before the signal reaches it.
        for _try in range(10):
            if killed_while_it_wrote():
                break
            file.write_bytes(before)
        else:
            raise AssertionError("the export was never killed while it wrote")
        assert sorted(file.parent.iterdir()) == [scrap, file]
    mirror.well("export", file)
    assert file.read_bytes() != before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("planted", ["link", "dangling link", "hard link", "fifo"])
def test_nothing_is_written_through_what_somebody_planted(mirror, tmp_path, planted):
    victim = tmp_path / "victim"
    file = tmp_path / "out" / "bundle.tar"
    file.parent.mkdir()
    staged = file.parent / ".bundle.tar.part"
    if planted != "dangling link":
        victim.write_text("precious")
    if planted == "hard link":
        os.link(victim, staged)
    elif planted == "fifo":
        os.mkfifo(staged)
    else:
        staged.symlink_to(victim)
    mirror.well("export", file)
    assert victim.read_text() == "precious" if planted != "dangling link" else not victim.exists()
    assert not file.is_symlink()
    assert list(file.parent.iterdir()) == [file]


def test_of_two_exports_at_once_one_works_and_the_other_says_so(mirror, patched, tmp_path):
    file = tmp_path / "out" / "bundle.tar"
    file.parent.mkdir()
    stopping = patched(
        "import os, signal",
        "from _mirror import bundle",
        "real = bundle._write",
        "def write(*arguments):",
        "    os.kill(os.getpid(), signal.SIGSTOP)",
        "    real(*arguments)",
        "bundle._write = write",
    )
    with mirror.start("export", str(file), command=stopping) as process:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert process.poll() is None
        run = mirror.verb("export", file)
        process.send_signal(signal.SIGCONT)
        output = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, output
    assert (run.status, run.report["errors"][0]["code"]) == (75, "locked")
    assert mirror.well("export", file).report["changed"] is False
    assert list(file.parent.iterdir()) == [file]


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bytes_read(patched, tmp_path):
    """Runs a command and returns the bytes that it read, as the kernel counts them. Mapped files would not count."""
    figures = tmp_path / "io"
    counted = patched(
        "import atexit",
        "def count():",
        f"    with open('/proc/self/io') as figures, open({str(figures)!r}, 'w') as out:",
        "        out.write(figures.read())",
        "atexit.register(count)",
    )

    def run(mirror, *arguments):
        assert mirror.run(*map(str, arguments), command=counted).status == 0
        return int(dict(line.split(": ") for line in figures.read_text().splitlines())["rchar"])

    return run


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="NOT TESTED: this kernel does not count what is read")
def test_a_bundle_is_read_twice_at_most(mirror, island, bytes_read, tmp_path):
    file = tmp_path / "large.tar"
    mirror.publish(3, size=32 * MIB, arch="x86_64", ring="production", stored=True)
    start = bytes_read(mirror, "status")
    # The bundle is written for the first time; exists already; exists, but is damaged.
    exported = [bytes_read(mirror, "export", file)]
    size = file.stat().st_size
    assert size > 32 * MIB
    exported.append(bytes_read(mirror, "export", file))
    data = bytearray(file.read_bytes())
    data[size // 2] ^= 1
    file.write_bytes(data)
    exported.append(bytes_read(mirror, "export", file))
    foretold = bytes_read(island, "import", "--unsigned", file, "--check")
    imported = bytes_read(island, "import", "--unsigned", file)
    assert island.serves(PRODUCTION) == 3
    ratios = [(count - start) / size for count in [*exported, foretold, imported]]
    # The number of bytes that a start reads differs by some kilobytes between the verbs.
    assert max(ratios) < 2.05, ratios


def test_headers_as_python_3_8_writes_them(small, island, tmp_path):
    """Python 3.8 writes device numbers as digits also in headers of regular files; later versions leave them empty."""
    data = bytearray(small.read_bytes())
    with tarfile.open(small) as archive:
        heads = [member.offset for member in archive.getmembers()]
    sealed = heads.pop()
    for head in [*heads, sealed]:
        if head == sealed:
            seal = {"sha256": hashlib.sha256(data[:sealed]).hexdigest()}
            content = (json.dumps(seal, indent=2, sort_keys=True) + "\n").encode()
            data[sealed + 512 : sealed + 512 + len(content)] = content
        data[head + 329 : head + 345] = b"0000000\0" * 2
        data[head + 148 : head + 156] = b" " * 8
        data[head + 148 : head + 156] = b"%06o\0 " % sum(data[head : head + 512])
    file = tmp_path / "old.tar"
    file.write_bytes(data)
    island.well("import", "--unsigned", file)
    assert island.serves(PRODUCTION) == 3


# -- memory ------------------------------------------------------------------------------------------------------------


def peak(mirror, *arguments):
    """The most memory that a run of the command had, in bytes."""
    run = mirror.run(*map(str, arguments), command=MEASURED)
    assert run.status == 0, run.text
    return run.peak


def test_memory_does_not_grow_with_the_bundle(mirror, island, tmp_path):
    small, large = tmp_path / "small.tar", tmp_path / "large.tar"
    needed = {}
    for file, number, size in ((small, 2, SIZE), (large, 3, 48 * MIB)):
        mirror.publish(number, size=size, arch="x86_64", ring="production", stored=True)
        needed[file] = [
            peak(mirror, "export", file),
            peak(island, "import", "--unsigned", file, "--check"),
            peak(island, "import", "--unsigned", file),
        ]
    assert large.stat().st_size > 48 * MIB
    assert island.serves(PRODUCTION) == 3
    assert island.serves(BACK) == 2
    for few, many in zip(needed[small], needed[large]):
        assert many - few < 16 * MIB
