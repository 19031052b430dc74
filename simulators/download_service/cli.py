"""Simulate Microsoft's definition download service, with faults on demand.

    python3 simulators/download_service serve --directory DIR --ready-file DIR/ready.json
    python3 simulators/download_service publish --ready-file DIR/ready.json --definitions 1.443.509.0
    python3 simulators/download_service fault --ready-file DIR/ready.json status --kind package --option code=503
    python3 simulators/download_service requests --ready-file DIR/ready.json

All commands but `serve` find the running service by the file that `serve --ready-file` wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from .faults import KINDS, fault_names
from .packages import ARCHITECTURES, PLATFORMS, RINGS
from .service import DownloadService


def _serve(chosen: argparse.Namespace) -> int:
    tls = None
    if chosen.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chosen.tls_cert, chosen.tls_key)
        if chosen.client_ca:
            tls.load_verify_locations(chosen.client_ca)
            tls.verify_mode = ssl.CERT_REQUIRED
    # sigwait() instead of a handler that sets an event: a signal during Event.wait() could deadlock.
    signals = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    service = DownloadService(
        chosen.directory,
        port=chosen.port,
        control_port=chosen.control_port,
        tls=tls,
        latency=chosen.latency,
        throttle=chosen.throttle,
        etag=not chosen.no_etag,
        last_modified=not chosen.no_last_modified,
        ranges=not chosen.no_range,
    )
    with service:
        if chosen.definitions:
            service.publish(chosen.definitions, chosen.engine, size=chosen.size, stored=chosen.stored)
        ready = {"url": service.url, "control": service.control_url, "pid": os.getpid()}
        if chosen.ready_file:
            staged = chosen.ready_file.with_name(f"{chosen.ready_file.name}.{os.getpid()}")
            staged.write_text(json.dumps(ready) + "\n", encoding="utf-8")
            staged.replace(chosen.ready_file)
        print(json.dumps(ready), flush=True)
        signal.sigwait(signals)
    return 0


def _ask(chosen: argparse.Namespace, method: str, path: str, given: dict[str, Any] | None = None) -> int:
    control = chosen.control or json.loads(chosen.ready_file.read_text(encoding="utf-8"))["control"]
    data = None if given is None else json.dumps(given).encode()
    request = urllib.request.Request(control + path, data=data, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as response:
            result = json.load(response)
    except urllib.error.HTTPError as error:
        print(json.load(error)["error"], file=sys.stderr)
        return 2
    except OSError as error:
        print(f"the service at {control} does not answer ({error}); check that it is still running", file=sys.stderr)
        return 1
    for line in result or []:
        print(json.dumps(line))
    return 0


def _value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)

    serve = verbs.add_parser("serve", help="run the service until SIGTERM or Ctrl-C")
    serve.add_argument("--directory", type=Path, required=True, help="folder for the packages")
    serve.add_argument("--port", type=int, default=0, help="0: a free port")
    serve.add_argument("--control-port", type=int, default=0, help="0: a free port")
    serve.add_argument("--tls-cert")
    serve.add_argument("--tls-key")
    serve.add_argument("--client-ca", help="require a client certificate of this authority")
    serve.add_argument("--latency", type=float, default=0.0, help="seconds before each response")
    serve.add_argument("--throttle", type=float, default=0.0, help="bytes per second for each connection; 0: no limit")
    serve.add_argument("--ready-file", type=Path, help="file to write the addresses to when the service is ready")
    serve.add_argument("--no-etag", action="store_true")
    serve.add_argument("--no-last-modified", action="store_true")
    serve.add_argument("--no-range", action="store_true")

    reach = argparse.ArgumentParser(add_help=False)
    where = reach.add_mutually_exclusive_group(required=True)
    where.add_argument("--ready-file", type=Path, help="the file that `serve --ready-file` wrote")
    where.add_argument("--control", help="the control address")
    units = argparse.ArgumentParser(add_help=False)
    units.add_argument("--platform", choices=PLATFORMS)
    units.add_argument("--arch", choices=ARCHITECTURES)
    units.add_argument("--ring", choices=RINGS)

    publish = verbs.add_parser(
        "publish", parents=[reach, units], help="publish a release for all units or the selected ones"
    )
    for verb, default in ((serve, "1.443.508.0"), (publish, None)):
        verb.add_argument("--definitions", default=default, required=default is None, help="version")
        verb.add_argument("--engine", default="1.1.25110.3002", help="version")
        verb.add_argument("--size", type=int, default=200_000, help="approximate size in bytes")
        verb.add_argument("--stored", action="store_true", help="do not compress; faster for large packages")
    publish.add_argument("--date", help="YYYY-MM-DD HH:MM:SSZ")

    fault = verbs.add_parser("fault", parents=[reach, units], help="apply a fault, or list the faults that are set")
    fault.add_argument("name", nargs="?", help="one of: " + ", ".join(fault_names()))
    fault.add_argument("--kind", choices=(*KINDS, "redirect"))
    fault.add_argument("--times", type=int, help="number of requests that the fault applies to; default: all")
    fault.add_argument("--skip", type=int, default=0, help="number of matching requests to leave alone first")
    fault.add_argument("--option", type=_value, action="append", default=[], metavar="NAME=VALUE")
    fault.add_argument("--clear", action="store_true", help="remove all faults")

    requests = verbs.add_parser("requests", parents=[reach], help="print the requests so far, one JSON object per line")
    requests.add_argument("--clear", action="store_true", help="delete the records")
    return parser


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.verb == "serve":
        if bool(chosen.tls_cert) != bool(chosen.tls_key):
            parser.error("--tls-cert and --tls-key go together")
        return _serve(chosen)
    if chosen.verb == "publish":
        names = ("definitions", "engine", "platform", "arch", "ring", "size", "date", "stored")
        return _ask(chosen, "POST", "releases", {name: getattr(chosen, name) for name in names})
    if chosen.verb == "requests":
        return _ask(chosen, "DELETE" if chosen.clear else "GET", "requests")
    if chosen.clear:
        return _ask(chosen, "DELETE", "faults")
    if not chosen.name:
        return _ask(chosen, "GET", "faults")
    given = {name: getattr(chosen, name) for name in ("name", "kind", "platform", "arch", "ring", "times", "skip")}
    return _ask(chosen, "POST", "faults", {**given, "options": dict(chosen.option)})
