"""The mirror on disk: publication, n-1, retention, and what a run that died leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror import adoption
from ansible_collections.mde.offline.plugins.module_utils._mirror import store as store_module
from ansible_collections.mde.offline.plugins.module_utils._mirror.cancel import Cancel
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.files import sha256_of
from ansible_collections.mde.offline.plugins.module_utils._mirror.records import Release
from ansible_collections.mde.offline.plugins.module_utils._mirror.settings import parse
from ansible_collections.mde.offline.plugins.module_utils._mirror.status import read_status
from ansible_collections.mde.offline.plugins.module_utils._mirror.store import Store
from ansible_collections.mde.offline.plugins.module_utils._mirror.units import Unit
from ansible_collections.mde.offline.plugins.module_utils._mirror.versions import Versions

UNIT = Unit("linux", "production", "x86_64")
PREVIEW = Unit("linux", "preview", "x86_64")
ENGINE = "1.1.25110.3002"
ONE, TWO, THREE, FOUR, FIVE = (f"1.443.{number}.0" for number in (508, 509, 1000, 1001, 1002))


class Died(Exception):
    """The process is gone at this moment."""


class Mirror:
    """One root on disk; `store()` is a new process that looks at it."""

    def __init__(self, root, **settings):
        self.root = root
        self.settings = parse({"downloadFolder": str(root), **settings})

    def store(self):
        store = Store(self.settings)
        store.prepare()
        store.load()
        return store

    def recovered(self):
        store = self.store()
        store.recover()
        return store

    def package(self, definitions, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "updates.zip"
        with zipfile.ZipFile(path, "w") as package:
            # Without a time of its own, so that the same release has the same bytes.
            package.writestr(zipfile.ZipInfo("vdm"), f"the definitions {definitions}")
        return path

    def keep(self, store, definitions, unit=UNIT):
        """A proven package on the shelf, not published yet."""
        path = self.package(definitions, store.incoming / f"{unit.slug}.download")
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        release = Release(unit.shelf, definitions, ENGINE, None, digest, len(data), "2026-02-03T09:00:00Z", "test")
        return store.keep(unit, path, release)

    def publish(self, definitions, unit=UNIT, store=None):
        store = store or self.store()
        release = self.keep(store, definitions, unit)
        store.publish(unit, release, "sync")
        store.save_seen()
        return release

    def serves(self, path=UNIT.path):
        """The definitions that a client finds there; the three files must tell the same."""
        folder = self.root / path
        if not folder.exists():
            return None
        definitions = json.loads((folder / "manifest.json").read_bytes())["DefinitionVersion"]
        card = json.loads((folder / "release.json").read_bytes())
        with zipfile.ZipFile(folder / "updates.zip") as package:
            assert package.read("vdm").decode() == f"the definitions {definitions}"
        assert card["definitions_version"] == definitions
        assert card["sha256"] == hashlib.sha256((folder / "updates.zip").read_bytes()).hexdigest()
        return definitions

    def pair(self, unit=UNIT):
        return self.serves(unit.path), self.serves(unit.back_path)

    def kept(self):
        return sorted(path.name.split("-")[0] for path in self.root.glob(".releases/*/*"))


@pytest.fixture
def mirror(tmp_path):
    return Mirror(tmp_path / "mirror")


# --- publishing -------------------------------------------------------------------------------------------------------


def test_each_release_pushes_the_one_before_to_n_1(mirror):
    pairs = []
    for definitions in (ONE, TWO, THREE):
        mirror.publish(definitions)
        pairs.append(mirror.pair())
    assert pairs == [(ONE, None), (TWO, ONE), (THREE, TWO)]
    assert os.readlink(mirror.root / UNIT.path).startswith("../../.releases/linux-x86_64/")


def test_publishing_the_same_again_keeps_n_1(mirror):
    mirror.publish(ONE)
    mirror.publish(TWO)
    mirror.publish(TWO)
    assert mirror.pair() == (TWO, ONE)


def test_going_back_to_n_1_swaps_the_two(mirror):
    mirror.publish(ONE)
    mirror.publish(TWO)
    mirror.publish(ONE)
    assert mirror.pair() == (ONE, TWO)


def test_what_is_damaged_does_not_become_n_1(mirror):
    mirror.publish(ONE)
    mirror.publish(TWO)
    (mirror.root / UNIT.path / "updates.zip").write_bytes(b"damaged")
    mirror.publish(THREE)
    assert mirror.pair() == (THREE, ONE)


def test_n_1_is_not_shown_where_it_is_switched_off(tmp_path):
    mirror = Mirror(tmp_path / "mirror", backupPreviousUpdates=False)
    mirror.publish(ONE)
    mirror.publish(TWO)
    assert mirror.pair() == (TWO, None)
    on = Mirror(tmp_path / "mirror")
    on.recovered()
    assert on.pair() == (TWO, ONE)
    mirror.recovered()
    assert mirror.pair() == (TWO, None)


def test_n_1_costs_no_copy(mirror):
    mirror.publish(ONE)
    before = (mirror.root / UNIT.path / "updates.zip").stat()
    mirror.publish(TWO)
    after = (mirror.root / UNIT.back_path / "updates.zip").stat()
    assert (after.st_ino, after.st_nlink, after.st_mtime_ns) == (before.st_ino, 1, before.st_mtime_ns)


def test_channels_of_one_architecture_share_a_release(mirror):
    mirror.publish(ONE)
    mirror.publish(ONE, PREVIEW)
    assert mirror.kept() == [ONE]
    assert mirror.serves(UNIT.path) == mirror.serves(PREVIEW.path) == ONE
    assert (mirror.root / UNIT.path).resolve() == (mirror.root / PREVIEW.path).resolve()


def test_keeping_a_release_again_heals_it(mirror):
    mirror.publish(ONE)
    folder = mirror.root / UNIT.path
    (folder / "updates.zip").write_bytes(b"damaged")
    (folder / "manifest.json").unlink()
    (folder / "release.json").write_bytes(b"{}")
    mirror.publish(ONE)
    assert mirror.pair() == (ONE, None)
    assert list((mirror.root / ".incoming").glob("release*")) == []


# --- retention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retain", "kept"),
    [(1, [FOUR, FIVE]), (2, [FOUR, FIVE]), (3, [THREE, FOUR, FIVE]), (5, [ONE, TWO, THREE, FOUR, FIVE])],
)
def test_so_many_releases_are_kept_and_never_fewer_than_are_served(tmp_path, retain, kept):
    mirror = Mirror(tmp_path / "mirror", retain=retain)
    for definitions in (ONE, TWO, THREE, FOUR, FIVE):
        mirror.publish(definitions)
    removed = mirror.store().prune()
    assert mirror.kept() == sorted(kept)
    assert len(removed) == 5 - len(kept)
    assert mirror.pair() == (FIVE, FOUR)
    assert mirror.store().prune() == []


def test_what_another_channel_serves_is_kept(tmp_path):
    mirror = Mirror(tmp_path / "mirror", retain=1)
    mirror.publish(ONE)
    mirror.publish(TWO)
    for definitions in (THREE, FOUR, FIVE):
        mirror.publish(definitions, PREVIEW)
    mirror.store().prune()
    assert mirror.pair(UNIT) == (TWO, ONE)
    assert mirror.pair(PREVIEW) == (FIVE, FOUR)
    assert mirror.kept() == sorted([ONE, TWO, FOUR, FIVE])


def test_what_a_stranger_links_to_is_kept(tmp_path):
    mirror = Mirror(tmp_path / "mirror", retain=1)
    for definitions in (ONE, TWO, THREE):
        mirror.publish(definitions)
    theirs = mirror.root / "linux" / "theirs" / "arch_x86_64"
    theirs.parent.mkdir(parents=True)
    theirs.symlink_to(next(mirror.root.glob(f".releases/*/{ONE}-*")))
    mirror.store().prune()
    assert mirror.kept() == sorted([ONE, TWO, THREE])


# --- runs that died ---------------------------------------------------------------------------------------------------


def die_in(monkeypatch, name, after=False):
    """The next call of a method of `Store` is the last thing that its process does."""
    method = getattr(Store, name)

    def dying(self, *args, **kwargs):
        monkeypatch.setattr(Store, name, method)
        if after:
            method(self, *args, **kwargs)
        raise Died

    monkeypatch.setattr(Store, name, dying)


@pytest.mark.parametrize(
    ("step", "after", "then"),
    [
        ("keep", False, (TWO, ONE)),
        ("keep", True, (TWO, ONE)),
        ("publish", False, (TWO, ONE)),
        ("_save_channels", False, (TWO, ONE)),
        ("_save_channels", True, (THREE, TWO)),
        ("_show", False, (THREE, TWO)),
        ("_show", True, (THREE, TWO)),
        ("save_seen", False, (THREE, TWO)),
    ],
)
def test_a_run_that_died_is_completed_or_undone(mirror, monkeypatch, step, after, then):
    mirror.publish(ONE)
    mirror.publish(TWO)
    die_in(monkeypatch, step, after)
    with pytest.raises(Died):
        mirror.publish(THREE)
    at_once = mirror.pair()
    assert at_once in ((TWO, ONE), (THREE, TWO))

    store = mirror.recovered()
    assert mirror.pair() == then
    assert store.astray(UNIT) is False
    store.prune()
    assert mirror.pair() == then
    mirror.publish(FOUR, store=store)
    assert mirror.pair() == (FOUR, then[0])


def test_a_run_that_died_between_its_two_links_is_completed(mirror):
    mirror.publish(ONE)
    mirror.publish(TWO)
    back = mirror.root / UNIT.back_path
    release_of_two = os.readlink(mirror.root / UNIT.path)
    back.unlink()
    back.symlink_to(release_of_two)
    assert mirror.store().astray(UNIT)
    mirror.recovered()
    assert mirror.pair() == (TWO, ONE)


def test_scraps_are_removed_and_unfinished_downloads_stay(mirror):
    mirror.publish(ONE)
    incoming = mirror.root / ".incoming"
    (incoming / "release.0123456789ab").mkdir()
    (incoming / "release.0123456789ab" / "updates.zip").write_bytes(b"x")
    (incoming / "channels.json.0123456789ab").write_bytes(b"{")
    (incoming / "arch_x86_64.0123456789ab").symlink_to("nowhere")
    unfinished = incoming / f"{PREVIEW.slug}.download"
    unfinished.mkdir()
    (unfinished / "updates.zip").write_bytes(b"half")
    mirror.recovered()
    assert sorted(path.name for path in incoming.iterdir() if path.name != f"{UNIT.slug}.download") == [unfinished.name]
    assert (unfinished / "updates.zip").read_bytes() == b"half"
    assert mirror.pair() == (ONE, None)


def test_a_prune_that_died_goes_on(tmp_path, monkeypatch):
    mirror = Mirror(tmp_path / "mirror", retain=1)
    for definitions in (ONE, TWO, THREE, FOUR):
        mirror.publish(definitions)
    with monkeypatch.context() as dying:
        dying.setattr(shutil, "rmtree", lambda *_args, **_kwargs: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            mirror.store().prune()
    assert mirror.pair() == (FOUR, THREE)
    store = mirror.recovered()
    store.prune()
    assert mirror.kept() == [THREE, FOUR]
    assert list((mirror.root / ".incoming").glob("pruned*")) == []


@pytest.mark.parametrize("data", [None, b"", b"{", b"[]", b'{"channels": []}', b"\xff\xfe"], ids=repr)
def test_a_lost_state_is_read_off_the_links(mirror, data):
    mirror.publish(ONE)
    mirror.publish(TWO)
    mirror.publish(THREE, PREVIEW)
    state = mirror.root / ".state" / "channels.json"
    state.unlink() if data is None else state.write_bytes(data)
    store = mirror.recovered()
    assert store.units() == [PREVIEW, UNIT]
    assert mirror.pair() == (TWO, ONE)
    mirror.publish(FOUR, store=store)
    assert mirror.pair() == (FOUR, TWO)
    assert mirror.pair(PREVIEW) == (THREE, None)


@pytest.mark.parametrize("name", ["seen.json", "last-sync.json"])
@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\0"])
def test_other_lost_state_does_not_matter(mirror, name, data):
    mirror.publish(ONE)
    (mirror.root / ".state" / name).write_bytes(data)
    assert mirror.recovered().intact(mirror.store().current(UNIT))
    assert [channel["definitions_version"] for channel in read_status(mirror.settings)["channels"]] == [ONE]


# --- damage -----------------------------------------------------------------------------------------------------------


def changed_in_place(path):
    """Other bytes of the same length, with the old modification time."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        file.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swapped(path):
    before = path.stat()
    path.unlink()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "spoil",
    [changed_in_place, swapped, lambda path: path.write_bytes(b""), lambda path: path.unlink()],
    ids=["changed in place", "swapped", "emptied", "deleted"],
)
def test_a_damaged_package_is_noticed(mirror, spoil):
    mirror.publish(ONE)
    assert mirror.store().intact(mirror.store().current(UNIT))
    spoil(mirror.root / UNIT.path / "updates.zip")
    store = mirror.store()
    assert not store.intact(store.current(UNIT))
    assert [damage for damage in store.damages(store.current(UNIT)) if damage.startswith("updates.zip")]


