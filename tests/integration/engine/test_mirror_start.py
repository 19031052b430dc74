"""The cost of a start of the packed command: the modules that it compiles, and the modules that it loads."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from tools import interpreters
from tools.collection_tree import CHECKOUT

# Runs the command in a Python that records each source that is compiled as a module, and each module that is loaded.
OBSERVED = """
import json, os, runpy, sys
note, sys.argv = sys.argv[1], sys.argv[2:]
compiled, as_owner, started_as = [], [], os.geteuid()
def observe(event, arguments):
    if event == "import" and os.geteuid() != started_as:
        as_owner.append(arguments[0])
    if event == "compile" and "_mirror" in str(arguments[1]):
        compiled.append(str(arguments[1]))
sys.addaudithook(observe)
def write(_status=0):
    with open(note, "w") as file:
        json.dump({"as_owner": as_owner, "compiled": compiled, "modules": sorted(sys.modules)}, file)
end = os._exit
os._exit = lambda status: (write(), end(status))
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    write()
"""
# What a sync that finds nothing new must not load: other verbs and other sources need it, or failures.
NOT_NEEDED = {
    "_mirror.bundle",
    "_mirror.download",
    "_mirror.sources.git",
    "_mirror.sources.script",
    "_strptime",
    "ctypes",
    "dataclasses",
    "difflib",
    "getpass",
    "inspect",
    "pickle",
    "subprocess",
    "tarfile",
    "uuid",
    "zipfile",
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Packs the command with a given Python."""

    def pack(python):
        target = tmp_path_factory.mktemp("packed") / "mde-mirror"
        subprocess.run([str(python), str(CHECKOUT / "tools" / "build_mde_mirror.py"), str(target)], check=True)
        return target

    return pack


@pytest.fixture
def observed(unsynced, tmp_path):
    """Runs a packed command and returns the modules that it compiled and loaded."""

    def run(command, *arguments):
        note = tmp_path / "note.json"
        done = unsynced.run(*arguments, command=[sys.executable, "-c", OBSERVED, str(note), str(command)])
        assert done.status == 0, done.text
        return json.loads(note.read_text(encoding="utf-8"))

    return run


def others():
    """Pythons of this machine that cannot use the code that the Python of the tests compiled."""
    own = "{}.{}".format(*sys.version_info)
    found = {version: interpreters.find(version) for version in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")}
    return [python for version, python in found.items() if python and version != own]


def test_a_start_compiles_nothing_and_loads_no_more_than_it_needs(unsynced, packed, observed):
    command = packed(sys.executable)
    unsynced.configure(logFilePath=None)
    unsynced.sync_well()
    seen = observed(command, "sync")
    assert seen["compiled"] == []
    assert "_mirror.sync" in seen["modules"]
    assert sorted(NOT_NEEDED & set(seen["modules"])) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: acting as another user takes root")
def test_root_imports_nothing_while_it_acts_as_the_owner(unsynced, packed, observed):
    command = packed(sys.executable)
    owner = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as name:
        public = Path(name)
        public.chmod(0o755)
        authority = public / "ca.pem"
        shutil.copy(unsynced.settings["source"]["caFile"], authority)
        authority.chmod(0o644)
        unsynced.set_root(public / "mirror")
        unsynced.configure(logFilePath=None, source={"caFile": str(authority)})
        unsynced.root.mkdir()
        os.chown(unsynced.root, owner.pw_uid, owner.pw_gid)
        # The first sync downloads a release; the second one finds nothing new.
        assert observed(command, "sync")["as_owner"] == []
        assert observed(command, "sync")["as_owner"] == []
        assert {path.lstat().st_uid for path in unsynced.root.rglob("*")} == {owner.pw_uid}


def test_another_python_compiles_the_sources(unsynced, packed, observed):
    python = next(iter(others()), None)
    if python is None:
        pytest.skip("NOT TESTED: no other Python from 3.8 on is on this machine")
    seen = observed(packed(python), "sync")
    assert any("cli.py" in name for name in seen["compiled"])
    assert unsynced.folders()


def test_it_runs_without_a_home_and_writes_nothing_beside_itself(unsynced, packed, tmp_path):
    command = packed(sys.executable)
    folder = tmp_path / "read-only"
    folder.mkdir()
    shutil.copy(command, folder)
    folder.chmod(0o555)
    environment = {**os.environ, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": ""}
    run = unsynced.run("sync", command=[sys.executable, str(folder / "mde-mirror")], env=environment)
    assert run.status == 0, run.text
    assert [path.name for path in folder.iterdir()] == ["mde-mirror"]


def test_the_packed_file_holds_every_source_and_its_code(packed):
    engine = CHECKOUT / "plugins" / "module_utils" / "_mirror"
    sources = {f"_mirror/{path.relative_to(engine).as_posix()}" for path in engine.rglob("*.py")} | {"__main__.py"}
    with zipfile.ZipFile(packed(sys.executable)) as archive:
        assert set(archive.namelist()) == sources | {name + "c" for name in sources} | {"made-from"}
