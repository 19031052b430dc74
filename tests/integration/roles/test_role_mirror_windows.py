"""The role mirror on Windows, tested without Windows.

The tasks run with simulated modules that record their options. The options are compared with the documentation of the
real modules. The scripts are parsed, and run if PowerShell is installed.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest
import yaml
from ansible_collections.mde.offline.plugins.module_utils._mirror.sources.replica import read_offers

from tests.support.ansible_runs import Ansible
from tests.support.web import Handler, LocalServer, running
from tools.collection_tree import CHECKOUT, link_checkout

ROLE = CHECKOUT / "roles" / "mirror"
TASKS = sorted((ROLE / "tasks" / "windows").glob("*.yml"))
SCRIPTS = sorted((ROLE / "files" / "windows").glob("*.ps1"))
COLLECTIONS = ("ansible.windows", "community.windows", "microsoft.iis")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ZIP = f"https://example.com/mdatp-xplat/archive/{COMMIT}.zip"
FACTS = {
    "os_family": "Windows",
    "os_product_type": "server",
    "powershell_version": 5,
    "env": {
        "ProgramFiles": r"C:\Program Files",
        "ProgramData": r"C:\ProgramData",
        "SystemRoot": r"C:\Windows",
        "SystemDrive": "C:",
    },
}
GOOD = {
    "mirror_root": r"D:\mde-mirror",
    "mirror_source_type": "script",
    "mirror_source_script_url": ZIP,
    "mirror_hosting": "http",
    "mirror_http_server_name": "mirror.example.com",
    "mirror_windows_account": "LOCAL SERVICE",
    "mirror_windows_readers": [],
    "mirror_windows_certificate": "",
}
# Replaces each module of the three collections: records its options, and returns what the test has prepared.
RECORDER = """\
#!/usr/bin/python
# WANT_JSON
import json, os, sys
folder = os.environ["MDE_RECORDER"]
with open(sys.argv[1]) as handle:
    asked = json.load(handle)
options = {key: value for key, value in asked.items() if not key.startswith("_ansible_")}
with open(os.path.join(folder, "calls"), "a") as handle:
    handle.write(json.dumps({"module": %(name)r, "options": options}) + "\\n")
with open(os.path.join(folder, "answers.json")) as handle:
    print(json.dumps({"changed": False, **json.load(handle).get(%(name)r, {})}))
