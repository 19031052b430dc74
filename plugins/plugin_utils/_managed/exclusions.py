"""Rules about exclusions without effect, and exclusions that disable protection.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import paths
from .document import Findings, ManagedConfig
from .findings import ERROR, INFO, WARNING, Path, rule, show, write
from .placeholders import is_placeholder
from .spelling import near_value

EXCLUSION_PATH_RELATIVE = rule(
    "exclusion_path_relative",
    ERROR,
    "An exclusion whose path is not absolute",
    "Only absolute paths have an effect; ~ and variables are not expanded.",
    "Write the whole path, beginning with /.",
)
FOREIGN_SYSTEM_PATH = rule(
    "foreign_system_path",
    WARNING,
    "An exclusion of a path that Linux does not have",
    "/Users, /Library and similar folders exist on macOS only. On Linux such an exclusion has no effect, and the list "
    "was probably written for other machines.",
    "Remove it, or write the folder that the application uses on Linux.",
)
STRAY_BLANK = rule(
    "stray_blank",
    WARNING,
    "A value with spaces or invisible characters at its ends",
    "The spaces are part of the value: a path with a space at its end is another path. Such spaces come from copying a "
    "page.",
    "Remove them.",
)
SEVERAL_IN_ONE = rule(
    "several_in_one",
    WARNING,
    "Several exclusions in one value",
    "One entry excludes one path, one extension or one process. A list in one string is read as a single name.",
    "Write one entry for each of them.",
)
GLOBAL_WITH_WILDCARD = rule(
    "global_with_wildcard",
    ERROR,
    "A global exclusion with a wildcard",
    "Wildcards work with the scope epp only. An exclusion without scopes is global.",
    'Write "scopes": ["epp"], or name each path without * and ?.',
)
GLOBAL_WITH_EXTENSION = rule(
    "global_with_extension",
    ERROR,
    "A global exclusion of an extension",
    "The scope global does not support extensions. An exclusion without scopes is global.",
    'Write "scopes": ["epp"], or exclude the path or the process.',
)
GLOBAL_BARE_PROCESS_NAME = rule(
    "global_bare_process_name",
    ERROR,
    "A global exclusion of a process without its path",
    "The scope global needs the full path of a process. An exclusion without scopes is global.",
    'Write the full path, such as "/usr/bin/cat", or "scopes": ["epp"].',
)
SCOPES_MISSING = rule(
    "scopes_missing",
    WARNING,
    "An exclusion without scopes",
    "Without scopes, an exclusion in the managed file is global, so it applies to EDR too. (On the command line the "
    "default is epp.)",
    'Write "scopes": ["epp"]. Add "global" only if the exclusion has to apply to EDR too.',
)
GLOBAL_EXCLUSION = rule(
    "global_exclusion",
    WARNING,
    "A global exclusion",
    "The sensor does not record what is excluded globally: EDR does not see it, and it cannot be investigated later.",
    'Prefer "scopes": ["epp"]. If global is needed, accept this finding and give the reason.',
)
GLOBAL_FILE_MUST_EXIST = rule(
    "global_file_must_exist",
    INFO,
    "A global exclusion of a file",
    "A global exclusion of a file takes effect only if the file exists when it is applied.",
    "Create the file on the host before you write the configuration.",
)
DANGEROUS_PATH = rule(
    "dangerous_path",
    WARNING,
    "An exclusion of a folder that should never be excluded",
    "Folders such as /, /bin, /usr/lib, /etc, /home, /tmp or /var contain the system itself, or files that any user "
    "can write. Malware in them is not found. The rule also applies to wildcards that match such a folder.",
    "Exclude only the folder or file that the application needs.",
)
DANGEROUS_EXTENSION = rule(
    "dangerous_extension",
    WARNING,
    "An exclusion of an extension that malware uses",
    "Scripts, programs, libraries, archives and some document types are on Microsoft's list of extensions that "
    "should never be excluded.",
    "Exclude the folder or the process that is the reason for this exclusion.",
)
DANGEROUS_PROCESS = rule(
    "dangerous_process",
    WARNING,
    "An exclusion of an interpreter",
    "bash, sh, zsh, java and python run any script. An exclusion of a process applies to every file that the process "
    "opens.",
    "Exclude the folder of the application, with the scope epp.",
)
WORLD_WRITABLE_EXCLUSION = rule(
    "world_writable_exclusion",
    WARNING,
    "An exclusion in a folder that any user can write to",
    "In /tmp, /var/tmp and /dev/shm any user can create the excluded file and hide malware in it.",
    "Let the application use its own folder, which no other user can write to.",
)
PSEUDO_FILESYSTEM_EXCLUSION = rule(
    "pseudo_filesystem_exclusion",
    INFO,
    "An exclusion of a pseudo file system",
    "Real-time protection does not scan proc and sysfs.",
    "Remove the exclusion: it has no effect.",
)
SYMLINKED_PATH = rule(
    "symlinked_path",
    WARNING,
    "An exclusion of a path with a symbolic link",
    "Exclusions need the real path. On current distributions /bin, /sbin, /lib and /lib64 are links into /usr, and "
    "/var/run is a link to /run.",
    "Write the real path (`readlink -f PATH` prints it).",
)
BARE_PROCESS_NAME = rule(
    "bare_process_name",
    WARNING,
    "An exclusion of a process without its path",
    "A bare name excludes every program of that name in any folder, also malware with that name.",
    'Write the full path, such as "/usr/bin/cat".',
)
EXTENSION_EXCLUSION = rule(
    "extension_exclusion",
    WARNING,
    "An exclusion of an extension",
    "The exclusion applies to every folder of the machine.",
    "Exclude the folder or the process that is the reason for this exclusion.",
)
EXTENSION_MALFORMED = rule(
    "extension_malformed",
    WARNING,
    "An exclusion of something that is not an extension",
    "An extension is a dot and letters. A value with a wildcard or a slash probably matches nothing.",
    'Write ".log", or use excludedPath for a pattern.',
)
EXTENSION_WITHOUT_DOT = rule(
    "extension_without_dot",
    INFO,
    "An extension without its dot",
    "The documentation shows both forms; since 2023 it shows the form with the dot for Linux.",
    "Write the extension with its dot.",
)
IS_DIRECTORY_MISSING = rule(
    "is_directory_missing",
    INFO,
    "An exclusion without isDirectory",
    "The documentation contradicts itself about the default of isDirectory.",
    'Write "isDirectory": true or false.',
)
DIRECTORY_NOT_FLAGGED = rule(
    "directory_not_flagged",
    WARNING,
    "A directory that is excluded as a file",
    "The path ends in a slash, so it is a directory. Without isDirectory true, the agent takes the excluded path for a "
    "file.",
    'Write "isDirectory": true.',
)
DUPLICATE_EXCLUSION = rule(
    "duplicate_exclusion",
    INFO,
    "A duplicate exclusion",
    "The same exclusion is in the list already.",
    "Keep one of them.",
)
TOO_MANY_EXCLUSIONS = rule(
    "too_many_exclusions",
    WARNING,
    "More than 600 exclusions",
    "The portal accepts at most 600, and nobody can review so many.",
    "Replace them with fewer exclusions that cover what they have in common.",
)
LEGACY_EXCLUSIONS = rule(
    "legacy_exclusions",
    INFO,
    "Exclusions in their old place",
    "antivirusEngine.exclusions still works, always with the scope epp. New features are added to "
    "exclusionSettings.exclusions only.",
    'Move them to exclusionSettings.exclusions with "scopes": ["epp"] (agent 101.24092.0001 or newer).',
)

LISTS = (("antivirusEngine", "exclusions"), ("exclusionSettings", "exclusions"))
_MOST = 600
_INVISIBLE = " \t\r\n\v\f\u00a0\u200b\u200c\u200d\u200e\u200f\u202f\u2060\ufeff"
_KINDS = ("excludedPath", "excludedFileExtension", "excludedFileName")
_SUBJECT = dict(zip(_KINDS, ("path", "extension", "name")))
_EXTENSIONS = {
    "7z", "bat", "bin", "cab", "cmd", "com", "cpl", "dll", "exe", "fla", "gif", "gz", "hta", "inf", "jar",
    "java", "job", "jpeg", "jpg", "js", "ko", "msi", "ocx", "png", "ps1", "py", "rar", "reg", "scr", "sys",
    "tar", "tmp", "url", "vbe", "vbs", "wsf", "zip",
}  # fmt: skip
_INTERPRETERS = ("bash", "java", "python", "python3", "sh", "zsh")


@dataclass(frozen=True)
class Exclusion:
    path: Path
    data: dict[str, Any]
    kind: str
    scopes: frozenset[str]
    legacy: bool

    @property
    def subject(self) -> str:
        """The excluded path, extension or process; empty if it is missing, not a string, or a placeholder."""
        found = self.data.get(_SUBJECT.get(self.kind, ""))
        return found if isinstance(found, str) and not is_placeholder(found) else ""

    @property
    def place(self) -> Path:
        return (*self.path, _SUBJECT[self.kind])


def exclusions(managed: ManagedConfig) -> Iterator[Exclusion]:
    for where in LISTS:
        for path, data in managed.objects(*where):
            given = data.get("$type")
            kind = near_value(given, _KINDS) if isinstance(given, str) else None
            legacy = where == LISTS[0]
            yield Exclusion(path, data, kind or "", _scopes(data, legacy), legacy)


def _scopes(data: dict[str, Any], legacy: bool) -> frozenset[str]:
    if legacy:
        return frozenset({"epp"})
    given = data.get("scopes", ["global"])
    return frozenset(scope for scope in given if isinstance(scope, str)) if isinstance(given, list) else frozenset()


def check(managed: ManagedConfig) -> Findings:
    yield from _lists(managed)
    seen: set[tuple[object, ...]] = set()
    for entry in exclusions(managed):
        yield from _entry_scopes(entry)
        if entry.subject:
            yield from _written(entry)
            yield from {"excludedPath": _path, "excludedFileExtension": _extension, "excludedFileName": _process}[
                entry.kind
            ](entry)
            subject = entry.subject if entry.kind == "excludedFileExtension" else paths.normal(entry.subject)
            key = (entry.kind, subject, entry.scopes, entry.data.get("isDirectory") is True)
            if key in seen:
                yield DUPLICATE_EXCLUSION.at(entry.path, f"{show(entry.subject)} is excluded already.")
            seen.add(key)


def dangerous(entry: Exclusion) -> str | None:
    """The folder that this exclusion should not cover."""
    return paths.reach(entry.subject) if entry.kind == "excludedPath" and entry.subject.startswith("/") else None


def _lists(managed: ManagedConfig) -> Findings:
    for where in LISTS:
        found = managed.value(*where)
        if isinstance(found, list) and len(found) > _MOST:
            yield TOO_MANY_EXCLUSIONS.at(
                where, f"There are {len(found)} exclusions; the portal accepts at most {_MOST}."
            )
    if managed.value(*LISTS[0]):
        yield LEGACY_EXCLUSIONS.at(LISTS[0], "These exclusions are in their old place.")


def _entry_scopes(entry: Exclusion) -> Findings:
    if "global" not in entry.scopes:
        return
    if "scopes" not in entry.data:
        yield SCOPES_MISSING.at(entry.path, "This exclusion has no scopes, so it is global and applies to EDR too.")
    else:
        yield GLOBAL_EXCLUSION.at(
            entry.path,
            f"EDR does not see {show(entry.subject)} either." if entry.subject else "The exclusion applies to EDR too.",
        )
    if entry.kind == "excludedFileExtension":
        yield GLOBAL_WITH_EXTENSION.at(entry.path, "The scope global does not support extensions.")
    elif entry.subject and paths.has_wildcard(entry.subject):
        yield GLOBAL_WITH_WILDCARD.at(entry.place, f"{show(entry.subject)} has a wildcard, and the scope is global.")
    elif entry.kind == "excludedFileName" and entry.subject and not entry.subject.startswith("/"):
        yield GLOBAL_BARE_PROCESS_NAME.at(
            entry.place, f"{show(entry.subject)} is not a full path, and the scope is global."
        )
    elif entry.kind == "excludedPath" and entry.data.get("isDirectory") is False:
        yield GLOBAL_FILE_MUST_EXIST.at(
            entry.place,
            f"{show(entry.subject)} must exist when this is applied." if entry.subject else "The file must exist.",
        )


def _written(entry: Exclusion) -> Findings:
    """The spelling of the value, for all kinds of exclusions."""
    if entry.subject.strip(_INVISIBLE) != entry.subject:
        yield STRAY_BLANK.at(
            entry.place, f"{show(entry.subject)} begins or ends with a space or an invisible character."
        )
    parts = re.split(r"\s*[,;]\s*(?=[/.*])|:(?=/)", entry.subject)
    if entry.kind == "excludedFileExtension":
        parts = [part for part in re.split(r"[\s,;]+", entry.subject) if part]
    if len(parts) > 1:
        yield SEVERAL_IN_ONE.at(entry.place, f"{show(entry.subject)} looks like {len(parts)} exclusions.")


def _path(entry: Exclusion) -> Findings:
    path = entry.subject.strip(_INVISIBLE)
    if not path.startswith("/"):
        windows = re.match(r"[A-Za-z]:|\\\\|%", path)
        advice = "This is a Windows path. Remove it, or write a Linux path that begins with /." if windows else ""
        yield EXCLUSION_PATH_RELATIVE.at(entry.place, f"{show(path)} is not an absolute path.", advice)
        return
    if paths.inside(path, paths.OF_MACOS):
        yield FOREIGN_SYSTEM_PATH.at(entry.place, f"{show(path)} is a path of macOS.")
    if "isDirectory" not in entry.data:
        yield IS_DIRECTORY_MISSING.at(entry.path, f"isDirectory is not set for {show(path)}.")
    if path.endswith("/") and path.strip("/") and entry.data.get("isDirectory", False) is False:
        yield DIRECTORY_NOT_FLAGGED.at(entry.path, f"{show(path)} ends in a slash, but isDirectory is not true.")
    folder, writable = dangerous(entry), paths.inside(path, paths.WORLD_WRITABLE)
    if folder:
        yield DANGEROUS_PATH.at(entry.place, f"{show(path)} covers {folder}, which should never be excluded.")
    elif writable:
        yield WORLD_WRITABLE_EXCLUSION.at(entry.place, f"{show(path)} is in {writable}, which any user can write to.")
    elif paths.inside(path, paths.PSEUDO_FILESYSTEMS):
        yield PSEUDO_FILESYSTEM_EXCLUSION.at(entry.place, f"{show(path)} is not monitored in any case.")
    yield from _links(entry)


def _links(entry: Exclusion) -> Findings:
    real = paths.real(entry.subject)
    if real:
        message = f"{show(entry.subject)} contains a symbolic link on current distributions."
        yield SYMLINKED_PATH.at(entry.place, message, f"{write(_SUBJECT[entry.kind], real)} (check with readlink -f).")


def _extension(entry: Exclusion) -> Findings:
    given = entry.subject
    extension = given.lower().lstrip("*").lstrip(".")
    yield EXTENSION_EXCLUSION.at(entry.path, f"The extension {show(given)} is excluded in every folder of the machine.")
    if paths.has_wildcard(given) or re.search(r"[/\s,;]", given):
        yield EXTENSION_MALFORMED.at(entry.place, f"{show(given)} is not an extension.")
    elif not given.startswith("."):
        yield EXTENSION_WITHOUT_DOT.at(entry.place, f"{show(given)} has no dot.", write("extension", f".{given}"))
    if extension.rpartition(".")[2] in _EXTENSIONS or extension.startswith("ko."):
        yield DANGEROUS_EXTENSION.at(
            entry.place, f"{show(given)} is on Microsoft's list of extensions that should never be excluded."
        )


def _process(entry: Exclusion) -> Findings:
    name = entry.subject
    folder, slash, program = name.rpartition("/")
    if "/" in name and not name.startswith("/"):
        yield EXCLUSION_PATH_RELATIVE.at(entry.place, f"{show(name)} is neither a name nor an absolute path.")
    elif not slash and "global" not in entry.scopes:
        yield BARE_PROCESS_NAME.at(entry.place, f"Every program with the name {show(name)} is excluded.")
    if _runs_anything(folder, program):
        yield DANGEROUS_PROCESS.at(entry.place, f"{show(name)} runs any script, and every script is excluded with it.")
    yield from _links(entry)


def _runs_anything(folder: str, program: str) -> bool:
    # Every program of a folder: dangerous in a folder with shells, not in the folder of one application.
    if program and set(program) <= {"*", "?"}:
        return not folder or any(paths.matches(folder, system) for system in paths.SYSTEM_BINARIES)
    if re.fullmatch(r"python\d+(\.\d+)*", program):
        return True
    return any(paths.matches(program, interpreter) for interpreter in _INTERPRETERS)