def test_a_damage_within_one_step_of_the_clock_of_a_filesystem_is_noticed(mirror, monkeypatch):
    def coarse(folder):
        return {name: [(folder / name).stat().st_size, 0, 0, begun] for name in ("updates.zip", "manifest.json")}

    begun = time.time_ns()
    monkeypatch.setattr(Store, "_fingerprint", staticmethod(coarse))
    mirror.publish(ONE)
    changed_in_place(mirror.root / UNIT.path / "updates.zip")
    store = mirror.store()
    assert not store.intact(store.current(UNIT))


def test_a_package_that_settled_is_read_once(mirror, monkeypatch):
    mirror.publish(ONE)
    later = time.time_ns() + 3 * 10**9
    monkeypatch.setattr(store_module.time, "time_ns", lambda: later)
    read = []
    monkeypatch.setattr(store_module, "sha256_of", lambda path: read.append(path) or sha256_of(path))
    for _time in range(3):
        store = mirror.store()
        assert store.intact(store.current(UNIT))
        store.save_seen()
    assert [path.name for path in read] == ["updates.zip"]


@pytest.mark.parametrize("name", ["manifest.json", "release.json"])
@pytest.mark.parametrize("data", [None, b"", b"{}", b"[" * 10])
def test_damaged_small_files_are_written_again(mirror, name, data):
    mirror.publish(ONE)
    path = mirror.root / UNIT.path / name
    path.unlink() if data is None else path.write_bytes(data)
    store = mirror.store()
    release = store.current(UNIT)
    assert store.needs_mending(release)
    assert store.damages(release)
    assert store.intact(release)
    assert mirror.pair() == (ONE, None)
    assert not mirror.store().damages(mirror.store().current(UNIT))


