"""Creates the virtual environment .venv with the tools that this machine has, or reports which tool to install.

Standard library only. Python 3.6 can also run this file, and reports that it is too old.

Two files in `.venv` record its state:
  `mde-ready`       complete; contains the fingerprint of what was installed
  `mde-unfinished`  an earlier run was interrupted; the next run deletes `.venv` and starts again
If there is neither file, somebody created `.venv` manually, and this program installs the missing packages.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from typing import IO, Callable, Iterator, List, Optional, Tuple

try:
    import fcntl
except ImportError:  # not a POSIX system; Ansible controllers do not run there either
    fcntl = None  # type: ignore[assignment]

OLDEST = (3, 10)
NEWEST_NAME_TO_TRY = 16
CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
REQUIREMENTS = CHECKOUT / "requirements-dev.txt"
VENV = CHECKOUT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
READY = VENV / "mde-ready"
UNFINISHED = VENV / "mde-unfinished"
CACHE = CHECKOUT / ".cache" / "bootstrap"
LOG = CACHE / "last.log"
FORMAT = "1"  # increase it when environments of earlier versions of this file must be created again


class Advice(Exception):
    """The user has to do something first; the message says what."""


class MethodFailed(Exception):
    """One method of creating the environment does not work on this machine; the message says why."""


def say(text: str) -> None:
    print("venv: " + text, flush=True)


def fingerprint() -> str:
    # The path is part of it, because the scripts in an environment contain its absolute path.
    parts = [FORMAT, str(CHECKOUT), REQUIREMENTS.read_text(encoding="utf-8")]
    return hashlib.sha256("\0".join(parts).encode("utf-8")).hexdigest()


def quiet(*argv: str) -> bool:
    """Whether a command can be run and succeeds."""
    try:
        null = subprocess.DEVNULL
        done = subprocess.run(argv, stdin=null, stdout=null, stderr=null, check=False)
    except OSError:
        return False
    return done.returncode == 0


def logged(*argv: str, watch: Optional[Callable[[str], None]] = None) -> None:
    """Runs a command and writes its output to the log; if it fails, its last lines are the message of the exception."""
    lines: List[str] = []
    with LOG.open("a", encoding="utf-8") as log:
        log.write("$ " + " ".join(argv) + "\n")
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors="replace",
        )
        try:
            for line in process.stdout or []:
                log.write(line)
                lines.append(line.rstrip())
                if watch:
                    watch(line)
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status:
        raise MethodFailed("\n".join(line for line in lines[-12:] if line) or f"exit status {status}")


class Progress:
    """Progress of an installation: one line that is updated on a terminal, otherwise a line every five seconds."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.started = time.monotonic()
        self.shown = 0.0
        self.packages = 0
        self.stage = "resolving"
        self.terminal = sys.stdout.isatty()

    def __call__(self, line: str) -> None:
        if line.startswith("Collecting "):
            self.packages += 1
        if line.startswith("Installing collected packages"):
            self.stage = "unpacking"
        now = time.monotonic()
        if now - self.shown < (0.2 if self.terminal else 5):
            return
        self.shown = now
        text = f"{self.label}: {self.packages} packages, {self.stage} ({now - self.started:.0f} s)"
        if self.terminal:
            sys.stdout.write("\r\033[Kvenv: " + text)
            sys.stdout.flush()
        else:
            say(text)

    def end(self) -> None:
        if self.terminal:
            sys.stdout.write("\r\033[K")
        say(f"{self.label}: done in {time.monotonic() - self.started:.0f} s")


def usable(python: str, modules: str = "") -> bool:
    """Whether this Python can be started, is new enough and has the modules. A pyenv shim may fail each check."""
    check = "import sys{}; sys.exit(sys.version_info[:2] < {!r})".format(modules and ", " + modules, OLDEST)
    return quiet(python, "-c", check)


