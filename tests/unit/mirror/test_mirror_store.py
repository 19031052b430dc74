"""The mirror on disk: publication, n-1, retention, and what a killed run leaves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror import adoption, integrity
from ansible_collections.mde.offline.plugins.module_utils._mirror.cancel import Cancel
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.files import sha256_of
from ansible_collections.mde.offline.plugins.module_utils._mirror.records import Release
from ansible_collections.mde.offline.plugins.module_utils._mirror.session import Mirror as Opened
from ansible_collections.mde.offline.plugins.module_utils._mirror.session import MirrorSession
from ansible_collections.mde.offline.plugins.module_utils._mirror.settings import parse
from ansible_collections.mde.offline.plugins.module_utils._mirror.state import State
from ansible_collections.mde.offline.plugins.module_utils._mirror.status import read_status
from ansible_collections.mde.offline.plugins.module_utils._mirror.store import Store
from ansible_collections.mde.offline.plugins.module_utils._mirror.units import Unit
from ansible_collections.mde.offline.plugins.module_utils._mirror.versions import Versions
from ansible_collections.mde.offline.plugins.module_utils._mirror.workspace import Workspace, prepare

UNIT = Unit("linux", "production", "x86_64")
PREVIEW = Unit("linux", "preview", "x86_64")
ENGINE = "1.1.25110.3002"
ONE, TWO, THREE, FOUR, FIVE = (f"1.443.{number}.0" for number in (508, 509, 1000, 1001, 1002))


class Died(Exception):
    """Simulates that the process is killed at this moment."""


class Mirror:
    """A root on disk; `opened()` reads it as a new process does."""

    def __init__(self, root, **settings):
        self.root = root
        self.settings = parse({"downloadFolder": str(root), **settings})

    def opened(self):
        prepare(self.root)
        return Opened(self.settings)

    def workspace(self):
        return Workspace(self.root, self.settings.retain)

    def recovered(self):
        """Opens the mirror and repairs it, as a sync does at its beginning."""
        opened = self.opened()
        with self.workspace().occupied([UNIT, PREVIEW]):
            opened.change(lambda _session: None)
        return opened

    def prune(self):
        return self.opened().change(lambda session: session.prune())

    def package(self, definitions, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "updates.zip"
        with zipfile.ZipFile(path, "w") as package:
            # The member has a constant time, so that the same release has the same bytes.
            package.writestr(zipfile.ZipInfo("vdm"), f"the definitions {definitions}")
        return path

    def publish(self, definitions, unit=UNIT, opened=None):
        opened = opened or self.opened()
        workspace = self.workspace()
        path = self.package(definitions, workspace.download(unit))
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        release = Release(unit.pool, definitions, ENGINE, None, digest, len(data), "2026-02-03T09:00:00Z", "test")
        prepared = workspace.prepared(path, release)

        def work(session):
            channel = session.state.channel(unit)
            whole = session.state.is_whole(unit, channel.current)
            stored = session.add(prepared, release)
            session.set_channel(unit, channel.publish(stored.name, "sync", current_is_whole=whole))
            return stored

        return opened.change(work)

    def release(self, opened=None, unit=UNIT):
        return (opened or self.opened()).state().current(unit)

    def is_whole(self, opened=None, unit=UNIT):
        state = (opened or self.opened()).state()
        return state.is_whole(unit, state.channel(unit).current)

    def serves(self, path=UNIT.path):
        """The version that a client gets; the three files must contain the same version."""
        folder = self.root / path
        if not folder.exists():
            return None
        definitions = json.loads((folder / "manifest.json").read_bytes())["DefinitionVersion"]
        record = json.loads((folder / "release.json").read_bytes())
        with zipfile.ZipFile(folder / "updates.zip") as package:
            assert package.read("vdm").decode() == f"the definitions {definitions}"
        assert record["definitions_version"] == definitions
        assert record["sha256"] == hashlib.sha256((folder / "updates.zip").read_bytes()).hexdigest()
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
    removed = mirror.prune()
    assert mirror.kept() == sorted(kept)
    assert len(removed) == 5 - len(kept)
    assert mirror.pair() == (FIVE, FOUR)
    assert mirror.prune() == []


def test_what_another_channel_serves_is_kept(tmp_path):
    mirror = Mirror(tmp_path / "mirror", retain=1)
    mirror.publish(ONE)
    mirror.publish(TWO)
    for definitions in (THREE, FOUR, FIVE):
        mirror.publish(definitions, PREVIEW)
    mirror.prune()
    assert mirror.pair(UNIT) == (TWO, ONE)
    assert mirror.pair(PREVIEW) == (FIVE, FOUR)
    assert mirror.kept() == sorted([ONE, TWO, FOUR, FIVE])


def test_a_release_that_an_unknown_link_points_to_is_kept(tmp_path):
    mirror = Mirror(tmp_path / "mirror", retain=1)
    for definitions in (ONE, TWO, THREE):
        mirror.publish(definitions)
    theirs = mirror.root / "linux" / "theirs" / "arch_x86_64"
    theirs.parent.mkdir(parents=True)
    theirs.symlink_to(next(mirror.root.glob(f".releases/*/{ONE}-*")))
    mirror.prune()
    assert mirror.kept() == sorted([ONE, TWO, THREE])


# --- killed runs ------------------------------------------------------------------------------------------------------


def die_in(monkeypatch, step, after=False):
    """Makes the process end at the next call of a method."""
    home, name = step
    method = getattr(home, name)

    def dying(self, *args, **kwargs):
        monkeypatch.setattr(home, name, method)
        if after:
            method(self, *args, **kwargs)
        raise Died

    monkeypatch.setattr(home, name, dying)


ADD, CHANGE = (Store, "add"), (MirrorSession, "set_channel")
SAVE_CHANNELS, SAVE_SEEN = (State, "save_channels"), (MirrorSession, "_save")


# A session also publishes links at its beginning, before it changes anything.
LINK = (MirrorSession, "_publish_links")


@pytest.mark.parametrize(
    ("step", "after", "then"),
    [
        (ADD, False, (TWO, ONE)),
        (ADD, True, (TWO, ONE)),
        (CHANGE, False, (TWO, ONE)),
        (SAVE_CHANNELS, False, (TWO, ONE)),
        (SAVE_CHANNELS, True, (THREE, TWO)),
        (LINK, False, (THREE, TWO)),
        (LINK, True, (THREE, TWO)),
        (SAVE_SEEN, False, (THREE, TWO)),
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

    opened = mirror.recovered()
    assert mirror.pair() == then
    assert not opened.store.links_differ(UNIT, opened.state().channel(UNIT))
    mirror.prune()
    assert mirror.pair() == then
    mirror.publish(FOUR, opened=opened)
    assert mirror.pair() == (FOUR, then[0])


def test_a_run_that_died_between_its_two_links_is_completed(mirror):
    mirror.publish(ONE)
    mirror.publish(TWO)
    back = mirror.root / UNIT.back_path
    release_of_two = os.readlink(mirror.root / UNIT.path)
    back.unlink()
    back.symlink_to(release_of_two)
    opened = mirror.opened()
    assert opened.store.links_differ(UNIT, opened.state().channel(UNIT))
    mirror.recovered()
    assert mirror.pair() == (TWO, ONE)


def test_leftovers_are_removed_and_unfinished_downloads_stay(mirror):
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
            mirror.prune()
    assert mirror.pair() == (FOUR, THREE)
    mirror.recovered()
    mirror.prune()
    assert mirror.kept() == [THREE, FOUR]
    assert list((mirror.root / ".incoming").rglob("pruned*")) == []


@pytest.mark.parametrize("data", [None, b"", b"{", b"[]", b'{"channels": []}', b"\xff\xfe"], ids=repr)
def test_a_lost_state_is_read_off_the_links(mirror, data):
    mirror.publish(ONE)
    mirror.publish(TWO)
    mirror.publish(THREE, PREVIEW)
    state = mirror.root / ".state" / "channels.json"
    state.unlink() if data is None else state.write_bytes(data)
    opened = mirror.recovered()
    assert opened.state().units() == [PREVIEW, UNIT]
    assert mirror.pair() == (TWO, ONE)
    mirror.publish(FOUR, opened=opened)
    assert mirror.pair() == (FOUR, TWO)
    assert mirror.pair(PREVIEW) == (THREE, None)


def test_the_state_of_version_0_1_0_is_read(mirror):
    """The history that version 0.1.0 wrote has the entry `release` for what is now called unhold."""
    release = mirror.publish(ONE)
    metadata = json.loads((mirror.root / UNIT.path / "release.json").read_bytes())
    assert metadata["shelf"] == "linux-x86_64"
    assert "pool" not in metadata
    hold = {"kind": "hold", "reason": "freeze", "by": "anna", "since": "2026-02-03T10:00:00Z"}
    entry = {"release": release.name, "at": "2026-02-03T10:00:00Z", "by": "anna"}
    channel = {
        "current": release.name,
        "previous": None,
        "published": "2026-02-03T09:00:00Z",
        "hold": hold,
        "history": [{**entry, "action": action} for action in ("sync", "hold", "release", "hold")],
        "own": False,
    }
    state = {"format": 1, "channels": {UNIT.path: channel}}
    (mirror.root / ".state" / "channels.json").write_text(json.dumps(state), encoding="utf-8")
    found = mirror.recovered().state().channel(UNIT)
    assert (found.current, found.hold) == (release.name, hold)
    assert [change["action"] for change in found.history] == ["sync", "hold", "release", "hold"]
    unheld = found.set_hold(None, "ben")
    assert unheld.history[-1]["action"] == "release"


@pytest.mark.parametrize("name", ["seen.json", "last-sync.json"])
@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\0"])
def test_other_lost_state_does_not_matter(mirror, name, data):
    mirror.publish(ONE)
    (mirror.root / ".state" / name).write_bytes(data)
    assert mirror.is_whole(mirror.recovered())
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
    assert mirror.is_whole()
    spoil(mirror.root / UNIT.path / "updates.zip")
    opened = mirror.opened()
    assert not mirror.is_whole(opened)
    found = opened.integrity.problems(mirror.release(opened))
    assert [damage for damage in found if damage.startswith("updates.zip")]


def test_a_damage_within_one_step_of_the_clock_of_a_filesystem_is_noticed(mirror, monkeypatch):
    def coarse(folder):
        return {name: [(folder / name).stat().st_size, 0, 0, begun] for name in ("updates.zip", "manifest.json")}

    begun = time.time_ns()
    monkeypatch.setattr(integrity, "_fingerprint", coarse)
    mirror.publish(ONE)
    changed_in_place(mirror.root / UNIT.path / "updates.zip")
    assert not mirror.is_whole()


def test_a_package_that_settled_is_read_once(mirror, monkeypatch):
    mirror.publish(ONE)
    later = time.time_ns() + 3 * 10**9
    monkeypatch.setattr(integrity.time, "time_ns", lambda: later)
    read = []
    monkeypatch.setattr(integrity, "sha256_of", lambda path: read.append(path) or sha256_of(path))
    for _time in range(3):
        opened = mirror.opened()
        assert mirror.is_whole(opened)
        opened.change(lambda _session: None)
    assert [path.name for path in read] == ["updates.zip"]


@pytest.mark.parametrize("name", ["manifest.json", "release.json"])
@pytest.mark.parametrize("data", [None, b"", b"{}", b"[" * 10])
def test_damaged_small_files_are_written_again(mirror, name, data):
    mirror.publish(ONE)
    path = mirror.root / UNIT.path / name
    path.unlink() if data is None else path.write_bytes(data)
    opened = mirror.opened()
    release = mirror.release(opened)
    assert opened.store.small_files_differ(release)
    assert opened.integrity.problems(release)
    assert mirror.is_whole(opened)
    opened.change(lambda session: session.repair(release))
    assert mirror.pair() == (ONE, None)
    opened = mirror.opened()
    assert not opened.integrity.problems(mirror.release(opened))


# --- room -------------------------------------------------------------------------------------------------------------


def test_there_must_be_room_for_all_downloads_together(mirror):
    mirror.opened()
    workspace = mirror.workspace()
    figures = os.statvfs(mirror.root)
    most = figures.f_bavail * figures.f_frsize * 6 // 10
    with workspace.reserved(most):
        with pytest.raises(MirrorError) as refused, workspace.reserved(most):
            pass
        assert refused.value.code == "disk_full"
        assert str(mirror.root) in refused.value.message
    with workspace.reserved(most):
        pass


# --- adopting ---------------------------------------------------------------------------------------------------------


def fill_as_the_script_does(mirror, path, definitions):
    folder = mirror.root / path
    mirror.package(definitions, folder)
    (folder / "manifest.json").write_bytes(Versions(definitions, ENGINE).manifest())
    return (folder / "updates.zip").stat().st_ino


def adopt(mirror, opened=None):
    opened = opened or mirror.recovered()
    found = adoption.examine(mirror.root, UNIT, mirror.settings.policy, Cancel())
    adoption.adopt(opened, mirror.workspace(), UNIT, found)
    return found.releases.get(UNIT.path), list(found.problems)


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


@pytest.mark.parametrize(("step", "after"), [(ADD, False), (ADD, True), (SAVE_CHANNELS, True), (LINK, False)])
def test_an_adoption_that_died_is_completed(mirror, monkeypatch, step, after):
    inode = fill_as_the_script_does(mirror, UNIT.path, TWO)
    die_in(monkeypatch, step, after)
    with pytest.raises(Died):
        adopt(mirror)
    assert json.loads((mirror.root / UNIT.path / "manifest.json").read_bytes())["DefinitionVersion"] == TWO
    opened = mirror.recovered()
    if not (mirror.root / UNIT.path).is_symlink():
        adopt(mirror, opened)
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
    assert mirror.recovered().state().units() == []
    mirror.publish(THREE)
    assert mirror.pair() == (THREE, None)