"""


def windows_tasks() -> list[tuple[str, str, dict]]:
    """Every task for Windows that calls a module of another collection: its place, module and options."""

    def walk(tasks: list, place: str):
        for task in tasks:
            for part in ("block", "rescue", "always"):
                yield from walk(task.get(part) or [], place)
            for key, value in task.items():
                if key.startswith(tuple(f"{name}." for name in COLLECTIONS)):
                    yield f"{place}: {task['name']}", key, value

    return [found for path in TASKS for found in walk(yaml.safe_load(path.read_text(encoding="utf-8")), path.name)]


@pytest.fixture(scope="module")
def recorders(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("recorders")
    for name in {module for _place, module, _options in windows_tasks()}:
        namespace, collection, module = name.split(".")
        folder = root / "ansible_collections" / namespace / collection / "plugins" / "modules"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{module}.py").write_text(RECORDER % {"name": name}, encoding="utf-8")
    return root


class WindowsHosts:
    """Runs the role on simulated Windows hosts, whose modules only record their options."""

    def __init__(self, ansible: Ansible, recorders: Path) -> None:
        self.ansible = ansible
        self.ansible.environment.update(
            # The recorded messages are parsed.
            ANSIBLE_CALLBACK_RESULT_FORMAT="json",
            ANSIBLE_COLLECTIONS_PATH=f"{link_checkout()}{os.pathsep}{recorders}",
            MDE_RECORDER=str(ansible.folder),
        )
        self.answers: dict[str, dict] = {"ansible.windows.setup": {"ansible_facts": FACTS}}
        self.calls: list[tuple[str, dict]] = []
        self.output = ""
        self.known_facts: dict[str, object] = {"os_family": "Windows", "python": {}, "service_mgr": "none"}

    def play(self, hosts: dict[str, dict], *options: str, entry: str = "main") -> dict[str, str]:
        """The messages of the hosts that failed; the recorded calls are in `calls`, the output in `output`."""
        self.ansible.hosts["windows"] = hosts
        (self.ansible.folder / "answers.json").write_text(json.dumps(self.answers), encoding="utf-8")
        calls = self.ansible.folder / "calls"
        calls.write_text("", encoding="utf-8")
        run = self.ansible.tasks(
            {"ansible.builtin.set_fact": {"cacheable": True, **self.known_facts}},
            {"ansible.builtin.include_role": {"name": "mde.offline.mirror", "tasks_from": entry}},
            {"ansible.builtin.debug": {"msg": "address is {{ mirror_address | default('unknown') }}"}},
            options=options,
        )
        self.output = run.output
        lines = calls.read_text(encoding="utf-8").splitlines()
        self.calls = [(call["module"], call["options"]) for call in map(json.loads, lines)]
        failures: dict[str, str] = {}
        for host, result in re.findall(r"^(?:fatal|failed): \[(\w+)\].*? => (\{.*\})$", self.output, re.MULTILINE):
            failures[host] = f"{failures.get(host, '')} {json.loads(result)['msg']}"
        assert (run.status == 0) is not bool(failures), self.output
        return failures

    def asked(self, module: str) -> list[dict]:
        return [options for name, options in self.calls if name == module]

    def settings(self) -> dict:
        (written,) = [copy for copy in self.asked("ansible.windows.win_copy") if "content" in copy]
        assert written["dest"] == r"C:\Program Files\mde-mirror\script\settings.json"
        return json.loads(written["content"])


@pytest.fixture
def windows(ansible, recorders) -> WindowsHosts:
    return WindowsHosts(ansible, recorders)


def test_mirror_is_built_hosted_and_synced(windows):
    windows.answers["ansible.windows.win_powershell"] = {"result": {"served": ["linux/production/arch_x86_64: 1"]}}
    variables = {
        **GOOD,
        "mirror_root": "D:/mde-mirror/",
        "mirror_source_script_commit": COMMIT,
        "mirror_preview": True,
        "mirror_architectures": ["x86_64"],
        "mirror_source_proxy": "http://proxy.example.com:3128",
        "mirror_schedule_spread": "45min",
        "mirror_schedule_interval": 14400,
        "mirror_http_protocols": ["http", "https"],
        "mirror_http_port": 8080,
        "mirror_windows_certificate": "AB" * 20,
    }
    assert windows.play({"win": variables}) == {}

    assert windows.settings() == {
        "downloadFolder": r"D:\mde-mirror.work\downloads",
        "downloadLinuxUpdates": True,
        "downloadMacUpdates": False,
        "downloadPreviewUpdates": True,
        "backupPreviousUpdates": False,
        "logFilePath": r"C:\ProgramData\mde-mirror\downloader.log",
        "mirror": {
            "root": r"D:\mde-mirror",
            "architectures": ["x86_64"],
            "back": True,
            "proxy": "http://proxy.example.com:3128",
        },
    }
    taken, synced = windows.asked("ansible.windows.win_powershell")
    assert taken["parameters"] == {
        "Source": r"C:\Program Files\mde-mirror\downloader.zip",
        "Destination": r"C:\Program Files\mde-mirror\script\xplat_offline_updates_download.ps1",
        "Commit": COMMIT,
    }
    assert synced["parameters"]["Status"] == r"D:\mde-mirror\status.json"
    (fetched,) = windows.asked("ansible.windows.win_get_url")
    assert (fetched["url"], fetched["proxy_url"]) == (ZIP, "http://proxy.example.com:3128")

    (task,) = windows.asked("community.windows.win_scheduled_task")
    (action,), (trigger,) = task["actions"], task["triggers"]
    assert action["path"] == r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"
    assert action["arguments"].endswith(r'-File "C:\Program Files\mde-mirror\mde-mirror-sync.ps1"')
    assert trigger["repetition"] == {"interval": "PT240M", "duration": "P1D"}
    assert (trigger["random_delay"], task["execution_time_limit"]) == ("PT45M", "PT6H")
    assert (task["username"], task["logon_type"], task["path"]) == (
        "LOCAL SERVICE",
        "service_account",
        "\\mde-mirror\\",
    )

    (site,) = windows.asked("microsoft.iis.website")
    plain, secure = site["bindings"]["set"]
    assert (plain["port"], plain["hostname"]) == (8080, "mirror.example.com")
    assert (secure["port"], secure["certificate_hash"]) == (443, "AB" * 20)
    assert 'address is https://mirror.example.com"' in windows.output
    opened, closed = (windows.asked("community.windows.win_firewall_rule")[n] for n in (1, 0))
    assert (opened["localport"], closed["state"]) == ("8080,443", "absent")

    # Only the root and its work folder are readable for the account of the web server.
    reading = [rule["path"] for rule in windows.asked("ansible.windows.win_acl") if rule["rights"] == "ReadAndExecute"]
    assert set(reading) == {r"D:\mde-mirror", r"D:\mde-mirror.work"}
    modules = [module for module, _options in windows.calls]
    assert modules.index("microsoft.iis.website") < len(modules) - 1 - modules[::-1].index(
        "ansible.windows.win_powershell"
    )


def test_share_is_for_its_readers_and_replaces_the_site(windows):
    windows.answers["ansible.windows.win_stat"] = {"stat": {"exists": True}}
    variables = {
        **GOOD,
        "mirror_hosting": "smb",
        "mirror_windows_readers": [r"EXAMPLE\linux-servers", r"EXAMPLE\admins"],
        "mirror_windows_account": r"EXAMPLE\mde-mirror$",
        "mirror_source_script_url": "",
        "mirror_source_script_path": r"D:\clones\mdatp-xplat",
        "mirror_scheduler": "none",
        "mirror_log_file": r"D:\logs\mde\downloader.log",
    }
    assert windows.play({"win": variables}) == {}
    (share,) = windows.asked("ansible.windows.win_share")
    assert (share["read"], share["encrypt"]) == (r"EXAMPLE\linux-servers,EXAMPLE\admins", True)
    assert {"full", "change"}.isdisjoint(share)
    (site,) = windows.asked("microsoft.iis.website")
    assert site["state"] == "absent"
    (task,) = windows.asked("community.windows.win_scheduled_task")
    assert (task["logon_type"], task["triggers"][0]["enabled"]) == ("password", False)
    assert windows.asked("ansible.windows.win_powershell")[0]["parameters"]["Source"] == r"D:\clones\mdatp-xplat"
    assert windows.asked("ansible.windows.win_get_url") == []
    assert windows.settings()["logFilePath"] == r"D:\logs\mde\downloader.log"
    assert 'address is //mirror.example.com/mde-mirror"' in windows.output


def test_check_mode_starts_no_sync_and_needs_nothing_that_does_not_exist_yet(windows):
    for module in ("win_file", "win_get_url", "win_feature"):
        windows.answers[f"ansible.windows.{module}"] = {"changed": True}
    assert windows.play({"win": GOOD}, "--check") == {}
    assert windows.asked("ansible.windows.win_powershell") == []
    assert windows.asked("ansible.windows.win_acl") == []
    assert windows.asked("microsoft.iis.website") == []


def test_everything_but_the_data_is_removed(windows):
    windows.answers["ansible.windows.win_stat"] = {"stat": {"exists": True}}
    assert windows.play({"win": {**GOOD, "mirror_state": "absent"}}) == {}
    assert {options["state"] for _module, options in windows.calls if "state" in options} == {"absent"}
    removed = {options["path"] for options in windows.asked("ansible.windows.win_file")}
    assert removed == {r"D:\mde-mirror\web.config", r"C:\Program Files\mde-mirror", r"D:\mde-mirror.work"}
    modules = [module for module, _options in windows.calls]
    for module in ("win_scheduled_task", "win_firewall_rule"):
        assert f"community.windows.{module}" in modules
    assert modules.index("ansible.windows.win_share") < modules.index("community.windows.win_scheduled_task")


@pytest.mark.parametrize("entry", ["main", "sync"])
def test_role_selects_the_tasks_for_windows_itself(entry, windows):
    assert windows.play({"win": GOOD}, entry=entry) == {}
    assert windows.calls[-1][0] == "ansible.windows.win_powershell"


def test_a_failed_sync_reports_the_error_of_the_host(windows):
    error = [{"exception": {"message": "linux/production/arch_x86_64: updates.zip is empty"}}]
    windows.answers["ansible.windows.win_powershell"] = {"failed": True, "error": error}
    failures = windows.play({"win": GOOD}, entry="sync")
    assert "updates.zip is empty" in failures["win"]


def test_what_cannot_work_is_refused_with_advice(windows):
    wrong = {
        "channels": ({"mirror_retain": 5}, "mirror_retain has no meaning"),
        "settings": ({"mirror_settings": {"source": {"retries": 5}}}, "mirror_settings has no meaning"),
        "source": ({"mirror_source_type": "microsoft"}, "mirror_source_type to script"),
        "both": ({"mirror_source_script_path": r"D:\clone"}, "either mirror_source_script_url"),
        "clone": ({"mirror_source_script_url": "https://example.com/x.git"}, "zip of the mdatp-xplat repository"),
        "commit": ({"mirror_source_script_commit": "0123456"}, "40 digits"),
        "linux_root": ({"mirror_root": "/srv/mde-mirror"}, "paths of Windows"),
        "drive": ({"mirror_root": "D:\\"}, "paths of Windows"),
        "shared_root": ({"mirror_root": r"c:\program files"}, "holds nothing else"),
        "system": ({"mirror_windows_account": "SYSTEM"}, "LOCAL SERVICE"),
        "interval": ({"mirror_schedule_interval": 60}, "mirror_schedule_interval"),
        "spread": ({"mirror_schedule_spread": "1h 30min"}, "mirror_schedule_spread"),
        "scheduler": ({"mirror_scheduler": "cron"}, "mirror_scheduler auto or none"),
        "proxy": ({"mirror_source_proxy": "http://me:secret@proxy:3128"}, "holds a user or password"),
        "nfs": ({"mirror_hosting": "nfs"}, "http (IIS) or smb"),
        "readers": ({"mirror_hosting": "smb"}, "mirror_windows_readers"),
        "https": ({"mirror_http_protocols": ["https"]}, "mirror_windows_certificate"),
    }
    failures = windows.play({name: {**GOOD, **variables} for name, (variables, _advice) in wrong.items()})
    lacking = {name: failures.get(name) for name, (_v, advice) in wrong.items() if advice not in failures.get(name, "")}
    assert lacking == {}
    assert "secret" not in windows.output
    assert {module for module, _options in windows.calls} == {"ansible.windows.setup"}


def test_a_workstation_is_refused(windows):
    windows.answers["ansible.windows.setup"] = {"ansible_facts": {**FACTS, "os_product_type": "workstation"}}
    assert "workstation" in windows.play({"win": GOOD})["win"]


@pytest.fixture
def tool(monkeypatch):
    """Imports a tool by its plain name, as the tools import each other."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools"))
    yield importlib.import_module
    for name in ("lint", "community_collections"):
        sys.modules.pop(name, None)