def pythons_on_path() -> Iterator[str]:
    for minor in range(NEWEST_NAME_TO_TRY, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and usable(found):
            yield found


# --- methods of creating an environment; each creates .venv/bin/python and returns the command that installs packages


def with_pip(python: pathlib.Path) -> List[str]:
    return [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]


def method_venv(python: str) -> List[str]:
    if not usable(python, "venv, ensurepip"):
        raise MethodFailed("this Python has no venv or no ensurepip (Debian keeps them in the package python3-venv)")
    logged(python, "-m", "venv", str(VENV))
    return with_pip(VENV_PYTHON)


def method_uv(python: str) -> List[str]:
    uv = shutil.which("uv")
    if not uv or not quiet(uv, "--version"):
        raise MethodFailed("uv is not on PATH")
    logged(uv, "venv", "--allow-existing", "--python", python, str(VENV))
    return [uv, "pip", "install", "--python", str(VENV_PYTHON)]


def method_virtualenv(python: str) -> List[str]:
    if not quiet(python, "-m", "virtualenv", "--version"):
        raise MethodFailed("the package virtualenv is not installed")
    logged(python, "-m", "virtualenv", str(VENV))
    return with_pip(VENV_PYTHON)


def method_pip_target(python: str) -> List[str]:
    if not quiet(python, "-m", "pip", "--version"):
        raise MethodFailed("pip is not installed")
    target = CACHE / "virtualenv"
    shutil.rmtree(str(target), ignore_errors=True)
    logged(python, "-m", "pip", "install", "--disable-pip-version-check", "--target", str(target), "virtualenv")
    run = f"import sys; sys.path.insert(0, {str(target)!r}); import virtualenv; virtualenv.cli_run(sys.argv[1:])"
    logged(python, "-c", run, str(VENV))
    return with_pip(VENV_PYTHON)


def method_other_python(python: str) -> List[str]:
    for other in pythons_on_path():
        if not pathlib.Path(other).samefile(python) and usable(other, "venv, ensurepip"):
            logged(other, "-m", "venv", str(VENV))
            return with_pip(VENV_PYTHON)
    raise MethodFailed("no other python3.X on PATH has venv")


def method_pip_wheel(python: str) -> List[str]:
    """For machines without pip: downloads the wheel of pip from the package index and runs it directly."""
    if not usable(python, "venv"):
        raise MethodFailed("this Python has no venv")
    try:
        wheel = fetch_pip_wheel()
    except (OSError, ValueError) as exc:
        raise MethodFailed(f"cannot get pip from the package index: {exc}") from exc
    logged(python, "-m", "venv", "--without-pip", str(VENV))
    logged(str(VENV_PYTHON), str(wheel / "pip"), "install", "--disable-pip-version-check", "pip")
    return with_pip(VENV_PYTHON)


def fetch_pip_wheel() -> pathlib.Path:
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    if not index.startswith("https://"):
        raise ValueError("PIP_INDEX_URL is not an https address")
    request = urllib.request.Request(index + "/pip/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        files = json.loads(answer.read().decode("utf-8"))["files"]
    releases: List[Tuple[Tuple[int, ...], str, str]] = []
    for entry in files:
        name = re.match(r"^pip-(\d+(?:\.\d+)*)-py3-none-any\.whl$", entry["filename"])
        if name and not entry.get("yanked"):
            version = tuple(int(part) for part in name.group(1).split("."))
            releases.append((version, entry["url"], entry["hashes"]["sha256"]))
    if not releases:
        raise ValueError("the package index has no wheel of pip")
    version, url, sha256 = max(releases)
    wheel = CACHE / "pip-{}-py3-none-any.whl".format(".".join(map(str, version)))
    with urllib.request.urlopen(urllib.parse.urljoin(index + "/pip/", url), timeout=60) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("the SHA-256 of the wheel of pip differs from the one in the package index")
    wheel.write_bytes(content)
    return wheel


METHODS: Tuple[Tuple[str, Callable[[str], List[str]]], ...] = (
    ("python3 -m venv", method_venv),
    ("uv", method_uv),
    ("virtualenv", method_virtualenv),
    ("virtualenv through pip", method_pip_target),
    ("another Python", method_other_python),
    ("pip's wheel", method_pip_wheel),
)


def installation_command() -> str:
    if shutil.which("apt-get"):
        return "sudo apt-get install -y python3-venv"
    if shutil.which("dnf"):
        return "sudo dnf install -y python3-pip"
    if shutil.which("zypper"):
        return "sudo zypper install -y python3-pip"
    return "install your system's package for Python's venv module (often called python3-venv)"


def make() -> List[str]:
    """Creates an empty environment by the first method that works; returns the command that installs packages."""
    reasons = []
    for name, method in METHODS:
        shutil.rmtree(str(VENV), ignore_errors=True)
        VENV.mkdir()
        UNFINISHED.touch()
        try:
            install = method(sys.executable)
            if not usable(str(VENV_PYTHON)):
                raise MethodFailed("it made an environment whose Python does not run")
        except MethodFailed as exc:
            reasons.append("  {}: {}".format(name, str(exc).replace("\n", "\n    ")))
            continue
        UNFINISHED.touch()
        say(f"created with {name}")
        return install
    shutil.rmtree(str(VENV), ignore_errors=True)
    raise Advice(
        "No method of creating a virtual environment works with {}:\n{}\nInstall what is missing with:\n  {}".format(
            sys.executable, "\n".join(reasons), installation_command()
        )
    )


def existing() -> Optional[List[str]]:
    """The command that installs packages into the existing environment; None if it must be created again."""
    if UNFINISHED.exists() or not usable(str(VENV_PYTHON)):
        return None
    if READY.exists() and READY.read_text(encoding="utf-8").partition("\n")[2].strip() != str(CHECKOUT):
        return None
    if quiet(str(VENV_PYTHON), "-m", "pip", "--version"):
        return with_pip(VENV_PYTHON)
    uv = shutil.which("uv")
    return [uv, "pip", "install", "--python", str(VENV_PYTHON)] if uv else None


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Lets only one process prepare the environment. The lock ends with the process that holds it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as handle:
        lock(handle)
        yield


def lock(handle: IO[str]) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("another process is preparing .venv; waiting for it")
        fcntl.flock(handle, fcntl.LOCK_EX)


def ready() -> bool:
    try:
        stamp = READY.read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return False
    return stamp == fingerprint() and not UNFINISHED.exists() and usable(str(VENV_PYTHON))


def prepare() -> None:
    LOG.write_text("", encoding="utf-8")
    say(f"preparing .venv (first time: about a minute; details in {LOG.relative_to(CHECKOUT)})")
    install = existing() or make()
    UNFINISHED.touch()
    with contextlib.suppress(FileNotFoundError):
        READY.unlink()
    progress = Progress("installing requirements-dev.txt")
    try:
        logged(*install, "-r", str(REQUIREMENTS), watch=progress)
    except MethodFailed as exc:
        raise Advice(
            f"\nThe packages of requirements-dev.txt could not be installed:\n{exc}\n"
            "Check that this machine can reach a Python package index (PIP_INDEX_URL and https_proxy are respected), "
            f"then run the same command again. The complete output is in {LOG}"
        ) from exc
    progress.end()
    READY.write_text(f"{fingerprint()}\n{CHECKOUT}\n", encoding="utf-8")
    UNFINISHED.unlink()


def with_the_right_python() -> None:
    """Restarts with another Python if this one is too old, or is that of the .venv that is to be created."""
    if pathlib.Path(sys.prefix).resolve() == VENV:
        base = pathlib.Path(sys.base_prefix) / "bin" / "python{}.{}".format(*sys.version_info[:2])
        os.execv(str(base), [str(base), *sys.argv])
    if sys.version_info[:2] >= OLDEST:
        return
    for other in pythons_on_path():
        say(f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, which is too old; using {other}")
        os.execv(other, [other, *sys.argv])
    raise Advice(
        f"Python {OLDEST[0]}.{OLDEST[1]} or newer is required by ansible-core, and there is no such python3.X on PATH. "
        f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}. "
        "Install a newer one and run `make PYTHON=/path/to/python3.X ...`."
    )


def main() -> int:
    if sys.argv[1:]:
        print("usage: bootstrap.py   (takes no arguments)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with_the_right_python()
        if ready():
            return 0
        with alone():
            if not ready():
                prepare()
    except Advice as advice:
        print(str(advice), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nvenv: interrupted; the next run starts again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
