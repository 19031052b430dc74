"""Simulates the `mdatp` agent: creates an endpoint in a directory, whose `mdatp` behaves as publicly documented.

It is one file and needs only the standard library (Python >= 3.6), so that it can be copied into a container.
docs/simulators.md describes its use, and which of its behaviour is documented and which is not.
"""

import argparse
import calendar
import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import sys
import textwrap
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

DEFAULT_VERSION = "101.26062.0005"
# The definitions that come with the agent. Their versions are from early 2026; they are old enough to be out of date.
SHIPPED_ENGINE, SHIPPED_DEFINITIONS, SHIPPED_AGE = "1.1.26010.1003", "1.445.553.0", 30 * 86400
SHIPPED_FOLDER = "00000000-0000-0000-0000-000000000000"
LIFETIME = 270 * 86400
OUT_OF_DATE_AFTER = 7 * 86400
CLOUD_NAME = "https://go.microsoft.com/fwlink/?linkid=2144709"
CONNECTIVITY = (
    "https://cdn.x.cp.wd.microsoft.com/ping",
    "https://x.cp.wd.microsoft.com/api/report",
    "https://winatp-gw-cus.microsoft.com/test",
    "https://v20.events.data.microsoft.com/ping",
)
ATTENTION = "ATTENTION: No license found. Contact your administrator for help."
NO_DAEMON = "Could not connect to the daemon"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# A wrapped value continues on lines that are indented to its first character.
WRAP_AT, WRAP_INDENT = 60, " " * 46

# Faulty states. "public": known from public documentation or reports; "-": not known, but parsers must cope with it.
STATES = {
    "daemon_down": ("public", "the daemon cannot be reached: every command exits with a non-zero status"),
    "unlicensed": ("public", "not onboarded: ATTENTION line, missing license, org_id unavailable"),
    "expired": ("public", "the release has expired: ATTENTION line and missing license on an onboarded host"),
    "health_hangs": ("public", "`mdatp health` never returns"),
    "update_hangs": ("public", "`mdatp definitions update` never returns"),
    "update_without_effect": ("public", "`mdatp definitions update` exits with status 0 and changes nothing"),
    "update_fails": ("public", "`mdatp definitions update` fails with a message, and health shows the reason"),
    "slow_health": ("public", "after an update, some calls of health show the old values (set health_lag=N)"),
    "passive": ("public", "a portal policy sets the agent to passive and overrides the file"),
    "engine_not_loaded": ("public", "the engine is not loaded although real-time protection needs it"),
    "engine_not_available": ("public", "health issue `engine v1 not available` (/var is mounted noexec)"),
    "rtp_unavailable": ("public", "real-time protection rows are `unavailable`, no event provider"),
    "log_folder_permissions": ("public", "health issue `log folder permission issues`"),
    "conflicting_application": ("public", "another product is in conflicting_applications"),
    "managed_config_ignored": ("public", "the managed file has no effect; nothing is [managed]"),
    "mirror_unreachable": ("public", "the agent cannot download from the mirror"),
    "silent_cloud_fallback": ("public", "the mirror fails, and a portal policy enables the fallback to the cloud"),
    "tls_inspection": ("public", "cloud connections fail with curl error 60"),
    "no_json": ("public", "a version of the command line without the option `--output`"),
    "messages_on_stderr": ("public", "ATTENTION and error messages are written to stderr (the stream is undocumented)"),
    "noise_on_stderr": ("-", "every call also writes a warning to stderr; exit status and stdout do not change"),
    "wrapped_values": ("-", "long values of the text tables continue on further lines"),
}
# Events change the stored values once. A later successful update replaces the values.
EVENTS = {
    "definitions_stale": ("public", "the definitions are 10 days old, but the agent reports up_to_date"),
    "definitions_out_of_date": ("public", "the definitions are 8 days old; out_of_date from 101.24122.0001 on"),
    "definitions_unavailable": ("public", "there are no definitions: status unavailable, not healthy"),
    "definitions_updating": ("public", "the first download is in progress: status updating, not healthy"),
    "from_cloud": ("public", "the definitions came from the cloud, independent of the configuration"),
}

DEFAULTS = {
    "app_version": DEFAULT_VERSION,
    "arch": "x86_64",
    "cloud": "",  # URL of the download service; "" = cannot be reached
    "cloud_source_uri": CLOUD_NAME,  # the value of definitions_update_source_uri after an update from the cloud
    "ca_file": "",  # the trusted CA certificates; "" = those of the system
    "network_timeout": 20,
    "clock": "",  # the present time; "" = that of the system
    "date_zone": "utc",  # or "local": the time zone of dates in the text tables is undocumented
    "release_ring": "Production",
    "org_id": "",
    "machine_guid": "",
    "product_expiration": 0,
    "health_lag": 0,
    "update_fail_text": "Security intelligence update failed",
    "older_definitions": "accept",  # or "refuse": whether the agent takes an older set is undocumented
    "fallback_marker": "[managed]",  # or " [managed]": both forms are published for this row
    "json_unavailable": "string",  # or "null", "absent": undocumented
    "json_attention": True,  # whether the ATTENTION line also precedes JSON is undocumented
    "broken": [],
    "rows": {},  # rows of health to replace or add: name -> JSON value; null = unavailable
}  # type: Dict[str, Any]
CHOICES = {
    "arch": ("x86_64", "arm64"),
    "older_definitions": ("accept", "refuse"),
    "date_zone": ("utc", "local"),
    "fallback_marker": ("[managed]", " [managed]"),
    "json_unavailable": ("string", "null", "absent"),
}
STORED = {
    "definitions_version": "version",
    "engine_version": "engine",
    "definitions_updated": "updated",
    "definitions_status": "status",
    "definitions_update_source_uri": "source_uri",
    "definitions_update_fail_reason": "fail_reason",
}


