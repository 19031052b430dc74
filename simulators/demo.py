"""`make demo`: the whole way on this machine, without root: a mirror, three endpoints, one broken in a documented way.

Everything lives in `.demo/` of the checkout. What is real: the collection, ansible-playbook, HTTP. What is a stand-in:
Microsoft's download service, and the agent (`mdatp`). The demo checks what it shows, and fails when that is not as
promised.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from simulators.download_service import DownloadService  # noqa: E402
from simulators.static_web_server import StaticWebServer  # noqa: E402

HOME = CHECKOUT / ".demo"
ENDPOINTS = ("endpoint1", "endpoint2", "endpoint3")
OLD, NEW, ENGINE = "1.449.108.0", "1.449.117.0", "1.1.26020.1002"
PACKAGE_BYTES = 3_000_000
MARK = "MDE_OFFLINE_DEMO"


class BrokenPromiseError(Exception):
    """Something is not as the demo says that it is."""


class Interrupted(BaseException):
    """A signal asked the demo to end."""


# --- What a person sees -------------------------------------------------------------------------------------------


class Narrator:
    """Headings that say what happens and why."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0
        self._started = time.monotonic()
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def heading(self, title: str, why: str) -> None:
        self._step += 1
        seconds = time.monotonic() - self._started
        line = f"== {self._step}/{self._steps}  {title}  ({seconds:.0f} s)"
        print(f"\n\033[1m{line}\033[0m" if self._colour else f"\n{line}")
        self.say(why)

    def say(self, text: str) -> None:
        filled = textwrap.fill(text, 90, break_long_words=False, break_on_hyphens=False)
        print(textwrap.indent(filled, "   "), flush=True)

    def lines(self, lines: list[str]) -> None:
        print("\n" + "\n".join(f"   {line}".rstrip() for line in lines), flush=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


def promise(kept: bool, what: str) -> None:
    if not kept:
        raise BrokenPromiseError(what)


# --- Processes ----------------------------------------------------------------------------------------------------


class Processes:
    """Starts commands, and leaves none of them or of theirs behind.

    Ansible's workers and what they start live in sessions of their own, so the process group is not enough: everything
    that this run started is known by a mark in its environment.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self._environment = {**environment, name: value}
        self._running: subprocess.Popen[bytes] | None = None

    def run(self, *command: str | Path, quiet: bool = False) -> int:
        """The exit status of a command, whose output is shown as it comes."""
        # Not as a context: leaving it by a signal would wait for the command's own end.
        self._running = subprocess.Popen(
            [str(word) for word in command],
            env=self._environment,
            cwd=HOME,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else None,
            start_new_session=True,
        )
        status = self._running.wait()
        self._running = None
        return status

    def end(self) -> None:
        """Ends what is running: first as Ctrl-C would, then for good."""
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(3)
        for number, seconds in ((signal.SIGTERM, 2), (signal.SIGKILL, 30)):
            told: set[int] = set()
            deadline = time.monotonic() + seconds
            while (left := set(self._left())) and time.monotonic() < deadline:
                # Those that came meanwhile too; once each, so that they can clean up.
                for process in left - told:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, number)
                told |= left
                time.sleep(0.05)
        if self._running is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(1)

    def _left(self) -> list[int]:
        """The processes of this run that are still there; without /proc none can be told."""
        mark = self._mark.encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                running = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
                if running and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


# --- The parts ----------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """The environment of ansible-playbook: nothing of the user's Ansible configuration, everything below `.demo`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PWD": str(HOME),
        "ANSIBLE_CONFIG": str(HOME / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(HOME / "collections"),
        "ANSIBLE_INVENTORY": str(HOME / "inventory.yml"),
        "ANSIBLE_FORCE_COLOR": "1" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else "0",
        "PYTHONUNBUFFERED": "1",
    }


CONFIGURATION = """\
# Written by make demo. With the environment of the demo: ANSIBLE_CONFIG=.demo/ansible.cfg ansible-playbook ...
[defaults]
display_skipped_hosts = false
callback_result_format = yaml
inject_facts_as_vars = false
interpreter_python = auto_silent
retry_files_enabled = false
nocows = true
forks = 4
pipelining = true
"""


def inventory(service: str, mirror: str) -> dict[str, Any]:
    """One mirror and three endpoints, all on this machine. (JSON is YAML.)"""
    host = HOME / "mirror"

    def endpoint(name: str) -> dict[str, str]:
        root = HOME / name
        return {
            "endpoint_mdatp": str(root / "usr/bin/mdatp"),
            "endpoint_managed_file": str(root / "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"),
        }

    return {
        "all": {
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "ansible_become": False,
            },
            "children": {
                "mirrors": {
                    "hosts": {"mirror": {}},
                    "vars": {
                        "mirror_unprivileged": True,
                        "mirror_scheduler": "none",
                        "mirror_root": str(host / "srv"),
                        "mirror_command": str(host / "bin/mde-mirror"),
                        "mirror_settings_file": str(host / "etc/settings.json"),
                        "mirror_log_file": str(host / "log/sync.log"),
                        "mirror_source_url": service,
                    },
                },
                "endpoints": {
                    "hosts": {name: endpoint(name) for name in ENDPOINTS},
                    "vars": {"endpoint_mirror": mirror, "endpoint_enforcement_level": "real_time"},
                },
            },
        }
    }