def invalid_options(options: dict, described: dict, place: str) -> list[str]:
    """Options and suboptions that the documentation of the module does not list, and required ones that are missing."""
    known = {alias: name for name, option in described.items() for alias in (name, *option.get("aliases", ()))}
    found = [f"{place}: no option {name}" for name in options if name not in known]
    given = {known[name] for name in options if name in known}
    found += [f"{place}: {name} is missing" for name, o in described.items() if o.get("required") and name not in given]
    for name, value in options.items():
        option = described.get(known.get(name, ""), {})
        choices = option.get("choices")
        if choices and not (isinstance(value, str) and "{{" in value) and value not in choices:
            found.append(f"{place}: {name} cannot be {value}")
        for inner in value if isinstance(value, list) else [value]:
            if option.get("suboptions") and isinstance(inner, dict):
                found += invalid_options(inner, option["suboptions"], f"{place} {name}")
    return found


def test_the_modules_support_the_options_that_the_tasks_use(tool):
    community = tool("community_collections")
    try:
        place = community.provide(*COLLECTIONS)
    except community.Unavailable as exc:
        pytest.skip(f"the options of the Windows modules were not compared with their documentation: {exc}")
    tasks = windows_tasks()
    names = sorted({module for _place, module, _options in tasks})
    command = [sys.executable, "-m", "ansible", "doc", "--json", "--type", "module", *names]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(place)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    documented = {name: entry["doc"].get("options", {}) for name, entry in json.loads(done.stdout).items()}
    assert [
        text for where, module, options in tasks for text in invalid_options(options, documented[module], where)
    ] == []


