"""The command mdatp: it is found in each place, has a time limit, and is supported in every version."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint import process
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_parser, health_rules, mdatp

from tests.support.clock import StandingClock

JSON = json.dumps({"healthy": True, "appVersion": "101.26062.0005", "definitionsVersion": "1.2.3.4"})
TABLE = 'healthy : true\napp_version : "101.26062.0005"\n'
# In a separate process: other tests may leave open files and child processes in this one.
NOTHING_LEFT = """
import os, sys
from ansible_collections.mde.offline.plugins.module_utils._endpoint import process
before = len(os.listdir("/proc/self/fd"))
for _unused in range(5):
    assert process.run([sys.argv[1]], 60)["rc"] == 0
assert len(os.listdir("/proc/self/fd")) == before
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child")
"""


def script(path: Path, body: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- Running ---


def test_outputs_are_kept_apart_and_input_is_closed(tmp_path):
    command = script(tmp_path / "c", 'read line && exit 9\necho "out $LC_ALL"\necho err >&2\nexit 3\n')
    assert process.run([command], 60) == {"rc": 3, "out": "out C\n", "err": "err\n", "timed_out": False}


def test_a_command_that_hangs_is_stopped_with_all_its_children(tmp_path, monkeypatch):
    pids, ready = tmp_path / "pids", tmp_path / "ready"
    child = f"sh -c 'trap \"\" TERM; echo $$ >> {pids}; sleep 100' &"
    body = f"trap '' TERM\n{child}\necho $$ >> {pids}\necho begun\n: > {ready}\nsleep 100\nsleep 100\n"
    begun = StandingClock(lambda: ready.exists() and len(pids.read_text().split()) == 2)
    monkeypatch.setattr(process, "now", begun)
    started = time.monotonic()
    result = process.run([script(tmp_path / "c", body)], 0.5)
    assert result["timed_out"] is True
    assert result["rc"] is None
    assert result["out"] == "begun\n"
    assert time.monotonic() - started < 60
    for pid in pids.read_text().split():
        until(lambda pid=pid: gone(int(pid)))


def test_a_command_that_closes_its_outputs_and_hangs_is_stopped_too(tmp_path):
    started = time.monotonic()
    assert process.run([script(tmp_path / "c", "exec >&- 2>&-\nsleep 100\n")], 0.5)["timed_out"] is True
    assert time.monotonic() - started < 60


def test_what_a_command_said_just_before_the_limit_is_not_cut_off(monkeypatch, tmp_path):
    """On a busy host, the result may be read only after the time limit, although the command ended in time."""
    children = []

    class Child(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            children.append(self)

    def now():
        if not children:
            return 0.0
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, children[0].pid, os.WEXITED | os.WNOWAIT)
        return 1000.0

    monkeypatch.setattr(process.subprocess, "Popen", Child)
    monkeypatch.setattr(process, "now", now)
    result = process.run([script(tmp_path / "c", "head -c 50000 /dev/zero | tr '\\0' x\necho problem >&2\n")], 5)
    assert result == {"rc": 0, "out": "x" * 50000, "err": "problem\n", "timed_out": False}


def test_what_a_command_leaves_behind_is_not_waited_for(tmp_path):
    pid = tmp_path / "pid"
    result = process.run([script(tmp_path / "c", f"sleep 300 &\necho $! > {pid}\necho done\n")], 120)
    assert (result["rc"], result["out"], result["timed_out"]) == (0, "done\n", False)
    assert not gone(int(pid.read_text()))
    os.kill(int(pid.read_text()), 9)


def test_endless_output_neither_fills_memory_nor_outlasts_the_limit(tmp_path, monkeypatch):
    ready = tmp_path / "ready"
    monkeypatch.setattr(process, "now", StandingClock(ready.exists))
    command = script(tmp_path / "c", f"head -c 2000 /dev/zero | tr '\\0' y\n: > {ready}\nexec yes\n")
    result = process.run([command], 0.5, max_output=1000)
    assert result["timed_out"] is True
    assert len(result["out"]) == 1000


def test_much_output_on_both_streams_arrives(tmp_path):
    command = script(tmp_path / "c", "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero | tr '\\0' x\n")
    result = process.run([command], 60)
    assert (result["rc"], len(result["out"]), len(result["err"])) == (0, 300000, 300000)


def test_no_file_handle_and_no_child_is_left(tmp_path):
    command = script(tmp_path / "c", "exit 0\n")
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_LEFT, command],
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "no child\n"), done.stderr


@pytest.mark.parametrize("content", [None, "", "\x7fELF garbage"])
def test_what_cannot_be_started_is_a_result_and_no_traceback(tmp_path, content):
    path = tmp_path / "c"
    if content is not None:
        path.write_text(content)
    result = process.run([str(path)], 5)
    assert (result["rc"], result["timed_out"]) == (None, False)
    assert result["err"]


# --- Finding ---


def test_it_is_found_in_path_first(tmp_path, monkeypatch):
    wanted = script(tmp_path / "bin" / "mdatp", "exit 0\n")
    script(tmp_path / "root" / "usr/bin/mdatp", "exit 0\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'empty'}:{tmp_path / 'bin'}")
    assert mdatp.find(root=str(tmp_path / "root")) == wanted


@pytest.mark.parametrize(
    ("place", "custom"),
    [
        ("usr/bin/mdatp", None),
        ("opt/microsoft/mdatp/sbin/wdavdaemonclient", None),
        ("data/mde/opt/microsoft/mdatp/sbin/wdavdaemonclient", '{"path": "/data/mde"}'),
        ("data/mde/microsoft_mdatp/sbin/wdavdaemonclient", '{"path": "/data/mde"}'),
        ("data/mde/opt/microsoft/mdatp/sbin/wdavdaemonclient", '{"install_path": "/data/mde/"}'),
    ],
)
def test_it_is_found_at_its_usual_places_and_where_it_was_installed_to(tmp_path, monkeypatch, place, custom):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert mdatp.find(root=str(tmp_path)) is None
    wanted = script(tmp_path / place, "exit 0\n")
    if custom:
        (tmp_path / "etc/opt/microsoft/mdatp").mkdir(parents=True)
        (tmp_path / "etc/opt/microsoft/mdatp/mde_path.json").write_text(custom)
    assert mdatp.find(root=str(tmp_path)) == wanted


@pytest.mark.parametrize("content", ["", "[]", '{"path": 5}', "not json"])
def test_a_broken_note_of_the_install_location_is_no_obstacle(tmp_path, monkeypatch, content):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    (tmp_path / "etc/opt/microsoft/mdatp").mkdir(parents=True)
    (tmp_path / "etc/opt/microsoft/mdatp/mde_path.json").write_text(content)
    assert mdatp.find(root=str(tmp_path)) is None


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda path: None, "not_installed"),
        (lambda path: path.mkdir(), "not_installed"),
        (lambda path: path.symlink_to("gone"), "not_installed"),
        (lambda path: path.write_text("x"), "mdatp_cannot_run"),
    ],
)
def test_a_named_command_that_is_none_is_reported_with_its_path(tmp_path, make, wanted):
    make(tmp_path / "mdatp")
    with pytest.raises(mdatp.MdatpError, match=str(tmp_path / "mdatp")) as caught:
        mdatp.Mdatp(path=str(tmp_path / "mdatp")).health()
    assert caught.value.id == wanted


def test_a_command_in_path_that_may_not_be_executed_is_named_with_its_mode(tmp_path, monkeypatch):
    script(tmp_path / "mdatp", "exit 0\n")
    (tmp_path / "mdatp").chmod(0o644)
    monkeypatch.setenv("PATH", str(tmp_path))
    if mdatp.find() is not None:
        pytest.skip("this machine has an agent")
    with pytest.raises(mdatp.MdatpError, match="mode 0644") as caught:
        mdatp.Mdatp().health()
    assert caught.value.id == "mdatp_cannot_run"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("kill -SEGV $$\n", "SIGSEGV"),
        ("bash -c 'kill -ABRT $$'\n", "SIGABRT"),
        (
            "echo 'mdatp: error while loading shared libraries: libx.so: no such file' >&2\nexit 127\n",
            "shared libraries",
        ),
        ("echo '/usr/bin/mdatp: cannot execute binary file: Exec format error' >&2\nexit 126\n", "binary file"),
    ],
)
def test_a_program_that_does_not_run_is_no_daemon_that_is_away(tmp_path, body, said):
    asked = agent(tmp_path, body)
    with pytest.raises(mdatp.MdatpError, match=said) as caught:
        asked.health()
    assert caught.value.id == "mdatp_cannot_run"
    assert "mdatp --health" not in [call["command"] for call in asked.calls]


def test_a_binary_of_another_machine_is_there_and_does_not_run(tmp_path):
    (tmp_path / "mdatp").write_bytes(b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\xb7\0" + b"\0" * 60)
    (tmp_path / "mdatp").chmod(0o755)
    with pytest.raises(mdatp.MdatpError, match="cannot be started") as caught:
        mdatp.Mdatp(path=str(tmp_path / "mdatp")).health()
    assert caught.value.id == "mdatp_cannot_run"


def test_a_status_of_255_is_not_a_signal(tmp_path):
    with pytest.raises(mdatp.MdatpError, match="status 255") as caught:
        agent(tmp_path, "exit 255\n").health()
    assert caught.value.id == "daemon_unreachable"


def test_the_command_line_of_2020_is_asked_in_its_own_words(tmp_path):
    old = 'definitionsVersion   : 79932\nhealthy   : true\nlicensed   : true\nversionEngine   : "100.87.66"'
    asked = agent(tmp_path, f"if [ \"$*\" = --health ]; then echo '{old}'; exit 0; fi\necho usage >&2\nexit 1\n")
    fields = asked.health()["fields"]
    assert (fields["version_engine"], fields["definitions_version"]) == ("100.87.66", "79932")
    found = health_rules.health_findings(health_parser.parse(old))
    assert [entry["id"] for entry in found] == ["agent_too_old"]


# --- Asking ---


def agent(tmp_path, body, **options):
    return mdatp.Mdatp(path=script(tmp_path / "mdatp", body), **options)


def answers(**by_arguments):
    """A simulated command: it has an output for some arguments, and ends with status 64 for all others."""
    names = {"json": "health --output json", "text": "health", "details": "health --details definitions"}
    cases = "".join(f"'{names[key]}') cat <<'END'\n{text}\nEND\nexit 0 ;;\n" for key, text in by_arguments.items())
    return f'case "$*" in\n{cases}esac\necho "Unknown option: $*" >&2\nexit 64\n'


def test_json_is_preferred_and_asked_for_once(tmp_path):
    asked = agent(tmp_path, answers(json=JSON, text=TABLE))
    assert asked.health()["format"] == "json"
    assert [call["command"] for call in asked.calls] == ["mdatp health --output json"]


@pytest.mark.parametrize("json_answer", ["", "Unknown option: --output", JSON[:30], '{"error": "not supported"}', "{}"])
def test_text_is_the_way_out_when_json_is_no_help(tmp_path, json_answer):
    assert agent(tmp_path, answers(json=json_answer, text=TABLE)).health()["format"] == "text"


def test_an_agent_that_does_not_know_the_option_is_asked_for_text(tmp_path):
    record = agent(tmp_path, answers(text=TABLE)).health()
    assert (record["format"], record["fields"]["app_version"]) == ("text", "101.26062.0005")


def test_an_agent_that_ignores_the_option_is_understood_at_once(tmp_path):
    asked = agent(tmp_path, answers(json=TABLE))
    assert asked.health()["format"] == "text"
    assert len(asked.calls) == 1


@pytest.mark.parametrize("stream", ["", " >&2"])
def test_a_daemon_that_is_away(tmp_path, stream):
    asked = agent(tmp_path, f"echo 'Could not connect to the daemon'{stream}\nexit 1\n")
    with pytest.raises(mdatp.MdatpError, match="Could not connect to the daemon") as caught:
        asked.health()
    assert caught.value.id == "daemon_unreachable"
    assert len(asked.calls) == 1


def test_any_failure_without_a_table_is_a_daemon_that_is_away(tmp_path):
    with pytest.raises(mdatp.MdatpError, match="status 64") as caught:
        agent(tmp_path, answers()).health()
    assert caught.value.id == "daemon_unreachable"


def test_a_license_warning_on_the_other_stream_is_a_notice(tmp_path):
    warning = "ATTENTION: No license found. Contact your administrator for help."
    asked = agent(tmp_path, f"echo '{warning}' >&2\necho 'some noise' >&2\n" + answers(json=JSON))
    assert asked.health()["notices"] == [warning]


def test_an_answer_that_is_no_table(tmp_path):
    with pytest.raises(mdatp.MdatpError, match="hello") as caught:
        agent(tmp_path, "echo hello\n").health()
    assert caught.value.id == "health_unreadable"


def test_a_hanging_command(tmp_path):
    with pytest.raises(mdatp.MdatpError, match="within 1 seconds") as caught:
        agent(tmp_path, "sleep 100\n", timeout=1).health()
    assert caught.value.id == "mdatp_hangs"


def test_details_and_their_absence(tmp_path):
    details = 'definitions_version : "1.2.3.4"'
    assert agent(tmp_path, answers(details=details)).health_details_definitions()["fields"] == {
        "definitions_version": "1.2.3.4"
    }
    assert agent(tmp_path, answers(text=TABLE)).health_details_definitions() is None


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ('"101.24022.0001"', "101.24022.0001"),
        ('ATTENTION: No license found. Contact your administrator for help.\n"101.85.27"', "101.85.27"),
        ("unavailable", None),
        ("", None),
    ],
)
def test_version(tmp_path, printed, version):
    assert agent(tmp_path, f"cat <<'END'\n{printed}\nEND\n").version == version


def test_credentials_do_not_leave_the_command(tmp_path):
    asked = agent(tmp_path, answers(json=JSON[:-1] + ', "proxy": "http://user:secret@proxy:3128/"}'))
    assert asked.health()["fields"]["proxy"] == "http://***@proxy:3128/"
    assert "secret" not in repr(asked.calls)


@pytest.mark.parametrize("scheme", ["http://", "HTTP://", ""])
@pytest.mark.parametrize(
    "password", ["secret", "sec/ret", "sec@ret", "sec ret", "12/secret", "sec?r#et", "p@ss sec ret"]
)
@pytest.mark.parametrize("printed", ["json", "text"])
def test_odd_passwords_do_not_leave_the_command(tmp_path, printed, password, scheme):
    address = f"{scheme}user:{password}@proxy:3128"
    rows = {**json.loads(JSON), "proxy": address, "releaseRing": "Production", "mail": "ops@corp.example"}
    table = TABLE + f'proxy                                       : "{address}"\nmail : "ops@corp.example"\n'
    shown = answers(json=json.dumps(rows)) if printed == "json" else answers(json="no JSON", text=table)
    asked = agent(tmp_path, shown)
    fields = asked.health()["fields"]
    assert (fields["proxy"], fields["mail"]) == (f"{scheme}***@proxy:3128", "ops@corp.example")
    assert not re.search("sec|p@ss", repr(asked.calls))


def test_only_the_last_call_of_each_command_is_reported(tmp_path):
    asked = agent(tmp_path, answers(json=JSON, text=TABLE))
    asked.health()
    asked.health_details_definitions()
    asked.health()
    assert [call["command"] for call in asked.last_calls()] == [
        "mdatp health --details definitions",
        "mdatp health --output json",
    ]
