"""`make demo`: a complete example on this machine without root: a mirror and three endpoints, one of them broken.

All files are in `.demo/` of the checkout. The collection, ansible-playbook and HTTP are real. Microsoft's download
service and the agent (`mdatp`) are simulated. The demo verifies each result, and fails if a result is not as expected.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
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
PREFIX = "mde-offline-demo-"


class UnexpectedResultError(Exception):
    """A result of the demo is not as expected; the message describes the expected result."""


class Interrupted(BaseException):
    """The demo received a signal to end."""


# --- Output -------------------------------------------------------------------------------------------------------


class Output:
    """Prints headings that describe each step."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0
        self._started = time.monotonic()
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def heading(self, title: str, description: str) -> None:
        self._step += 1
        seconds = time.monotonic() - self._started
        line = f"== {self._step}/{self._steps}  {title}  ({seconds:.0f} s)"
        print(f"\n\033[1m{line}\033[0m" if self._colour else f"\n{line}")
        self.paragraph(description)

    def paragraph(self, text: str) -> None:
        filled = textwrap.fill(text, 90, break_long_words=False, break_on_hyphens=False)
        print(textwrap.indent(filled, "   "), flush=True)

    def lines(self, lines: list[str]) -> None:
        print("\n" + "\n".join(f"   {line}".rstrip() for line in lines), flush=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


def expect(result: bool, description: str) -> None:
    if not result:
        raise UnexpectedResultError(description)


# --- Processes ----------------------------------------------------------------------------------------------------


class Processes:
    """Starts commands, and ends them with all their child processes.

    The workers of Ansible and their child processes have their own sessions, so a signal to the process group does not
    reach them. Instead, a mark in their environment identifies all processes of this run.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self._environment = {**environment, name: value}
        self._running: subprocess.Popen[bytes] | None = None

    def run(self, *command: str | Path, quiet: bool = False) -> int:
        """Runs a command, whose output is shown immediately, and returns its exit status.

        The output passes through this process, because Ansible may end an interrupted run with a traceback of its own.
        """
        # Without `with`: its __exit__ would wait for the end of the command after a signal.
        self._running = subprocess.Popen(
            [str(word) for word in command],
            env=self._environment,
            cwd=HOME,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._running.stdout is not None
        while chunk := os.read(self._running.stdout.fileno(), 65536):
            if not quiet:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
        status = self._running.wait()
        self._running = None
        return status

    def end(self) -> None:
        """Ends all processes: first with SIGINT, as Ctrl-C does, then with SIGTERM and SIGKILL."""
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(3)
        for number, seconds in ((signal.SIGTERM, 2), (signal.SIGKILL, 30)):
            signalled: set[int] = set()
            deadline = time.monotonic() + seconds
            while (running := set(self._marked())) and time.monotonic() < deadline:
                # Includes processes that were started in the meantime. One signal each, so that they can clean up.
                for process in running - signalled:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, number)
                signalled |= running
                time.sleep(0.05)
        if self._running is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(1)

    def _marked(self) -> list[int]:
        """The processes of this run that still exist; none without /proc."""
        mark = self._mark.encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                running = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
                if running and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


# --- Setup --------------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """The environment of ansible-playbook: ignores the user's Ansible configuration and uses paths in `.demo`."""
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
# Written by make demo. To use it: ANSIBLE_CONFIG=.demo/ansible.cfg ansible-playbook ...
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


def machine(name: str) -> Path:
    """The folder of an endpoint."""
    return (HOME / name).resolve()


def make_machines() -> None:
    """Creates the folders of the endpoints, in which only root and this user may write their managed configuration.

    If others can write the checkout, `.demo` has links to folders in the system's folder for temporary files.
    """
    above = [folder.stat() for folder in (HOME, *HOME.parents)]
    shared = any(
        status.st_uid not in (0, os.geteuid()) or (status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX)
        for status in above
    )
    for name in ENDPOINTS:
        if shared:
            (HOME / name).symlink_to(tempfile.mkdtemp(prefix=PREFIX))
        else:
            (HOME / name).mkdir()


def inventory(service: str, mirror: str) -> dict[str, Any]:
    """The inventory: one mirror and three endpoints on this machine. It is written as JSON, which is valid YAML."""
    host = HOME / "mirror"

    def endpoint(name: str) -> dict[str, str]:
        root = machine(name)
        return {
            "endpoint_mdatp": str(root / "usr/bin/mdatp"),
            "endpoint_managed_file": str(root / "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"),
            "endpoint_record_file": str(root / "var/lib/mde-offline/endpoint.json"),
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
    """Removes the files of an earlier demo, except for the lock."""
    for name in ENDPOINTS:
        made = machine(name)
        if (HOME / name).is_symlink() and made.parent == Path(tempfile.gettempdir()) and PREFIX in made.name:
            shutil.rmtree(made, ignore_errors=True)
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
            raise SystemExit(f"demo: another demo is running in {HOME}. Wait until it ends, or stop it.") from None
        yield


class Demo:
    """The steps of the demo."""

    def __init__(self, processes: Processes, output: Output, service: DownloadService, web: StaticWebServer) -> None:
        self.processes = processes
        self.output = output
        self.service = service
        self.web = web

    def prepare(self) -> None:
        self.output.heading(
            "Setup",
            f"A simulation of Microsoft's download service publishes definitions {OLD} on loopback. Three simulated "
            "machines get a simulated agent, which is passive and has old definitions, as after an installation.",
        )
        (HOME / "ansible.cfg").write_text(CONFIGURATION, encoding="utf-8")
        content = json.dumps(inventory(self.service.url, self.web.url), indent=2) + "\n"
        (HOME / "inventory.yml").write_text(content, encoding="utf-8")
        namespace = HOME / "collections" / "ansible_collections" / "mde"
        namespace.mkdir(parents=True)
        (namespace / "offline").symlink_to(Path(os.path.relpath(CHECKOUT, namespace)), target_is_directory=True)
        self.publish(OLD)
        for name in ENDPOINTS:
            self.simulate_agent("install", "--root", machine(name), "--cloud", self.service.url)

    def publish(self, version: str) -> None:
        self.service.publish(version, ENGINE, platform="linux", ring="production", size=PACKAGE_BYTES)

    def simulate_agent(self, *arguments: str | Path) -> None:
        status = self.processes.run(sys.executable, CHECKOUT / "simulators" / "mdatp.py", *arguments, quiet=True)
        expect(status == 0, f"simulators/mdatp.py {arguments[0]} succeeds (it ended with status {status})")

    def playbook(self, name: str, report: str = "", expected: int = 0) -> None:
        print(f"\n   $ ansible-playbook mde.offline.{name}\n", flush=True)
        options = ["-e", json.dumps({"mde_report": str(HOME / report)})] if report else []
        status = self.processes.run(sys.executable, "-m", "ansible", "playbook", f"mde.offline.{name}", *options)
        wanted = "succeeds" if expected == 0 else f"ends with status {expected}, because something is wrong"
        expect(status == expected, f"ansible-playbook mde.offline.{name} {wanted} (it ended with status {status})")

    def published(self) -> set[str]:
        status = json.loads((HOME / "mirror" / "srv" / "status.json").read_text(encoding="utf-8"))
        return {channel["definitions_version"] for channel in status["channels"]}

    def expect_version(self, version: str, report: dict[str, Any], names: tuple[str, ...] = ENDPOINTS) -> None:
        hosts = {host["name"]: host for host in report["hosts"]}
        for name in names:
            host = hosts[name]
            expect(host["definitions_version"] == version, f"{name} has definitions {version}: {host}")
            expect(str(host["source"]).startswith(self.web.url), f"{name} updated from the mirror: {host}")
            expect(host["verdict"] == "ok", f"{name} is healthy: {host}")

    def site(self) -> None:
        self.output.heading(
            "Set up the mirror and the endpoints",
            "One playbook builds the mirror, syncs it, configures the endpoints, updates them and checks that their "
            "definitions really came from the mirror.",
        )
        self.playbook("site", "site.json")
        expect(self.published() == {OLD}, f"the mirror serves {OLD}")
        self.expect_version(OLD, read("site.json"))

    def release(self) -> None:
        self.output.heading(
            "Microsoft publishes a new release",
            f"The download service now offers {NEW}. On real hosts a timer syncs the mirror; here a playbook does it "
            "immediately. The release that was served before is still available as production_back.",
        )
        self.publish(NEW)
        self.playbook("sync")
        expect(self.published() == {NEW}, f"the mirror serves {NEW}")
        self.output.heading(
            "Update the endpoints",
            "The agents would update by their own timer within hours. This playbook updates them now, and fails on "
            "each host that does not get the release that the mirror publishes.",
        )
        self.playbook("endpoints")

    def breakage(self) -> None:
        self.output.heading(
            "endpoint3 fails without an error",
            "A portal policy enables the fallback to Microsoft's cloud on endpoint3, and a firewall rule blocks its "
            "access to the mirror. Its next update comes from the cloud: exit status 0, up to date, no error message.",
        )
        broken = machine(ENDPOINTS[2])
        self.simulate_agent("break", "--root", broken, "silent_cloud_fallback")
        print(f"\n   $ {(broken / 'usr/bin/mdatp').relative_to(CHECKOUT)} definitions update", flush=True)
        status = self.processes.run(broken / "usr/bin/mdatp", "definitions", "update")
        expect(status == 0, f"the update from the cloud reports success (it ended with status {status})")

    def health(self) -> None:
        self.output.heading(
            "Check all hosts with one command",
            "The playbook checks every host and changes nothing. It ends with an error because something is wrong. The "
            "complete result is also written to a file.",
        )
        self.playbook("health", "health.json", expected=2)
        report = read("health.json")
        self.expect_version(NEW, report, ENDPOINTS[:2])
        third = next(host for host in report["hosts"] if host["name"] == ENDPOINTS[2])
        found = [finding["id"] for finding in third["findings"] if finding["severity"] == "error"]
        expect(third["verdict"] == "error", f"{ENDPOINTS[2]} is reported as faulty: {third}")
        expect("source_not_mirror" in found, f"the cause is reported: {found}")
        expect(third["definitions_version"] == NEW, f"{ENDPOINTS[2]} has the new definitions: {third}")

    def conclusion(self) -> None:
        self.output.heading(
            "Summary", "The state of the mirror and the endpoints, with the cause of the fault on endpoint3:"
        )
        self.output.lines(read("health.json")["lines"])
        self.output.lines(
            [
                f"All results were as expected ({self.output.seconds:.0f} s). Nothing is running. Files in .demo/:",
                "  inventory.yml            the inventory of the playbooks",
                "  health.json              the report of the last command",
                "  mirror/srv/              the mirror; its settings are in mirror/etc/settings.json",
                "  endpoint1..3/            one folder per machine: managed configuration, state of the agent",
                "  web.log                  the requests of the endpoints",
                "",
                "On real hosts, with your own inventory (groups mirrors and endpoints):",
                "  1. make build; ansible-galaxy collection install build/mde-offline-*.tar.gz",
                "  2. set mirror_hosting: http for the mirrors, and endpoint_mirror: http://MIRROR for the endpoints",
                "  3. ansible-playbook -i inventory mde.offline.site          (with -C: only show what would change)",
            ]
        )


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HOME / name).read_text(encoding="utf-8"))
    return found


def main() -> int:
    def interrupted(number: int, _frame: object) -> None:
        # A second signal must not interrupt the cleanup.
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    os.umask(0o022)
    try:
        with alone():
            return perform()
    except Interrupted as signalled:
        print("\ndemo: interrupted; all processes have ended. The next demo starts again.", file=sys.stderr)
        return 128 + int(signalled.args[0])


def perform() -> int:
    clear()
    make_machines()
    processes = Processes(environment())
    output = Output(7)
    root = HOME / "mirror" / "srv"
    try:
        with DownloadService(HOME / "service") as service, StaticWebServer(root, log_file=HOME / "web.log") as web:
            demo = Demo(processes, output, service, web)
            steps: list[Callable[[], None]] = [demo.prepare, demo.site, demo.release, demo.breakage, demo.health]
            for step in steps:
                step()
    except UnexpectedResultError as unexpected:
        print(f"\ndemo: FAILED after {output.seconds:.0f} s. Expected: {unexpected}", file=sys.stderr)
        print(f"demo: the files are in {HOME}.", file=sys.stderr)
        return 1
    finally:
        processes.end()
    demo.conclusion()
    return 0


if __name__ == "__main__":
    sys.exit(main())