# --- room -------------------------------------------------------------------------------------------------------------


def test_there_must_be_room_for_all_downloads_together(mirror):
    store = mirror.store()
    figures = os.statvfs(mirror.root)
    most = figures.f_bavail * figures.f_frsize * 6 // 10
    with store.reserved(most):
        with pytest.raises(MirrorError) as refused, store.reserved(most):
            pass
        assert refused.value.code == "disk_full"
        assert str(mirror.root) in refused.value.message
    with store.reserved(most):
        pass


# --- adopting ---------------------------------------------------------------------------------------------------------


def fill_as_the_script_does(mirror, path, definitions):
    folder = mirror.root / path
    mirror.package(definitions, folder)
    (folder / "manifest.json").write_bytes(Versions(definitions, ENGINE).manifest())
    return (folder / "updates.zip").stat().st_ino


def adopt(mirror, store=None):
    store = store or mirror.recovered()
    return adoption.adopt(store, UNIT, mirror.settings.proof, Cancel())


def test_a_folder_of_microsofts_script_is_taken_over_in_place(mirror):
    inode = fill_as_the_script_does(mirror, UNIT.path, TWO)
    fill_as_the_script_does(mirror, UNIT.back_path, ONE)
    release, problems = adopt(mirror)
    assert problems == []
    assert release.definitions_version == TWO
    assert mirror.pair() == (TWO, ONE)
    assert (mirror.root / UNIT.path).is_symlink()
    assert (mirror.root / UNIT.path / "updates.zip").stat().st_ino == inode
    mirror.publish(THREE)
    assert mirror.pair() == (THREE, TWO)


