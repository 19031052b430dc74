"""The command `mde-mirror`: the verbs of the engine for people and timers."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Union

from . import VERSION, metrics, refusals
from .errors import LockedError, MirrorError, SettingsError
from .files import advising, replacing
from .privileges import acting_as_owner
from .progress import Report, Silent
from .records import is_mirror_id
from .session import Mirror
from .settings import DEFAULT_PATH, Settings, load
from .status import missing, read_status, verify
from .sync import sync
from .units import ARCHITECTURES, PLATFORMS, unit_name

if TYPE_CHECKING:
    from .alarms import Alarm
    from .channels import Selection

# What proved the origin of the packages of a mirror.
_ORIGINS = {
    "signed": "a signature of a trusted key",
    "tls": "the certificate of the source (TLS)",
    "unsigned": "nothing (unsigned)",
}
DONE, FAILED, USAGE, LOCKED, STOPPED = 0, 1, 2, 75, 130


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb and returns the exit status that the epilog of `--help` explains."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = _parser(words[0] if words else None)
    for former, present in _former_names(words):
        parser.error(f"{former} is now {present}")
    options = parser.parse_args(words)
    signal.signal(signal.SIGTERM, _interrupted)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Escape characters that the terminal's encoding cannot represent instead of raising UnicodeEncodeError.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        sys.stderr.write("mde-mirror: stopped; what is published was not touched, and the next sync carries on.\n")
        return STOPPED
    except OSError as error:
        # Usually stdout failed. Point it at /dev/null so that the flush at interpreter exit does not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            # A closed pipe, for example to `head`, needs no message.
            what = error.filename if isinstance(error.filename, str) else "the output"
            sys.stderr.write(f"mde-mirror: writing {what} failed: {error.strerror}" + "\n")
        return FAILED


def _former_names(words: list[str]) -> list[tuple[str, str]]:
    """Names in `words` that were changed after version 0.1.0, with their present names."""
    former = [("the verb release", "unhold")] if words[:1] == ["release"] else []
    return former + [("--lacking", "--base") for word in words if word.split("=")[0] == "--lacking"]


def _run(options: argparse.Namespace) -> int:
    try:
        settings = load(options.settings)
        status: int = options.verb(options, settings)
        return status
    except MirrorError as error:
        if getattr(options, "json", False):
            _say(json.dumps({"result": "failed", "changed": False, "units": [], "errors": [error.as_dict()]}))
        else:
            sys.stderr.write(f"mde-mirror: {error.message}\n    {error.hint}" + "\n")
        return _exit_status(error)


def _say(text: str = "", end: str = "\n") -> None:
    sys.stdout.write(text + end)


def _interrupted(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _exit_status(error: MirrorError) -> int:
    if isinstance(error, SettingsError):
        return USAGE
    return LOCKED if isinstance(error, LockedError) else FAILED


class _NotNamed:
    """Replaces the parser of a verb that the command line does not name, because making all parsers takes long."""

    def add_argument(self, *_names: str, **_options: Any) -> None:
        """Drops an option of that verb."""


_VerbParser = Union[argparse.ArgumentParser, _NotNamed]


def _parser(named: str | None) -> argparse.ArgumentParser:
    """A parser with only the verb `named`, or with all verbs if `named` is not a verb."""
    parser = argparse.ArgumentParser(
        prog="mde-mirror",
        description="Mirrors the security intelligence of Microsoft Defender for Endpoint.",
        epilog="Exit status: 0 done, 1 something failed, 2 wrong use or settings, 75 another run holds the lock, "
        "130 stopped.",
    )
    parser.add_argument("--version", action="version", version="mde-mirror " + VERSION)
    verbs = parser.add_subparsers(dest="name", metavar="VERB", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace, Settings], int], text: str) -> _VerbParser:
        if named not in (None, name):
            return _NotNamed()
        added = verbs.add_parser(name, help=text, description=text)
        added.add_argument(
            "--settings", type=Path, default=DEFAULT_PATH, metavar="FILE", help="settings (default: %(default)s)"
        )
        added.set_defaults(verb=run)
        return added

    added = verb("sync", _sync, "Fetch, verify and publish what is new.")
    added.add_argument("--check", action="store_true", help="only say what a sync would do")
    _add_accept(added)
    added.add_argument("--json", action="store_true", help="print the result as one JSON object")
    added = verb("status", _status, "Show what is published, how old it is, and how the last sync went.")
    added.add_argument("--json", action="store_true", help="print it as JSON")
    added.add_argument(
        "--max-age",
        type=_hours,
        metavar="HOURS",
        help="exit with 1 if the last success is older, if there was none, if the definitions of a channel are older "
        "than the settings allow, or if something published is missing",
    )
    added.add_argument(
        "--max-definitions-age",
        type=_hours_or_none,
        metavar="HOURS",
        help="exit with 1 if the definitions of a channel are older; 0 means no limit (default: maxDefinitionsAge of "
        "the settings)",
    )
    added.add_argument(
        "--sign",
        action="store_true",
        help="first sign status.json anew if signing.key is set, so that it does not expire while nothing is published",
    )
    _add_channel_verbs(verb)
    added = verb("trust", _trust, "Accept another mirror that signs with a key already known from a different mirror.")
    added.add_argument(
        "mirror_id", type=_mirror_id, metavar="MIRROR-ID", help="the id in the message of the refusal foreign_mirror"
    )
    added = verb("verify", _verify, "Read everything that is published and compare it with what was verified.")
    added.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser if verbs.choices else _parser(None)


def _add_channel_verbs(verb: Callable[..., _VerbParser]) -> None:
    def select(added: _VerbParser) -> None:
        if isinstance(added, _NotNamed):
            return
        added.add_argument("--platform", choices=PLATFORMS, help="only this platform")
        added.add_argument("--arch", choices=ARCHITECTURES, help="only this architecture")
        added.add_argument(
            "--by", default=os.environ.get("SUDO_USER") or _user(), help="who does it (default: %(default)s)"
        )
        added.add_argument("--check", action="store_true", help="only say what would change")
        added.add_argument("--json", action="store_true", help="print the result as one JSON object")

    added = verb("promote", _promote, "Make channel TO serve what channel FROM serves.")
    added.add_argument("source", metavar="FROM")
    added.add_argument("target", metavar="TO")
    added.add_argument(
        "--release", help="a stored release, by name or definitions version, instead of the one that FROM serves now"
    )
    select(added)
    added = verb("rollback", _rollback, "Make a channel serve its previous release, and hold it there.")
    added.add_argument("channel", metavar="CHANNEL")
    added.add_argument("--to", metavar="RELEASE", help="a stored release, by name or definitions version")
    added.add_argument("--reason", default="", help="the reason, for other operators")
    select(added)
    added = verb("hold", _hold, "Make a channel keep its release.")
    added.add_argument("channel", metavar="CHANNEL")
    added.add_argument("--reason", default="", help="the reason, for other operators")
    select(added)
    added = verb("unhold", _unhold, "Let a held channel follow its source again.")
    added.add_argument("channel", metavar="CHANNEL")
    select(added)
    added = verb("export", _export, "Write what is served to one file that can be carried across an air gap.")
    added.add_argument("file", type=Path, metavar="FILE")
    added.add_argument(
        "--base",
        type=Path,
        metavar="STATUS",
        help="status.json of the mirror that will import the file: packages that it lists are left out",
    )
    added.add_argument(
        "--valid-days",
        type=_days,
        default=30,
        metavar="DAYS",
        help="how long a signed file can be imported (default: %(default)s)",
    )
    added.add_argument("--json", action="store_true", help="print the result as one JSON object")
    added = verb("import", _import, "Verify a file that `export` wrote, and publish its releases.")
    added.add_argument("file", type=Path, metavar="FILE")
    added.add_argument("--check", action="store_true", help="only say what an import would do")
    added.add_argument(
        "--unsigned", action="store_true", help="take the file without a check of its origin, signed or not"
    )
    _add_accept(added)
    added.add_argument("--json", action="store_true", help="print the result as one JSON object")
    added = verb("metrics", _metrics, "Print the status in Prometheus' text format.")
    added.add_argument(
        "--output",
        type=_prom_file,
        metavar="FILE",
        help="write it to this file (*.prom) for node_exporter's textfile collector",
    )


def _add_accept(added: _VerbParser) -> None:
    added.add_argument(
        "--accept",
        action="append",
        default=[],
        choices=refusals.ACCEPTABLE,
        metavar="CODE",
        help=f"take once what is refused with this code: {', '.join(refusals.ACCEPTABLE)}; may be given several times",
    )
    added.add_argument(
        "--allow-downgrade",
        dest="accept",
        action="append_const",
        const=refusals.DOWNGRADE,
        help="the same as --accept downgrade",
    )


def _hours_or_none(text: str) -> float:
    return 0.0 if re.fullmatch(r"0+(\.0*)?", text) else _hours(text)


def _days(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to 9999")
    return int(text)


def _mirror_id(text: str) -> str:
    if not is_mirror_id(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a mirror, which has 32 hexadecimal digits")
    return text


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours above 0")
    return hours


def _prom_file(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".prom" or path.name.startswith("."):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a file whose name ends in .prom: node_exporter's textfile collector reads no other files"
        )
    return path


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _selection(options: argparse.Namespace, channel: str) -> Selection:
    from .channels import Selection

    return Selection(channel, options.platform, options.arch)


def _promote(options: argparse.Namespace, settings: Settings) -> int:
    from . import channels

    source = _selection(options, options.source)
    done = channels.promote(
        settings, source, options.target, release=options.release, by=options.by, check=options.check
    )
    return _print_units(options, done)


def _rollback(options: argparse.Namespace, settings: Settings) -> int:
    from . import channels

    selection = _selection(options, options.channel)
    done = channels.rollback(
        settings, selection, to=options.to, reason=options.reason, by=options.by, check=options.check
    )
    return _print_units(options, done)


def _hold(options: argparse.Namespace, settings: Settings) -> int:
    from . import channels

    selection = _selection(options, options.channel)
    done = channels.hold(settings, selection, reason=options.reason, by=options.by, check=options.check)
    return _print_units(options, done)


def _unhold(options: argparse.Namespace, settings: Settings) -> int:
    from . import channels

    selection = _selection(options, options.channel)
    return _print_units(options, channels.unhold(settings, selection, by=options.by, check=options.check))


def _import(options: argparse.Namespace, settings: Settings) -> int:
    from .bundle import import_bundle

    done = import_bundle(settings, options.file, options.check, frozenset(options.accept), options.unsigned)
    return _print_units(options, done)


def _trust(options: argparse.Namespace, settings: Settings) -> int:
    Mirror(settings).change(lambda session: session.trust(lambda trust: trust.expecting(options.mirror_id)))
    _say(f"{options.mirror_id}: the next signed document of this mirror is accepted")
    return DONE


def _export(options: argparse.Namespace, settings: Settings) -> int:
    from .bundle import export_bundle

    done = export_bundle(settings, options.file, options.base, valid_days=options.valid_days)
    if options.json:
        _say(json.dumps({"result": "ok", **done, "errors": []}))
    else:
        _say("{path}: {bytes} bytes, SHA-256 {sha256}".format(**done))
        for path in done["left_out"]:
            _say(f"    {path}: left out, the other mirror has it")
    return DONE


def _metrics(options: argparse.Namespace, settings: Settings) -> int:
    text = metrics.render(read_status(settings))
    if not options.output:
        _say(text, end="")
        return DONE
    if not options.output.parent.is_dir():
        raise MirrorError(
            "file",
            f"the folder {options.output.parent} for the metrics does not exist",
            "Create it, or name the folder of node_exporter's option --collector.textfile.directory.",
        )
    # The owner of the mirror can replace any folder below it with a link, so root must not write there.
    writer = acting_as_owner(settings.root) if settings.root in options.output.parents else contextlib.nullcontext()
    with writer, advising("writing", options.output), replacing(options.output, wait=True) as file:
        file.write(text.encode())
    return DONE


def _print_units(options: argparse.Namespace, done: dict[str, Any]) -> int:
    """Prints the result for each unit of a channel."""
    if options.json:
        _say(json.dumps({"result": "ok", **done, "errors": []}))
        return DONE
    for unit in done["units"]:
        word = "unchanged" if not unit["changed"] else ("would change" if options.check else "changed")
        now = unit.get("after") or unit
        held = f", {_held(now['held'])}" if now.get("held") else ""
        _say(f"{unit_name(unit)}: {word}, serves {now['release']}{held}")
    return DONE


def _held(hold: dict[str, str]) -> str:
    who = f" by {hold['by']}" if hold.get("by") else ""
    return f"held{who}: {hold.get('reason') or 'no reason given'}"


def _sync(options: argparse.Namespace, settings: Settings) -> int:
    log: ContextManager[Callable[[str], None] | None] = contextlib.nullcontext()
    if settings.log_file:
        from .log_file import log_file

        log = log_file(settings.log_file)
    with acting_as_owner(settings.root), log as write_log:
        report = Silent() if options.json else Report(sys.stdout, write_log, options.check)
        result = sync(settings, options.check, frozenset(options.accept), report)
    if report.lost:
        raise report.lost
    if options.json:
        _say(json.dumps(result.as_dict()))
    return FAILED if result.failed else DONE


def _status(options: argparse.Namespace, settings: Settings) -> int:
    if options.sign and settings.signing_key:
        Mirror(settings).change(lambda session: session.sign())
    found = read_status(settings)
    hours = options.max_definitions_age
    if hours is not None:
        for channel in found["channels"]:
            channel["max_definitions_age_hours"] = hours
    raised: list[Alarm] = []
    if options.max_age or hours is not None:
        from .alarms import alarms

        raised = alarms(found, settings.root, missing(settings), options.max_age)
        found["alarms"] = [alarm._asdict() for alarm in raised]
    if options.json:
        _say(json.dumps(found, indent=2))
    else:
        _print_status(found, settings)
    for alarm in raised:
        sys.stderr.write(f"mde-mirror: {alarm.message}" + "\n")
    return FAILED if raised else DONE


def _print_status(found: dict[str, Any], settings: Settings) -> None:
    if not found["channels"]:
        _say(f"{settings.root} serves nothing yet. Run `mde-mirror sync`.")
        return
    rows = [("CHANNEL", "DEFINITIONS", "ENGINE", "AGE", "LIMIT", "N-1", "BEHIND", "")]
    for channel in found["channels"]:
        rows.append(
            (
                unit_name(channel),
                channel["definitions_version"] or "missing",
                channel["engine_version"] or "missing",
                _age(channel["age_seconds"]),
                f"{channel['max_definitions_age_hours']:g} h" if channel["max_definitions_age_hours"] else "-",
                (channel["back"] or {}).get("definitions_version") or "-",
                _lag(channel),
                _held(channel["held"]) if channel["held"] else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    if found["origin"]:
        _say(f"origin of what was taken last: {_ORIGINS.get(found['origin'], found['origin'])}")
    last = found["last_sync"]
    if last:
        _say("last sync {finished}: {result}".format(**last), end="")
        _say("" if last["result"] == "ok" else " (last success: {})".format(found["last_success"] or "never"))
        for error in last["errors"] + [unit["error"] for unit in last["units"] if unit["error"]]:
            _say("    {code}: {message}\n        {hint}".format(**error))


def _lag(channel: dict[str, Any]) -> str:
    """The lag of a channel; a dash if the source was not asked."""
    if channel["behind_seconds"] == 0 and not channel["behind_since"]:
        return "no"
    if channel["behind_seconds"] is None:
        return "-"
    offered = "{definitions_version} for ".format(**channel["offered"]) if channel["offered"] else ""
    return offered + _age(channel["behind_seconds"])


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    found = verify(settings)
    if options.json:
        _say(json.dumps(found, indent=2))
    else:
        for entry in found:
            _say("{path} ({release}): {0}".format("; ".join(entry["damages"]) or "whole", **entry))
        if any(entry["damages"] for entry in found):
            _say("Run `mde-mirror sync` to repair what the source still has.")
    return FAILED if any(entry["damages"] for entry in found) else DONE


def _age(seconds: int | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 72 * 3600 else f"{seconds // 86400} d"