class Moment(NamedTuple):
    """A point in time as a value of a row."""

    epoch: float


class Status(NamedTuple):
    """The value of definitions_status."""

    name: str


class Setting(NamedTuple):
    """The value of a setting, and whether it comes from the managed configuration."""

    value: Any
    managed: bool = False


class Row(NamedTuple):
    """A row of health. A `setting` is an object in JSON. The value None is shown as the bare word `unavailable`."""

    name: str
    value: Any
    setting: bool = False
    managed: bool = False
    shown: bool = True
    marker: str = " [managed]"


class Reply(NamedTuple):
    """The output and exit status of one call of `mdatp`."""

    stdout: str
    stderr: str
    code: int


class Misuse(Exception):
    """The simulator or its `mdatp` was called with invalid arguments."""


class UpdateFailed(Exception):
    """An update from a source failed. The message becomes definitions_update_fail_reason."""


class NoDaemon(Exception):
    """The client cannot reach the daemon."""


def number(version: str) -> Tuple[int, ...]:
    """The parts of a version as numbers, for comparisons."""
    return tuple(int(part) for part in version.split("."))


def camel(name: str) -> str:
    """The JSON key of a row."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def moment_of(text: str) -> float:
    """Converts seconds since the epoch, or an ISO 8601 time in UTC, to seconds since the epoch."""
    with contextlib.suppress(ValueError):
        return float(text)
    try:
        return float(calendar.timegm(time.strptime(text.replace(" ", "T").rstrip("Z")[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        raise Misuse(f"{text!r} is not a time. Use seconds since 1970 or YYYY-MM-DDTHH:MM:SSZ.") from None


def write_json(path: Path, content: Any) -> None:
    """Replaces a file in one step."""
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    staged.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    staged.replace(path)


# ---------------------------------------------------------------------------------------------------------------------
# The keys of the managed configuration that the simulator uses. Values of a wrong type and unknown words are ignored.


class Key(NamedTuple):
    path: str
    since: str
    default: Any
    accepts: Callable[[Any], bool]


def one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in words


def of_type(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


SWITCH = one_of("enabled", "disabled")
KEYS = {
    "level": Key("antivirusEngine.enforcementLevel", "101.10.72", None, one_of("real_time", "on_demand", "passive")),
    "audit": Key("antivirusEngine.enforcementLevel", "101.26062.0005", None, one_of("audit")),
    "behavior": Key("antivirusEngine.behaviorMonitoring", "101.45.00", "disabled", SWITCH),
    "offline": Key("antivirusEngine.offlineDefinitionUpdate", "101.24022.0001", "disabled", SWITCH),
    "url": Key("antivirusEngine.offlineDefinitionUpdateUrl", "101.24022.0001", "", of_type(str)),
    "fallback": Key("antivirusEngine.offlineDefinitionUpdateFallbackToCloud", "101.24022.0001", False, of_type(bool)),
    "verify_sig": Key("features.offlineDefinitionUpdateVerifySig", "101.24022.0001", "disabled", SWITCH),
    "automatic": Key("cloudService.automaticDefinitionUpdateEnabled", "0", True, of_type(bool)),
    "interval": Key("cloudService.definitionUpdatesInterval", "0", 28800, of_type(int)),
    "cloud": Key("cloudService.enabled", "0", True, of_type(bool)),
    "samples": Key("cloudService.automaticSampleSubmissionConsent", "0", "safe", one_of("none", "safe", "all")),
    "diagnostic": Key("cloudService.diagnosticLevel", "0", "required", one_of("required", "optional")),
    "proxy": Key("cloudService.proxy", "0", "", of_type(str)),
    "network": Key("networkProtection.enforcementLevel", "101.78.13", "disabled", one_of("disabled", "audit", "block")),
    "group_ids": Key("edr.groupIds", "0", "", of_type(str)),
    "tags": Key("edr.tags", "0", [], of_type(list)),
}


# ---------------------------------------------------------------------------------------------------------------------
# Packages


class Versions(NamedTuple):
    definitions: str
    engine: str


def versions_in(text: str) -> Optional[Versions]:
    """Reads versions from a manifest (JSON), the XML of the service, or lines of the form `name: version`."""
    found = {}  # type: Dict[str, str]
    pattern = r"""(engine|definition|signature)[a-z_]*(?:\s+date=["'][^"']*["'])?[^\d]{0,80}?(\d+(?:\.\d+){3})"""
    for name, value in re.findall(pattern, text, re.I):
        found.setdefault("engine" if name.lower() == "engine" else "definitions", value)
    return Versions(found["definitions"], found["engine"]) if len(found) == 2 else None


def unpack(package: Path, folder: Path, arch: str, hint: Callable[[], Optional[Versions]]) -> Versions:
    """Verifies a package, extracts it to a new folder, and returns its versions.

    The content of a real package is not public. As in the directory that the agent ships, an engine library
    (`libmpengine.so`) and definitions (`*.vdm`) are required.
    """
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(str(package)) as opened:
            damaged = opened.testzip()
            if damaged is not None:
                raise UpdateFailed(f"the package is damaged: {damaged}")
            names = [name for name in opened.namelist() if not name.endswith("/")]
            bases = [name.rsplit("/", 1)[-1].lower() for name in names]
            if not any("mpengine" in base for base in bases) or not any(base.endswith(".vdm") for base in bases):
                raise UpdateFailed("the package does not contain an engine and definitions")
            versions = None
            for info in opened.infolist():
                if info.file_size < 4096 and info.filename.lower().endswith((".txt", ".json", ".xml")):
                    text = opened.read(info).decode("utf-8", "replace")
                    for target in re.findall(r"\b(?:arch|platform)\W{1,4}(x86_64|arm64|mac|linux)\b", text):
                        if target not in (arch, "linux"):
                            raise UpdateFailed(f"the package is for {target}, but this machine is linux {arch}")
                    versions = versions or versions_in(text)
            opened.extractall(str(folder))
    except OSError as error:
        raise UpdateFailed(f"cannot read the package: {error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise UpdateFailed(f"the package is not a valid zip file: {error}") from None
    versions = versions or hint()
    if versions is None:
        raise UpdateFailed("the package does not contain its versions")
    return versions


# ---------------------------------------------------------------------------------------------------------------------
# The endpoint


class Endpoint:
    """A simulated machine with the agent, in the directory `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.managed_file = self.root / "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
        self.program = self.root / "opt/microsoft/mdatp/sbin/mdatp_stand_in.py"
        self.var = self.root / "var/opt/microsoft/mdatp"
        self.sets = self.var / "definitions.noindex"
        self.log_file = self.root / "var/log/microsoft/mdatp/microsoft_defender.log"
        self.settings_file = self.var / "stand_in_settings.json"
        self.state_file = self.var / "stand_in_state.json"
        self.settings = dict(DEFAULTS, broken=[], rows={})  # type: Dict[str, Any]
        self.forced_now = None  # type: Optional[float]
        if self.settings_file.exists():
            self.settings.update(json.loads(self.settings_file.read_text(encoding="utf-8")))

    # -- installation and changes

    def install(self, **chosen: Any) -> None:
        """Creates the endpoint. An existing endpoint keeps its definitions, its managed file and the other settings."""
        commands = self.root / "usr/bin"
        for folder in (self.managed_file.parent, self.program.parent, self.sets, self.log_file.parent, commands):
            folder.mkdir(parents=True, exist_ok=True)
        source = Path(__file__).resolve()
        if source != self.program:
            shutil.copyfile(str(source), str(self.program))
        self._wrapper(self.program.with_name("wdavdaemonclient"), "client", "--")
        self._wrapper(commands / "mdatp-sim")
        link = commands / "mdatp"
        if not link.is_symlink():
            link.symlink_to("../../opt/microsoft/mdatp/sbin/wdavdaemonclient")
        self.change({name: value for name, value in chosen.items() if value is not None})
        for name in ("org_id", "machine_guid"):
            self.settings[name] = self.settings[name] or str(uuid.uuid4())
        self.settings["product_expiration"] = self.settings["product_expiration"] or int(self.now() + LIFETIME)
        self._save_settings()
        self.log_file.with_name("install.log").write_text(
            f"Release ring: {self.settings['release_ring']}\n", encoding="utf-8"
        )
        if not self.state_file.exists():
            shipped = self.sets / SHIPPED_FOLDER
            shipped.mkdir(exist_ok=True)
            (shipped / "versions.txt").write_text(
                f"engine: {SHIPPED_ENGINE}\ndefinitions: {SHIPPED_DEFINITIONS}\n", encoding="utf-8"
            )
            write_json(
                self.state_file,
                {
                    "version": SHIPPED_DEFINITIONS,
                    "engine": SHIPPED_ENGINE,
                    "updated": self.now() - SHIPPED_AGE,
                    "folder": SHIPPED_FOLDER,
                    "source_uri": "",
                    "fail_reason": "",
                    "status": "",
                    "attempted": 0,
                },
            )

    def _wrapper(self, path: Path, *arguments: str) -> None:
        call = [sys.executable or "/usr/bin/python3", "-I", "-S", "-B", str(self.program), *arguments]
        lines = [
            "#!/bin/sh",
            "# Simulates Microsoft's agent; see docs/simulators.md of mde.offline.",
            f"MDATP_SIM_ROOT={shlex.quote(str(self.root))}",
            "export MDATP_SIM_ROOT",
            "exec " + " ".join(shlex.quote(word) for word in call) + ' "$@"',
        ]
        staged = path.with_name(path.name + ".new")
        staged.write_text("\n".join(lines) + "\n", encoding="utf-8")
        staged.chmod(0o755)
        staged.replace(path)

    def change(self, changes: Dict[str, Any]) -> None:
        """Changes settings (of the type of their default), `row.NAME`, and stored values."""
        stored = {}
        for name, value in changes.items():
            if name.startswith("row."):
                with contextlib.suppress(ValueError, TypeError):
                    value = json.loads(value)
                self.settings["rows"][name[4:]] = value
            elif name in STORED:
                stored[STORED[name]] = moment_of(str(value)) if name == "definitions_updated" else str(value)
            elif name in DEFAULTS and name not in ("broken", "rows"):
                self.settings[name] = self._typed(name, str(value))
            else:
                known = sorted(set(DEFAULTS) - {"broken", "rows"} | set(STORED))
                raise Misuse(f"There is no setting {name!r}. The settings are: {', '.join(known)}, row.NAME.")
        self._save_settings()
        if stored:
            self._change_state(**stored)

    @staticmethod
    def _typed(name: str, text: str) -> Any:
        default = DEFAULTS[name]
        if name in CHOICES and text not in CHOICES[name]:
            raise Misuse(f"{name} must be one of {', '.join(map(repr, CHOICES[name]))}, not {text!r}.")
        if isinstance(default, bool):
            if text.lower() not in ("true", "false"):
                raise Misuse(f"{name} must be true or false, not {text!r}.")
            return text.lower() == "true"
        if name == "product_expiration":
            return moment_of(text)
        if isinstance(default, int):
            if not text.isdigit():
                raise Misuse(f"{name} must be an integer, not {text!r}.")
            return int(text)
        if name == "app_version" and not re.match(r"\d+(\.\d+)+$", text):
            raise Misuse(f"app_version must have the form {DEFAULT_VERSION}, not {text!r}.")
        if name == "clock" and text:
            moment_of(text)
        return text

    def break_it(self, name: str) -> None:
        """Puts the endpoint into a state of STATES, or applies an event of EVENTS."""
        if name in STATES:
            self.settings["broken"] = sorted(set(self.settings["broken"]) | {name})
            if name == "slow_health":
                self.settings["health_lag"] = self.settings["health_lag"] or 3
            self._save_settings()
            if name != "silent_cloud_fallback":
                return
        elif name not in EVENTS:
            raise Misuse(f"There is no state {name!r}. The states are: {', '.join(sorted({**STATES, **EVENTS}))}.")
        events = {
            "definitions_stale": {"updated": self.now() - 10 * 86400, "status": "up_to_date"},
            "definitions_out_of_date": {"updated": self.now() - 8 * 86400, "status": ""},
            "definitions_unavailable": {"version": "", "status": ""},
            "definitions_updating": {"version": "", "status": "updating"},
        }  # type: Dict[str, Dict[str, Any]]
        changes = events.get(name, {"source_uri": self.settings["cloud_source_uri"], "fail_reason": ""})
        self._change_state(**changes)

    def repair(self, names: Sequence[str]) -> None:
        """Clears states; without names, all of them."""
        unknown = set(names) - set(STATES)
        if unknown:
            raise Misuse(f"Not a state: {', '.join(sorted(unknown))}. An update replaces values that events changed.")
        kept = [name for name in self.settings["broken"] if names and name not in names]
        if "slow_health" not in kept:
            self.settings["health_lag"] = 0
        self.settings["broken"] = kept
        self._save_settings()

    # -- settings and stored values

    def has(self, state: str) -> bool:
        return state in self.settings["broken"]

    def at_least(self, version: str) -> bool:
        return number(self.settings["app_version"]) >= number(version)

    def now(self) -> float:
        if self.forced_now is not None:
            return self.forced_now
        clock = os.environ.get("MDATP_SIM_NOW") or self.settings["clock"]
        return moment_of(clock) if clock else time.time()

    def unlicensed(self) -> bool:
        return self.has("unlicensed") or self.expired()

    def expired(self) -> bool:
        return self.has("expired") or self.now() > self.settings["product_expiration"]

    def config(self) -> Dict[str, Setting]:
        """The active settings, by their short names in KEYS."""
        document = self._managed_document()
        settings = {}  # type: Dict[str, Setting]
        for name, key in KEYS.items():
            section, leaf = key.path.split(".")
            inner = document.get(section)
            value = inner.get(leaf) if isinstance(inner, dict) else None
            managed = self.at_least(key.since) and key.accepts(value)
            settings[name] = Setting(value if managed else key.default, managed)
        audit = settings.pop("audit")
        if audit.managed:
            settings["level"] = audit
        if not settings["level"].managed:
            settings["level"] = Setting("passive" if self.at_least("101.23062.0001") else "real_time")
        # A portal policy takes precedence over the managed file.
        if self.has("passive"):
            settings["level"] = Setting("passive", True)
        if self.has("silent_cloud_fallback"):
            settings["fallback"] = Setting(True, True)
        return settings

    def _managed_document(self) -> Dict[str, Any]:
        if self.has("managed_config_ignored"):
            return {}
        try:
            document = json.loads(self.managed_file.read_bytes().decode("utf-8"))
        except (OSError, ValueError) as error:
            if not isinstance(error, FileNotFoundError):
                self.log(f"managed configuration ignored: {error}")
            return {}
        return document if isinstance(document, dict) else {}

    def log(self, message: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now()))
        with contextlib.suppress(OSError), self.log_file.open("a", encoding="utf-8") as log:
            log.write(f"{stamp} {message}\n")

    def _state(self) -> Dict[str, Any]:
        return dict(json.loads(self.state_file.read_text(encoding="utf-8")))

    def _change_state(self, **changes: Any) -> None:
        with self._lock("state"):
            write_json(self.state_file, dict(self._state(), **changes))

    def _save_settings(self) -> None:
        write_json(self.settings_file, self.settings)

    @contextlib.contextmanager
    def _lock(self, what: str) -> Iterator[None]:
        with (self.var / f"stand_in_{what}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # -- health

    def _definitions(self, count: bool) -> Dict[str, Any]:
        """The stored definitions as health shows them. With `count`, counts as one of the `health_lag` calls."""
        state = self._state()
        if state.get("lag", 0) <= 0:
            return state
        if count:
            with contextlib.suppress(OSError):
                self._change_state(lag=state["lag"] - 1)
        return dict(state["shown"])

    def _definition_rows(self, state: Dict[str, Any], config: Dict[str, Setting]) -> List[Row]:
        age = self.now() - state["updated"]
        status = state["status"] or ("up_to_date" if state["version"] else "unavailable")
        if not state["status"] and state["version"] and age > OUT_OF_DATE_AFTER and self.at_least("101.24122.0001"):
            status = "out_of_date"
        there = bool(state["version"])
        automatic = config["automatic"]
        return [
            Row("automatic_definition_update_enabled", automatic.value, True, automatic.managed),
            Row("definitions_updated", Moment(state["updated"]) if there else None),
            Row("definitions_updated_minutes_ago", max(0, int(age // 60)) if there else None),
            Row("definitions_version", state["version"] or None),
            Row("definitions_status", Status(status)),
        ]

    def health_rows(self, count: bool = True) -> List[Row]:
        """All rows of this version of the agent in the order of the table, including hidden rows."""
        state, config, settings = self._definitions(count), self.config(), self.settings
        level = config["level"]
        at_work = level.value in ("real_time", "audit")
        unavailable, ready = self.has("rtp_unavailable"), bool(state["version"])
        issues = []
        if self.unlicensed():
            issues.append("missing license")
        if unavailable:
            issues.append("no active event provider")
        if self.has("log_folder_permissions"):
            issues.append("log folder permission issues")
        if self.has("engine_not_available"):
            issues.append("engine v1 not available")
        loaded = at_work and ready and not self.has("engine_not_loaded") and not self.has("engine_not_available")
        onboarded = not self.has("unlicensed")
        expires = settings["product_expiration"]
        if self.has("expired"):
            expires = min(expires, self.now() - 86400)

        def setting(name: str, key: str, value: Any = None, shown: bool = True) -> Row:
            return Row(name, config[key].value if value is None else value, True, config[key].managed, shown)

        def unmanaged(name: str, value: Any, shown: bool = True) -> Row:
            return Row(name, value, True, False, shown)

        rtp_enabled = Row("real_time_protection_enabled", None if unavailable else at_work, True, level.managed)
        table = [
            ("0", Row("healthy", not issues and ready)),
            ("101.19.48", Row("health_issues", issues)),
            ("0", Row("licensed", not self.unlicensed())),
            ("0", Row("engine_version", state["engine"])),
            ("101.24032.0007", Row("engine_load_status", "Engine load succeeded" if loaded else "Engine not loaded")),
            ("0", Row("app_version", settings["app_version"])),
            ("0", Row("org_id", settings["org_id"] if onboarded else None)),
            ("0", Row("log_level", "info")),
            ("0", Row("machine_guid", settings["machine_guid"])),
            ("0", Row("release_ring", settings["release_ring"])),
            ("0", Row("product_expiration", Moment(expires) if onboarded else None)),
            ("0", setting("cloud_enabled", "cloud")),
            ("0", setting("cloud_automatic_sample_submission_consent", "samples")),
            ("0", setting("cloud_diagnostic_enabled", "diagnostic", config["diagnostic"].value == "optional")),
            ("0", setting("passive_mode_enabled", "level", level.value == "passive")),
            ("101.26052.0012", setting("antivirus_enforcement_level", "level")),
            ("101.94.13", setting("behavior_monitoring", "behavior")),
            ("0", rtp_enabled),
            ("0", Row("real_time_protection_available", None if unavailable else True)),
            ("0", Row("real_time_protection_subsystem", "unavailable" if unavailable else "fanotify")),
            ("0", Row("supplementary_events_subsystem", "ebpf" if self.at_least("101.23082.0006") else "auditd")),
            ("0", unmanaged("tamper_protection", "disabled")),
        ]
        table += [("0", row) for row in self._definition_rows(state, config)]
        conflicts = ["/opt/other-av/bin/scannerd"] if self.has("conflicting_application") else []
        proxy = config["proxy"]
        table += [
            ("0", unmanaged("edr_early_preview_enabled", "disabled")),
            ("0", setting("edr_device_tags", "tags")),
            ("0", setting("edr_group_ids", "group_ids")),
            ("0", Row("edr_configuration_version", "30.199999.main.2026.01.01.01")),
            ("0", Row("edr_machine_id", (settings["machine_guid"].replace("-", "") * 2)[:40])),
            ("0", Row("conflicting_applications", conflicts)),
            ("101.75.43", Row("network_protection_status", "stopped")),
            ("101.75.43", setting("network_protection_enforcement_level", "network")),
            ("101.94.13", Row("troubleshooting_mode", False)),
            ("0", unmanaged("functionality_mode", "default", shown=False)),
            ("0", unmanaged("managed_by", "", shown=False)),
            ("101.23062.0010", Row("proxy", proxy.value or "None", True, proxy.managed, bool(proxy.value))),
            ("0", unmanaged("telemetry_client", "", shown=False)),
        ]
        rows = [row for since, row in table if self.at_least(since)]
        return self._with_replaced_rows(rows, add=True)

    def detail_rows(self, count: bool = True) -> List[Row]:
        """The rows of `--details definitions`."""
        state, config = self._definitions(count), self.config()
        rows = self._definition_rows(state, config)
        if self.at_least("101.24022.0001"):
            always_verified = self.at_least("101.26062.0005")
            url, offline, fallback = config["url"], config["offline"], config["fallback"]
            rows += [
                Row("definitions_update_source_uri", state["source_uri"]),
                Row("definitions_update_fail_reason", state["fail_reason"]),
                Row("offline_definition_url_configured", url.value, True, url.managed),
                Row("offline_definition_update", offline.value, True, offline.managed),
                Row(
                    "offline_definition_update_verify_sig",
                    "DEPRECATED" if always_verified else config["verify_sig"].value,
                    True,
                ),
            ]
            if always_verified:
                rows.append(Row("engine_signature_verification", "enabled"))
            rows.append(
                Row(
                    "offline_definition_update_fallback_to_cloud",
                    fallback.value,
                    True,
                    fallback.managed,
                    marker=self.settings["fallback_marker"],
                )
            )
        return self._with_replaced_rows(rows, add=False)

    def _with_replaced_rows(self, rows: List[Row], add: bool) -> List[Row]:
        replaced = dict(self.settings["rows"])
        rows = [row._replace(value=replaced.pop(row.name)) if row.name in replaced else row for row in rows]
        return rows + [Row(name, value) for name, value in replaced.items()] if add else rows

    def date(self, epoch: float) -> str:
        """Formats a date as in the text tables."""
        at = time.localtime(epoch) if self.settings["date_zone"] == "local" else time.gmtime(epoch)
        half = "AM" if at.tm_hour < 12 else "PM"
        return (
            f"{MONTHS[at.tm_mon - 1]} {at.tm_mday:02d}, {at.tm_year} at "
            f"{at.tm_hour % 12 or 12:02d}:{at.tm_min:02d}:{at.tm_sec:02d} {half}"
        )

    def text_of(self, value: Any) -> str:
        """Formats a value as in the text tables."""
        if value is None:
            return "unavailable"
        if isinstance(value, Moment):
            return self.date(value.epoch)
        if isinstance(value, Status):
            return f'"{value.name}"'
        if isinstance(value, str):
            return f'"{value}"'
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        return json.dumps(value, ensure_ascii=False)

    def table(self, rows: Sequence[Row]) -> str:
        lines = []
        for row in rows:
            if not row.shown:
                continue
            text = self.text_of(row.value) + (row.marker if row.managed else "")
            if self.has("wrapped_values"):
                text = ("\n" + WRAP_INDENT).join(textwrap.wrap(text, WRAP_AT, break_on_hyphens=False))
            lines.append(f"{row.name:<44}: {text}\n")
        return "".join(lines)

    def json_of(self, rows: Sequence[Row], kind: str) -> str:
        """Formats rows as one line of JSON."""
        document = {"$type": kind} if kind else {}  # type: Dict[str, Any]
        for row in rows:
            if row.value is None and self.settings["json_unavailable"] == "absent":
                continue
            value = self._json_value(row.value)
            if row.setting:
                value = {"displayValue": row.shown, "isManaged": row.managed, "value": value}
            document[camel(row.name)] = value
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False, sort_keys=True) + "\n"

    def _json_value(self, value: Any) -> Any:
        if value is None:
            return None if self.settings["json_unavailable"] == "null" else "unavailable"
        if isinstance(value, Moment):
            return str(int(value.epoch * 1000))
        if isinstance(value, Status):
            return {"$type": camel(value.name)}
        return value

    # -- updates

    def update(self) -> str:
        """Updates from the configured source. Returns the reason of a failure, or an empty string."""
        with self._lock("update"):
            state = self._state()
            for folder in self.sets.iterdir():  # leftovers of an update that was killed
                if folder.name not in (state["folder"], SHIPPED_FOLDER):
                    shutil.rmtree(str(folder), ignore_errors=True)
            staged = self.sets / str(uuid.uuid4())
            staged.mkdir()
            try:
                source_uri, versions = self._obtain(staged)
            except UpdateFailed as failure:
                shutil.rmtree(str(staged))
                self.log(f"definitions update failed: {failure}")
                self._change_state(fail_reason=str(failure), attempted=self.now())
                return str(failure)
            if self._refuses(versions, state):
                shutil.rmtree(str(staged))
                self.log(f"definitions {versions.definitions} are older than {state['version']}, and were refused")
                self._change_state(attempted=self.now())
                return ""
            lag = self.settings["health_lag"]
            shown = {name: value for name, value in self._state().items() if name not in ("lag", "shown")}
            changes = {"source_uri": source_uri, "fail_reason": "", "attempted": self.now(), "lag": lag, "shown": shown}
            obsolete = staged.name
            if versions != (state["version"], state["engine"]):
                changes.update(version=versions.definitions, engine=versions.engine, updated=self.now(), status="")
                changes["folder"], obsolete = staged.name, state["folder"]
            self._change_state(**changes)
            if obsolete != SHIPPED_FOLDER:
                shutil.rmtree(str(self.sets / obsolete), ignore_errors=True)
            self.log(f"definitions {versions.definitions}, engine {versions.engine} from {source_uri}")
            return ""

    def _refuses(self, versions: Versions, state: Dict[str, Any]) -> bool:
        """Whether the agent keeps its newer definitions, without reporting a failure."""
        if self.settings["older_definitions"] == "accept" or not state["version"]:
            return False
        return (number(versions.definitions), number(versions.engine)) < (
            number(state["version"]),
            number(state["engine"]),
        )

    def _obtain(self, staged: Path) -> Tuple[str, Versions]:
        """Downloads and verifies definitions into `staged`; returns their source and versions."""
        config = self.config()
        if config["offline"].value != "enabled":
            return self._from_cloud(staged, config)
        try:
            return self._from_mirror(staged, config["url"].value)
        except UpdateFailed as failure:
            if not config["fallback"].value:
                raise
            self.log(f"the mirror failed, using the cloud: {failure}")
            shutil.rmtree(str(staged))
            staged.mkdir()
            return self._from_cloud(staged, config)

    def _package_address(self, url: str) -> str:
        base = url.rstrip("/")
        # The documented effect of a URL that contains an architecture is that only some architectures update.
        named = base.rsplit("/", 1)[-1].startswith("arch_")
        return f"{base}/updates.zip" if named else f"{base}/arch_{self.settings['arch']}/updates.zip"

    def _from_mirror(self, staged: Path, url: str) -> Tuple[str, Versions]:
        if self.has("mirror_unreachable") or self.has("silent_cloud_fallback"):
            raise UpdateFailed(f"cannot connect to {url}")
        address = self._package_address(url)
        manifest = address[: -len("updates.zip")] + "manifest.json"
        if url.startswith(("http://", "https://")):
            fetched = staged / ".updates.zip"
            self._download(address, fetched)
            versions = unpack(fetched, staged, self.settings["arch"], lambda: versions_in(self._text(manifest)))
            fetched.unlink()
        elif url.startswith("/"):
            versions = unpack(
                Path(address), staged, self.settings["arch"], lambda: versions_in(self._text(Path(manifest).as_uri()))
            )
        else:
            raise UpdateFailed(f"{url!r} is neither an http(s) URL nor an absolute path")
        return url, versions

    def _from_cloud(self, staged: Path, config: Dict[str, Setting]) -> Tuple[str, Versions]:
        if not self.settings["cloud"] or self.has("tls_inspection"):
            raise UpdateFailed(f"cannot connect to {self.settings['cloud_source_uri']}")
        address = f"{self.settings['cloud']}?linkid=2144709{'&arch=arm64' if self.settings['arch'] == 'arm64' else ''}"
        proxy = config["proxy"].value
        fetched = staged / ".updates.zip"
        self._download(address, fetched, proxy)
        versions = unpack(
            fetched, staged, self.settings["arch"], lambda: versions_in(self._text(address + "&action=info", proxy))
        )
        fetched.unlink()
        return self.settings["cloud_source_uri"], versions

    def _open(self, address: str, proxy: str = "", method: str = "GET") -> Any:
        import http.client
        import ssl
        import urllib.error
        import urllib.request

        proxies = urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {})
        context = ssl.create_default_context(cafile=self.settings["ca_file"] or None)
        opener = urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=context))
        try:
            request = urllib.request.Request(address, method=method, headers={"User-Agent": "mdatp stand-in"})
            return opener.open(request, timeout=self.settings["network_timeout"])
        except urllib.error.HTTPError as error:
            raise UpdateFailed(f"{address}: HTTP status {error.code}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UpdateFailed(f"{address}: {getattr(error, 'reason', error)}") from None

    def _download(self, address: str, target: Path, proxy: str = "") -> None:
        from http.client import HTTPException

        try:
            with self._open(address, proxy) as answer, target.open("wb") as written:
                shutil.copyfileobj(answer, written, 1 << 20)
        except (OSError, HTTPException) as error:
            raise UpdateFailed(f"{address}: {error}") from None

    def _text(self, address: str, proxy: str = "") -> str:
        """Downloads a small text; an empty string if that fails."""
        with contextlib.suppress(UpdateFailed, OSError), self._open(address, proxy) as answer:
            return str(answer.read(65536).decode("utf-8", "replace"))
        return ""

    def tick(self) -> str:
        """Does what the timer of the daemon would do now; returns a description of it."""
        config = self.config()
        due = self._state()["attempted"] + config["interval"].value
        if self.has("daemon_down"):
            return "nothing: the daemon is down"
        if config["level"].value != "real_time":
            return f"nothing: the enforcement level is {config['level'].value}, not real_time"
        if not config["automatic"].value:
            return "nothing: automatic definition updates are disabled"
        if self.now() < due:
            return f"nothing: the next update is due in {int(due - self.now())} seconds"
        failure = self.update()
        return f"update failed: {failure}" if failure else "updated"

    # -- the command line of the agent

    def client(self, arguments: Sequence[str]) -> Reply:
        """Runs one `mdatp` command."""
        words, options = self._options(arguments)
        out, err, code = [], [], 0  # type: List[str], List[str], int
        complaints = err if self.has("messages_on_stderr") else out
        if self.has("noise_on_stderr"):
            err.append("WARNING: libcrypto: no version information available\n")
        try:
            if "wrong" in options:
                raise Misuse(options["wrong"])
            command = " ".join(words)
            if command == "health":
                out.append(self._health(options, complaints))
            elif command == "definitions update":
                code = self._definitions_update(out, complaints)
            elif command == "connectivity test":
                code = self._connectivity_test(out)
            elif command == "version":
                out.append(self.settings["app_version"] + "\n")
            else:
                raise Misuse(f"Unknown command: {command or '(none)'}")
        except NoDaemon:
            complaints.append(NO_DAEMON + "\n")
            code = 1
        except Misuse as misuse:
            complaints.append(f"{misuse}\n")
            code = 1
        return Reply("".join(out), "".join(err), code)

    def _options(self, arguments: Sequence[str]) -> Tuple[List[str], Dict[str, str]]:
        words, options = [], {}  # type: List[str], Dict[str, str]
        known = ["--field", "--details"] + ([] if self.has("no_json") else ["--output"])
        remaining = list(arguments)
        while remaining:
            word = remaining.pop(0)
            if not word.startswith("-"):
                words.append(word)
            elif word in known and remaining:
                options[word[2:]] = remaining.pop(0)
            else:
                options["wrong"] = f"Unknown or incomplete option: {word}"
        if options.get("output", "json") != "json":
            options["wrong"] = f"Unknown output format: {options['output']}"
        return words, options

    def _need_daemon(self) -> None:
        if self.has("daemon_down"):
            raise NoDaemon

    def _health(self, options: Dict[str, str], complaints: List[str]) -> str:
        if self.has("health_hangs"):
            hang()
        if options.get("details") == "help":
            return "definitions\n"
        self._need_daemon()
        as_json = "output" in options
        if self.unlicensed() and (not as_json or self.settings["json_attention"]):
            complaints.append(ATTENTION + "\n")
        if "details" in options and options["details"] != "definitions":
            raise Misuse(f"Unknown details: {options['details']}")
        if "field" in options:
            for row in self.health_rows() + self.detail_rows(count=False):
                if row.name == options["field"]:
                    value = self.text_of(row.value)
                    return (json.dumps(self._json_value(row.value)) if as_json else value) + "\n"
            raise Misuse(f"Unknown field: {options['field']}")
        if "details" in options:
            rows = self.detail_rows()
            return self.json_of(rows, "") if as_json else self.table(rows)
        rows = self.health_rows()
        return self.json_of(rows, "getHealthAllResult") if as_json else self.table(rows)

    def _definitions_update(self, out: List[str], complaints: List[str]) -> int:
        if self.has("update_hangs"):
            hang()
        self._need_daemon()
        if self.unlicensed():
            complaints.append(ATTENTION + "\n")
        failure = ""
        if self.has("update_fails"):
            failure = self.settings["update_fail_text"]
            self._change_state(fail_reason=failure)
        elif not self.has("update_without_effect"):
            failure = self.update()
        if failure:
            complaints.append(failure + "\n")
            return 1
        out.append("Security intelligence is up to date\n")
        return 0

    def _connectivity_test(self, out: List[str]) -> int:
        self._need_daemon()
        config = self.config()
        cloud = "curl error 60" if self.has("tls_inspection") else "curl error 6"
        if self.settings["cloud"] and not self.has("tls_inspection"):
            cloud = self._reachable(self.settings["cloud"] + "?linkid=2144709", config["proxy"].value)
        results = [(name, cloud) for name in (*CONNECTIVITY, CLOUD_NAME)]
        url = config["url"].value
        if config["offline"].value == "enabled" and url.startswith(("http://", "https://")):
            cut_off = self.has("mirror_unreachable") or self.has("silent_cloud_fallback")
            results.append((url, "curl error 7" if cut_off else self._reachable(self._package_address(url))))
        out.extend(f"Testing connection with {name} ... [{result}]\n" for name, result in results)
        return 0 if all(result == "OK" for _name, result in results) else 1

    def _reachable(self, address: str, proxy: str = "") -> str:
        try:
            self._open(address, proxy, "HEAD").close()
        except UpdateFailed as failure:
            text = str(failure)
            return "curl error " + ("22" if "HTTP status" in text else "60" if "CERT" in text.upper() else "7")
        return "OK"


def hang() -> NoReturn:
    """Waits until the process is killed."""
    while True:
        time.sleep(3600)


# ---------------------------------------------------------------------------------------------------------------------
# The command line of the simulator


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="mdatp.py", description="Simulates the mdatp agent.")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")
    verbs.required = True

    known = os.environ.get("MDATP_SIM_ROOT")  # set by the commands of an endpoint

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text)
        made.add_argument(
            "--root",
            type=Path,
            default=known and Path(known),
            required=not known,
            metavar="DIR",
            help="directory of the endpoint",
        )
        return made

    install = verb("install", "create or update an endpoint")
    install.add_argument("--version", dest="app_version", help=f"version of the agent (default: {DEFAULT_VERSION})")
    install.add_argument("--arch", choices=CHOICES["arch"])
    install.add_argument("--cloud", metavar="URL", help="URL of the download service (default: cannot be reached)")
    change = verb("set", "change settings or stored values")
    change.add_argument("changes", nargs="+", metavar="KEY=VALUE")
    verb("break", "set faulty states").add_argument("names", nargs="+", metavar="NAME")
    verb("repair", "clear faulty states (default: all)").add_argument("names", nargs="*", metavar="NAME")
    tick = verb("tick", "do what the timer of the daemon would do now")
    tick.add_argument("--now", metavar="TIME", help="use this time as the present time")
    client = verb("client", "run an mdatp command; its arguments follow --")
    client.add_argument("arguments", nargs=argparse.REMAINDER)
    verbs.add_parser("states", help="list the faulty states")
    return top


def run(options: argparse.Namespace) -> int:
    if options.verb == "states":
        for name, (source, text) in sorted({**STATES, **EVENTS}.items()):
            print(f"{name:<24} {text} [{source}]")
        return 0
    endpoint = Endpoint(options.root)
    if options.verb == "install":
        endpoint.install(app_version=options.app_version, arch=options.arch, cloud=options.cloud)
        return 0
    if not endpoint.settings_file.exists():
        raise Misuse(f"There is no endpoint in {options.root}. Create one with `install --root {options.root}`.")
    if options.verb == "client":
        arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
        reply = endpoint.client(arguments)
        sys.stderr.write(reply.stderr)
        sys.stdout.write(reply.stdout)
        return reply.code
    if options.verb == "set":
        wrong = [change for change in options.changes if "=" not in change]
        if wrong:
            raise Misuse(f"Not KEY=VALUE: {', '.join(wrong)}.")
        endpoint.change(dict(change.split("=", 1) for change in options.changes))
    elif options.verb == "break":
        for name in options.names:
            endpoint.break_it(name)
    elif options.verb == "repair":
        endpoint.repair(options.names)
    else:
        endpoint.forced_now = moment_of(options.now) if options.now else None
        print(endpoint.tick())
    return 0


def main() -> int:
    try:
        return run(parser().parse_args())
    except Misuse as misuse:
        print(f"mdatp.py: {misuse}", file=sys.stderr)
        return 2
    except (BrokenPipeError, KeyboardInterrupt):
        return 130


if __name__ == "__main__":
    sys.exit(main())
