"""tools/bootstrap.py on machines where tools are missing: a copy of it creates environments in temporary folders."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import interpreters
from tools.collection_tree import CHECKOUT

BASE_PYTHON = Path(sys.base_prefix) / "bin" / "python{}.{}".format(*sys.version_info[:2])
BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {!r}:
            raise ImportError("no " + name + " here")

if sys.prefix == sys.base_prefix:  # not in the virtual environments that this Python creates
    sys.meta_path.insert(0, Blocked())
"""
NOWHERE = "https://127.0.0.1:9/simple"  # a package index that cannot be reached
needs_ensurepip = pytest.mark.skipif(
    subprocess.run([BASE_PYTHON, "-c", "import ensurepip"], capture_output=True, check=False).returncode != 0,
    reason=f"{BASE_PYTHON} has no ensurepip (Debian: python3-venv), so `python3 -m venv` is not tried",
)


class Scratch:
    """A checkout that contains only the bootstrap and its requirements, on a simulated machine."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.bin = folder / "bin"
        self.shadow = folder / "shadow"
        for made in (self.root / "tools", self.bin, self.shadow):
            made.mkdir(parents=True)
        shutil.copy(CHECKOUT / "tools" / "bootstrap.py", self.root / "tools")
        self.require("pip")  # every environment contains pip, so nothing needs to be downloaded

    def require(self, text: str) -> None:
        (self.root / "requirements-dev.txt").write_text(text + "\n", encoding="utf-8")

    def lacks(self, *modules: str) -> None:
        """Removes these modules from the system's Python, as on distributions that package them separately."""
        (self.shadow / "sitecustomize.py").write_text(BLOCK.format(modules), encoding="utf-8")

    def has_uv(self) -> None:
        """Simulates a uv that creates real environments and installs nothing, because only pip is required."""
        self.lacks("ensurepip")
        self.command(
            "uv",
            f"""case "$1" in venv) for last; do :; done; exec '{BASE_PYTHON}' -m venv --without-pip "$last" ;; esac""",
        )

    def command(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def start(self, python: Path = BASE_PYTHON) -> subprocess.Popen[str]:
        environment = {
            "PATH": str(self.bin),
            "HOME": str(self.root),
            "PYTHONPATH": str(self.shadow),
            "PIP_INDEX_URL": NOWHERE,
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }
        return subprocess.Popen(
            [str(python), "tools/bootstrap.py"],
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, python: Path = BASE_PYTHON) -> tuple[int, str]:
        process = self.start(python)
        output = process.communicate(timeout=600)[0]
        return process.returncode, output

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def works(self) -> bool:
        return subprocess.run([self.venv / "bin" / "python", "-c", ""], check=False).returncode == 0


@pytest.fixture
def scratch(tmp_path) -> Scratch:
    return Scratch(tmp_path)


@needs_ensurepip
def test_creates_an_environment_once_and_installs_again_only_when_the_requirements_change(scratch):
    status, output = scratch.run()
    assert (status, scratch.works()) == (0, True), output
    made = (scratch.venv / "pyvenv.cfg").stat().st_mtime_ns
    assert scratch.run() == (0, "")
    scratch.require("pip\n# and nothing else")
    status, output = scratch.run()
    assert status == 0
    assert "installing" in output
    assert (scratch.venv / "pyvenv.cfg").stat().st_mtime_ns == made, "the existing environment is used"


def test_starts_again_if_an_environment_is_incomplete(scratch):
    scratch.has_uv()
    assert scratch.run()[0] == 0
    (scratch.venv / "mde-ready").unlink()
    (scratch.venv / "mde-unfinished").touch()
    (scratch.venv / "leftover").touch()
    status, output = scratch.run()
    assert (status, scratch.works()) == (0, True), output
    assert not (scratch.venv / "leftover").exists()


def test_starts_again_after_the_checkout_was_moved(scratch, tmp_path):
    scratch.has_uv()
    assert scratch.run()[0] == 0
    old = scratch.root
    scratch.root = tmp_path / "moved"
    old.rename(scratch.root)
    status, output = scratch.run()
    assert (status, scratch.works()) == (0, True), output
    assert str(old) not in (scratch.venv / "bin" / "activate").read_text(encoding="utf-8")


def test_completes_an_environment_that_was_created_manually(scratch):
    scratch.has_uv()
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", scratch.venv], check=True)
    (scratch.venv / "theirs").touch()
    assert scratch.run()[0] == 0
    assert (scratch.venv / "theirs").exists()
    assert (scratch.venv / "mde-ready").exists()


@needs_ensurepip
def test_packages_that_cannot_be_installed_leave_the_environment_incomplete(scratch):
    scratch.require("there-is-no-package-of-this-name-in-an-empty-index")
    status, output = scratch.run()
    assert status == 1
    assert "there-is-no-package-of-this-name" in output
    assert "package index" in output
    assert "Traceback" not in output
    assert not (scratch.venv / "mde-ready").exists()
    scratch.require("pip")
    assert scratch.run()[0] == 0


def test_without_ensurepip_it_uses_uv(scratch):
    scratch.has_uv()
    status, output = scratch.run()
    assert (status, scratch.works()) == (0, True), output
    assert "created with uv" in output


@needs_ensurepip
def test_without_ensurepip_it_uses_another_python(scratch):
    scratch.lacks("ensurepip", "virtualenv", "pip")
    scratch.command("python3.12", f"unset PYTHONPATH; exec '{BASE_PYTHON}' \"$@\"")
    scratch.command("python3.13", "exit 127")  # a pyenv shim of a version that is not selected
    # The bootstrap skips an interpreter that is the same file as its own, so it must be started by another file.
    python = scratch.bin / "python-of-the-system"
    scratch.command(python.name, f"exec '{BASE_PYTHON}' \"$@\"")
    status, output = scratch.run(python)
    assert (status, scratch.works()) == (0, True), output
    assert "created with another Python" in output


def test_without_any_method_it_names_the_command_that_installs_what_is_missing(scratch):
    scratch.lacks("ensurepip", "virtualenv", "pip")
    scratch.command("apt-get", "exit 0")
    status, output = scratch.run()
    assert status == 1
    assert output.rstrip().endswith("sudo apt-get install -y python3-venv")
    assert "Traceback" not in output
    assert not scratch.venv.exists()


def test_a_python_that_is_too_old_reports_the_required_version(scratch):
    old = next(filter(None, map(interpreters.find, ("3.6", "3.7", "3.8", "3.9"))), None)
    if old is None:
        pytest.skip("no Python between 3.6 and 3.9 on this machine: the bootstrap was not run with an old Python")
    status, output = scratch.run(old)
    assert status == 1
    assert "Python 3.10 or newer is required" in output
    assert "Traceback" not in output
    scratch.has_uv()
    scratch.command("python3.11", f"exec '{BASE_PYTHON}' \"$@\"")
    status, output = scratch.run(old)
    assert (status, scratch.works()) == (0, True), output


def test_two_processes_create_one_environment(scratch):
    scratch.has_uv()
    first, second = scratch.start(), scratch.start()
    outputs = [process.communicate(timeout=600)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert sorted(output.count("created with") for output in outputs) == [0, 1]
    assert scratch.works()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_an_interrupted_run_stops_its_child_processes_and_the_next_run_succeeds(scratch, how):
    scratch.lacks("ensurepip")
    scratch.command("uv", 'case "$1" in venv) echo $$ >"$HOME/child"; exec sleep 900 ;; esac')
    scratch.command("sleep", f'exec {shutil.which("sleep")} "$@"')
    process = scratch.start()
    child = scratch.root / "child"
    deadline = time.monotonic() + 300
    while not (child.exists() and child.read_text(encoding="utf-8").strip()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 130
    assert "Traceback" not in output
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text(encoding="utf-8")), 0)
    scratch.has_uv()
    assert scratch.run()[0] == 0
    assert scratch.works()