def clear() -> None:
    """Removes what an earlier demo left, and keeps the lock."""
    for path in HOME.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"demo: another demo is running in {HOME}. Wait for its end, or stop it.") from None
        yield


class Demo:
    """The story, step by step."""

    def __init__(
        self, processes: Processes, narrator: Narrator, service: DownloadService, web: StaticWebServer
    ) -> None:
        self.processes = processes
        self.tell = narrator
        self.service = service
        self.web = web

    def prepare(self) -> None:
        self.tell.heading(
            "The parts",
            f"A stand-in for Microsoft's download service publishes definitions {OLD} on loopback. Three machines get "
            "a stand-in for the agent. They are passive and their definitions are a month old, as after an install.",
        )
        (HOME / "ansible.cfg").write_text(CONFIGURATION, encoding="utf-8")
        content = json.dumps(inventory(self.service.url, self.web.url), indent=2) + "\n"
        (HOME / "inventory.yml").write_text(content, encoding="utf-8")
        namespace = HOME / "collections" / "ansible_collections" / "mde"
        namespace.mkdir(parents=True)
        (namespace / "offline").symlink_to(Path(os.path.relpath(CHECKOUT, namespace)), target_is_directory=True)
        self.publish(OLD)
        for name in ENDPOINTS:
            self.stand_in("install", "--root", HOME / name, "--cloud", self.service.url)

    def publish(self, version: str) -> None:
        self.service.publish(version, ENGINE, platform="linux", ring="production", size=PACKAGE_BYTES)

    def stand_in(self, *arguments: str | Path) -> None:
        status = self.processes.run(sys.executable, CHECKOUT / "simulators" / "mdatp.py", *arguments, quiet=True)
        promise(status == 0, f"simulators/mdatp.py {arguments[0]} works (it ended with status {status})")

    def playbook(self, name: str, report: str = "", expected: int = 0) -> None:
        print(f"\n   $ ansible-playbook mde.offline.{name}\n", flush=True)
        options = ["-e", json.dumps({"mde_report": str(HOME / report)})] if report else []
        status = self.processes.run(sys.executable, "-m", "ansible", "playbook", f"mde.offline.{name}", *options)
        wanted = "succeeds" if expected == 0 else f"ends with status {expected}, because something is wrong"
        promise(status == expected, f"ansible-playbook mde.offline.{name} {wanted} (it ended with status {status})")

    def published(self) -> set[str]:
        status = json.loads((HOME / "mirror" / "srv" / "status.json").read_text(encoding="utf-8"))
        return {channel["definitions_version"] for channel in status["channels"]}

    def everybody_has(self, version: str, report: dict[str, Any], of: tuple[str, ...] = ENDPOINTS) -> None:
        hosts = {host["name"]: host for host in report["hosts"]}
        for name in of:
            host = hosts[name]
            promise(host["definitions_version"] == version, f"{name} has definitions {version}: {host}")
            promise(str(host["source"]).startswith(self.web.url), f"{name} got them from the mirror: {host}")
            promise(host["verdict"] == "ok", f"{name} is healthy: {host}")

    def site(self) -> None:
        self.tell.heading(
            "From nothing to protected",
            "One playbook builds the mirror, syncs it, points the endpoints at it, updates them and checks that their "
            "definitions really came from the mirror.",
        )
        self.playbook("site", "site.json")
        promise(self.published() == {OLD}, f"the mirror serves {OLD}")
        self.everybody_has(OLD, read("site.json"))

    def release(self) -> None:
        self.tell.heading(
            "Microsoft publishes something newer",
            f"The download service now has {NEW}. On real hosts a timer syncs the mirror; here a playbook does it at "
            "once. What was served before stays as production_back.",
        )
        self.publish(NEW)
        self.playbook("sync")
        promise(self.published() == {NEW}, f"the mirror serves {NEW}")
        self.tell.heading(
            "The endpoints follow",
            "The agents would update by their own timer within hours. This playbook does it now, and fails on every "
            "host that does not reach what the mirror publishes.",
        )
        self.playbook("endpoints")

    def breakage(self) -> None:
        self.tell.heading(
            "endpoint3 breaks without a sound",
            "A portal policy on endpoint3 allows the fallback to Microsoft's cloud, and a firewall rule cuts it off "
            "from the mirror. Its next update comes from the cloud: exit status 0, up to date, no error anywhere.",
        )
        broken = HOME / ENDPOINTS[2]
        self.stand_in("break", "--root", broken, "silent_cloud_fallback")
        print(f"\n   $ {(broken / 'usr/bin/mdatp').relative_to(CHECKOUT)} definitions update", flush=True)
        status = self.processes.run(broken / "usr/bin/mdatp", "definitions", "update")
        promise(status == 0, f"the update from the cloud says that all is well (it ended with status {status})")

    def health(self) -> None:
        self.tell.heading(
            "One command says who is protected, and who is not",
            "It asks every host, changes nothing, and ends with an error because something is wrong. Its whole result "
            "is also a file.",
        )
        self.playbook("health", "health.json", expected=2)
        report = read("health.json")
        self.everybody_has(NEW, report, ENDPOINTS[:2])
        third = next(host for host in report["hosts"] if host["name"] == ENDPOINTS[2])
        found = [finding["id"] for finding in third["findings"] if finding["severity"] == "error"]
        promise(third["verdict"] == "error", f"{ENDPOINTS[2]} is found out: {third}")
        promise("source_not_mirror" in found, f"the reason is found: {found}")
        promise(third["definitions_version"] == NEW, f"{ENDPOINTS[2]} looks up to date: {third}")

    def conclusion(self) -> None:
        self.tell.heading("What you saw", "The mirror, the endpoints, and what is wrong with the third one:")
        self.tell.lines(read("health.json")["lines"])
        self.tell.lines(
            [
                f"All promises kept in {self.tell.seconds:.0f} s. Nothing is left running. The files are in .demo/:",
                "  inventory.yml            the inventory that the playbooks ran on",
                "  health.json              the report of the last command",
                "  mirror/srv/              what the mirror serves; mirror/etc/settings.json its settings",
                "  endpoint1..3/            a machine each, with its managed configuration and its agent's state",
                "  web.log                  what the endpoints fetched",
                "",
                "On real hosts, with your own inventory (groups mirrors and endpoints):",
                "  1. make build; ansible-galaxy collection install build/mde-offline-*.tar.gz",
                "  2. serve /srv/mde-mirror of the mirror with a web server, and set endpoint_mirror to its address",
                "  3. ansible-playbook -i inventory mde.offline.site          (with -C: what would change)",
            ]
        )


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HOME / name).read_text(encoding="utf-8"))
    return found


def main() -> int:
    def interrupted(number: int, _frame: object) -> None:
        # A second signal while cleaning up would cut that short.
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        with alone():
            return perform()
    except Interrupted as signalled:
        print("\ndemo: interrupted; nothing is left running. The next demo starts over.", file=sys.stderr)
        return 128 + int(signalled.args[0])


def perform() -> int:
    clear()
    processes = Processes(environment())
    narrator = Narrator(7)
    root = HOME / "mirror" / "srv"
    try:
        with DownloadService(HOME / "service") as service, StaticWebServer(root, log_file=HOME / "web.log") as web:
            demo = Demo(processes, narrator, service, web)
            steps: list[Callable[[], None]] = [demo.prepare, demo.site, demo.release, demo.breakage, demo.health]
            for step in steps:
                step()
    except BrokenPromiseError as broken:
        print(f"\ndemo: FAILED after {narrator.seconds:.0f} s. What should be, and is not: {broken}", file=sys.stderr)
        print(f"demo: what was made so far is in {HOME}.", file=sys.stderr)
        return 1
    finally:
        processes.end()
    demo.conclusion()
    return 0


if __name__ == "__main__":
    sys.exit(main())