def test_collections_are_extracted_from_the_wheel(tool, tmp_path, monkeypatch):
    community = tool("community_collections")
    wheel = tmp_path / "ansible-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("ansible/windows", "ansible/windows_more", "community/windows"):
            archive.writestr(f"ansible_collections/{name}/MANIFEST.json", "{}")
    monkeypatch.setattr(community, "PLACE", tmp_path / "place")
    monkeypatch.setattr(community, "_download", lambda folder: wheel)
    assert community.provide("ansible.windows") == tmp_path / "place"
    extracted = {path.parent.name for path in (tmp_path / "place").rglob("MANIFEST.json")}
    assert extracted == {"windows"}
    assert not community.folder_of("community.windows").exists()
    with pytest.raises(community.Unavailable, match=r"does not contain the collection no\.such"):
        community.provide("ansible.windows", "no.such")


def test_lint_reports_what_it_skips(tool, tmp_path, monkeypatch, capsys):
    lint, community = tool("lint"), tool("community_collections")
    monkeypatch.setattr(community, "PLACE", tmp_path / "place")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.delenv("MDE_SKIPPED", raising=False)
    assert lint.windows_collections() == ([], ["--exclude", "roles/mirror/tasks/windows"])
    messages = capsys.readouterr().err
    assert "SKIPPED ansible-lint of roles/mirror/tasks/windows" in messages
    assert "pip download" in messages
    assert (CHECKOUT / lint.WINDOWS_TASKS).is_dir()
    assert set(lint.WINDOWS_COLLECTIONS) == set(COLLECTIONS)


