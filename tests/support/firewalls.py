"""Simulated commands of firewalld, ufw and SELinux, which keep their state in files."""

from __future__ import annotations

import sys
from pathlib import Path

# The first lines are a shell script, because the path of the interpreter may contain spaces.
PROGRAM = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import pathlib, re, sys
home = pathlib.Path({home!r})
name, args = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
def lines(what):
    path = home / what
    return path.read_text().splitlines() if path.exists() else []
def keep(what, entries):
    (home / what).write_text("".join(entry + "\\n" for entry in entries))
def note():
    with (home / "calls").open("a") as stream:
        stream.write(" ".join([name, *args]) + "\\n")
if name == "firewall-cmd":
    if args == ["--state"]:
        print("running"); sys.exit(0)
    store = "permanent" if "--permanent" in args else "runtime"
    zone = next((a.split("=")[1] for a in args if a.startswith("--zone=")), "public")
    verb, rule = re.match("--(query|add|remove)-rich-rule=(.*)", args[-1]).groups()
    entry = zone + " " + rule
    if verb == "query":
        found = entry in lines(store); print("yes" if found else "no"); sys.exit(0 if found else 1)
    note()
    keep(store, [e for e in lines(store) if e != entry] + ([entry] if verb == "add" else []))
    print("success")
elif name == "ufw":
    if args == ["status"]:
        print("Status: active")
    elif args == ["show", "added"]:
        print("Added user rules (see 'ufw status' for running firewall):")
        print("\\n".join("ufw " + e for e in lines("ufw")))
    else:
        note()
        if args[0] == "allow":
            keep("ufw", lines("ufw") + ["allow " + args[1] + (" comment '" + args[3] + "'" if len(args) > 3 else "")])
        else:
            keep("ufw", [e for e in lines("ufw") if not e.startswith("allow " + args[-1])])
elif name == "matchpathcon":
    specs = [e.split() for e in lines("fcontext")]
    kinds = [kind for spec, kind in specs if re.fullmatch(spec, args[-1])]
    print("system_u:object_r:" + (kinds or ["var_t"])[-1] + ":s0")
elif name == "semanage":
    if args[:2] == ["port", "-l"]:
        print("http_cache_port_t              tcp      8080, 8118, 8123, 10001-10010")
        print("http_port_t                    tcp      " + ", ".join(lines("ports") + ["80", "81", "443", "8443"]))
        print("ssh_port_t                     tcp      22")
    elif args[:2] == ["fcontext", "-l"]:
        for entry in lines("fcontext"):
            print("%-50s all files          system_u:object_r:%s:s0" % tuple(entry.split()))
    elif args[0] == "port":
        note()
        if args[-1] == "22" and args[1] == "-a":
            sys.exit("ValueError: Port tcp/22 already defined")
        keep("ports", lines("ports") + [args[-1]])
    else:
        note()
        known = [e for e in lines("fcontext") if e.split()[0] == args[-1]]
        if bool(known) != (args[1] == "-m"):
            sys.exit("ValueError: wrong verb for " + args[-1])
        keep("fcontext", [e for e in lines("fcontext") if e not in known] + [args[-1] + " " + args[3]])
elif name == "restorecon":
    kinds = [e.split()[1] for e in lines("fcontext") if re.fullmatch(e.split()[0], args[-1])]
    if kinds and kinds[-1:] != lines("labels"):
        print("Relabeled " + args[-1])
        if "-n" not in args:
            note(); keep("labels", kinds[-1:])
"""


class SystemCommands:
    """A folder for PATH with these commands; `calls` are the changes that were requested."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.home = folder / "state"
        self.bin = folder / "bin"
        for path in (self.home, self.bin):
            path.mkdir(parents=True)
        for name in names:
            program = self.bin / name
            program.write_text(PROGRAM.format(python=sys.executable, home=str(self.home)), encoding="utf-8")
            program.chmod(0o755)

    def lines(self, what: str) -> list[str]:
        path = self.home / what
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def take_calls(self) -> list[str]:
        found = self.lines("calls")
        (self.home / "calls").write_text("", encoding="utf-8")
        return found