@pytest.mark.parametrize(
    ("step", "after"), [("keep", False), ("keep", True), ("_save_channels", True), ("_show", False)]
)
def test_an_adoption_that_died_is_completed(mirror, monkeypatch, step, after):
    inode = fill_as_the_script_does(mirror, UNIT.path, TWO)
    die_in(monkeypatch, step, after)
    with pytest.raises(Died):
        adopt(mirror)
    assert json.loads((mirror.root / UNIT.path / "manifest.json").read_bytes())["DefinitionVersion"] == TWO
    store = mirror.recovered()
    if not (mirror.root / UNIT.path).is_symlink():
        adopt(mirror, store)
    assert mirror.pair() == (TWO, None)
    assert (mirror.root / UNIT.path / "updates.zip").stat().st_ino == inode
    mirror.recovered()
    assert list((mirror.root / ".incoming").iterdir()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "updates.zip").write_bytes(b"half a zip"),
        lambda folder: (folder / "updates.zip").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_bytes(b'{"EngineVersion": "", "DefinitionVersion": ""}'),
        lambda folder: (folder / "manifest.json").write_bytes(b'{"EngineVersion": "1.1'),
    ],
    ids=["broken zip", "no zip", "no manifest", "empty versions", "torn manifest"],
)
def test_what_is_broken_is_not_taken_over_and_says_why(mirror, spoil):
    fill_as_the_script_does(mirror, UNIT.path, TWO)
    spoil(mirror.root / UNIT.path)
    release, problems = adopt(mirror)
    assert release is None
    assert [problem.code in ("not_adopted", "corrupt_package") for problem in problems] == [True]
    assert str(mirror.root / UNIT.path) in problems[0].message
    assert mirror.recovered().units() == []
    mirror.publish(THREE)
    assert mirror.pair() == (THREE, None)