def test_only_these_collections_are_called():
    # docs/windows.md lists the collections that users must install.
    called = {".".join(module.split(".")[:2]) for _place, module, _options in windows_tasks()}
    page = (CHECKOUT / "docs" / "windows.md").read_text(encoding="utf-8")
    assert called == set(COLLECTIONS)
    assert [name for name in COLLECTIONS if f"name: {name}" not in page] == []


def test_the_site_allows_only_get_and_head_of_packages():
    server = ElementTree.parse(ROLE / "files" / "windows" / "web.config").getroot().find("system.webServer")
    filtering = server.find("security/requestFiltering")
    for kind, attribute, allowed in (
        ("verbs", "verb", {"GET", "HEAD"}),
        ("fileExtensions", "fileExtension", {".zip", ".json"}),
    ):
        rules = filtering.find(kind)
        assert rules.get("allowUnlisted") == "false"
        assert {rule.get(attribute) for rule in rules.findall("add") if rule.get("allowed") == "true"} == allowed
        assert rules[0].tag == "clear"
    assert server.find("directoryBrowse").get("enabled") == "false"
    assert {rule.get("fileExtension") for rule in server.findall("staticContent/mimeMap")} == {".zip", ".json"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_powershell(script):
    reason = "the Python package tree-sitter-powershell, which parses PowerShell, is not installed"
    tree_sitter = pytest.importorskip("tree_sitter", reason=reason)
    powershell = pytest.importorskip("tree_sitter_powershell", reason=reason)
    parser = tree_sitter.Parser(tree_sitter.Language(powershell.language()))
    text = script.read_bytes()
    # Windows PowerShell decodes a script without a byte order mark with the code page of the host.
    assert text.isascii()

    def wrong(node):
        return (
            [node]
            if node.type == "ERROR" or node.is_missing
            else [bad for child in node.children for bad in wrong(child)]
        )

    assert [f"line {node.start_point[0] + 1}: {node.text[:60]!r}" for node in wrong(parser.parse(text).root_node)] == []
    assert parser.parse(text[: text.rindex(b"}")]).root_node.has_error


# --- The sync script, if PowerShell is installed ---------------------------------------------------------------------

# Copies the prepared package unless there is a manifest already; like the original, always ends with status 0.
DOWNLOADER = """$settings = Get-Content -Raw (Join-Path $PSScriptRoot 'settings.json') | ConvertFrom-Json
foreach ($arch in 'x86_64', 'arm64') {
    $folder = Join-Path $settings.downloadFolder "linux/production/arch_$arch"
    if (-not (Test-Path (Join-Path $folder 'manifest.json'))) {
        New-Item -ItemType Directory -Force -Path $folder | Out-Null
        Copy-Item -Path (Join-Path $PSScriptRoot 'left/*') -Destination $folder
    }
}
exit 0
"""


class ScheduledSync:
    """A mirror of one architecture, with the package that the simulated download script is going to copy."""

    def __init__(self, folder: Path, address: str) -> None:
        self.root, self.work, self.script = folder / "root", folder / "root.work", folder / "script"
        self.address = address
        self.served = self.root / "linux" / "production" / "arch_x86_64"
        (self.script / "left").mkdir(parents=True)
        self.root.mkdir()
        (self.script / "xplat_offline_updates_download.ps1").write_text(DOWNLOADER)
        settings = {
            "downloadFolder": str(self.work / "downloads"),
            "downloadLinuxUpdates": True,
            "logFilePath": str(folder / "downloader.log"),
            "mirror": {"root": str(self.root), "architectures": ["x86_64"], "back": True, "proxy": ""},
        }
        (self.script / "settings.json").write_text(json.dumps(settings))

    def leave(self, version: str, damage: bool = False) -> None:
        left = self.script / "left"
        with zipfile.ZipFile(left / "updates.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("definitions", version * 5000)
        if damage:
            data = (left / "updates.zip").read_bytes()
            (left / "updates.zip").write_bytes(data[: len(data) // 2])
        manifest = {"EngineVersion": "1.1.1.1", "DefinitionVersion": version}
        (left / "manifest.json").write_text(json.dumps(manifest))

    def sync(self) -> int:
        script = ROLE / "files" / "windows" / "mde-mirror-sync.ps1"
        command = [shutil.which("pwsh"), "-NoProfile", "-NonInteractive", "-File", str(script)]
        options = ["-SettingsFile", str(self.script / "settings.json"), "-Service", self.address]
        return subprocess.run([*command, *options], stdin=subprocess.DEVNULL, check=False).returncode

    def version(self, folder: Path) -> str:
        return json.loads((folder / "manifest.json").read_text(encoding="utf-8-sig"))["DefinitionVersion"]


@pytest.fixture
def offered():
    """The version that the simulated service offers; tests change it."""
    return {"version": "1.443.508.0"}


@pytest.fixture
def scheduled(tmp_path, offered):
    if not shutil.which("pwsh"):
        pytest.skip("no PowerShell (pwsh) on PATH: the sync of Windows mirrors was parsed but not run")

    class Service(Handler):
        def do_GET(self) -> None:
            versions = (
                "<versions><engine>1.1.1.1</engine>"
                f'<signatures date="2026-11-20 10:00:00Z">{offered["version"]}</signatures></versions>'
            )
            self.answer(200, versions.encode(), {"Content-Type": "text/xml"})

    with running(LocalServer(Service)) as server:
        yield ScheduledSync(tmp_path, f"{server.url}/fwlink/")


def test_sync_publishes_verified_packages_and_keeps_the_previous_one(scheduled, offered):
    scheduled.leave("1.443.508.0")
    assert scheduled.sync() == 0
    offered["version"] = "1.443.509.0"
    scheduled.leave("1.443.509.0")
    assert scheduled.sync() == 0
    assert scheduled.version(scheduled.served) == "1.443.509.0"
    assert scheduled.version(scheduled.root / "linux/production_back/arch_x86_64") == "1.443.508.0"
    assert not (scheduled.root / "linux/production/arch_arm64").exists()
    status = json.loads((scheduled.root / "status.json").read_text())
    assert read_offers(status).keys() == {"linux/production/arch_x86_64"}
    assert status["last_sync"]["result"] == "ok"


@pytest.mark.parametrize("fault", ["damaged", "moved", "lower", "nothing"])
def test_faults_of_the_download_script_do_not_change_the_served_package(fault, scheduled, offered):
    scheduled.leave("1.443.508.0")
    assert scheduled.sync() == 0
    before = (scheduled.served / "updates.zip").read_bytes()
    offered["version"] = "1.443.400.0" if fault == "lower" else "1.443.509.0"
    scheduled.leave("1.443.510.0" if fault == "moved" else offered["version"], damage=fault == "damaged")
    if fault == "nothing":
        (scheduled.script / "left" / "updates.zip").unlink()
    assert scheduled.sync() == 1
    assert (scheduled.served / "updates.zip").read_bytes() == before
    assert scheduled.version(scheduled.served) == "1.443.508.0"
    assert json.loads((scheduled.root / "status.json").read_text())["last_sync"]["result"] == "failed"


def test_sync_replaces_a_damaged_package_although_nothing_is_new(scheduled):
    scheduled.leave("1.443.508.0")
    assert scheduled.sync() == 0
    (scheduled.served / "updates.zip").write_bytes(b"PK no more")
    assert scheduled.sync() == 0
    assert zipfile.is_zipfile(scheduled.served / "updates.zip")
