"""`mde-mirror metrics` and `status --max-age`: the metrics for Prometheus, and the alarm for a stale mirror."""

from __future__ import annotations

import calendar
import json
import os
import re
import shutil
import stat
import time

import pytest

from tests.support.engine import SIZE, damage, folders, until, version

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|\Z)')
VALUE = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|Inf)\Z|NaN\Z")
OWN = "mde_mirror_"


def parse(text):
    """Prometheus' text format, strictly: one HELP and TYPE before all samples of a family, no sample twice.

    Returns {(name, frozenset of labels): value}.
    """
    assert text.endswith("\n") and "\r" not in text and "\t" not in text
    samples, helped, typed, current = {}, set(), {}, None
    for line in text[:-1].split("\n"):
        assert line == line.strip() and line, repr(line)
        if line.startswith("#"):
            word, name, rest = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line).groups()
            if word == "HELP":
                assert name not in helped
                helped.add(name)
            else:
                assert name in helped and name not in typed and rest in ("gauge", "counter")
                typed[name] = rest
                current = name
            continue
        name, labels, value = SAMPLE.match(line).groups()
        assert name == current, f"{name} is not below the HELP and TYPE of its family"
        pairs, at = [], 0
        while labels and at < len(labels):
            found = LABEL.match(labels, at)
            assert found, labels
            pairs.append(found.groups())
            at = found.end()
        assert len({key for key, _value in pairs}) == len(pairs)
        assert VALUE.match(value), value
        key = (name, frozenset(pairs))
        assert key not in samples
        samples[key] = float(value)
    assert set(typed) == helped
    return samples


def metrics(mirror):
    run = mirror.run("metrics")
    assert (run.status, run.stderr) == (0, "")
    found = parse(run.stdout)
    assert all(name.startswith(OWN) for name, _labels in found)
    return found


def value(found, name, **labels):
    return found[(OWN + name, frozenset(labels.items()))]


def seconds(iso):
    return calendar.timegm(time.strptime(iso, "%Y-%m-%dT%H:%M:%SZ"))


@pytest.mark.parametrize(
    "text",
    [
        "a 1",
        "a 1\n",
        "# HELP a x\n# TYPE a gauge\nb 1\n",
        "# HELP a x\n# TYPE a gauge\na 1\na 1\n",
        '# HELP a x\n# TYPE a gauge\na{b="c} 1\n',
        '# HELP a x\n# TYPE a gauge\na{b="1",b="2"} 1\n',
        "# HELP a x\n# TYPE a gauge\na one\n",
        "# HELP a x\n# TYPE a gauge\na 1\n\n",
    ],
)
def test_the_parser_of_these_tests_refuses(text):
    with pytest.raises((AssertionError, AttributeError)):
        parse(text)


def test_every_channel_has_metrics(mirror):
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    mirror.well("hold", "canary", "--reason", 'a "quoted" reason\\with everything')
    found = metrics(mirror)
    status = mirror.run("status", "--json").report
    for entry in status["channels"]:
        labels = {key: entry[key] for key in ("platform", "channel", "arch")}
        versions = {key: entry[key] for key in ("definitions_version", "engine_version")}
        assert value(found, "channel_info", **labels, **versions) == 1
        assert value(found, "channel_bytes", **labels) == entry["bytes"]
        assert value(found, "channel_held", **labels) == (entry["channel"] == "canary")
        assert value(found, "channel_definitions_timestamp_seconds", **labels) == seconds(entry["definitions_date"])
        assert value(found, "channel_published_timestamp_seconds", **labels) == seconds(entry["published"])
    assert len(status["channels"]) == 4
    assert value(found, "last_success_timestamp_seconds") == seconds(status["last_success"])
    assert value(found, "last_sync_timestamp_seconds") == seconds(status["last_sync"]["finished"])
    assert value(found, "last_sync_failed") == 0
    assert value(found, "last_sync_units", outcome="updated") == 2
    assert value(found, "last_sync_units", outcome="unchanged") == 2
    for unit in status["last_sync"]["units"]:
        labels = {key: unit[key] for key in ("platform", "channel", "arch")}
        assert value(found, "last_sync_bytes", **labels) == unit["bytes"]
        assert value(found, "last_sync_seconds", **labels) == unit["seconds"]


def test_a_failing_sync_is_visible(mirror):
    mirror.sync_well()
    before = metrics(mirror)
    success = mirror.status()["last_success"]
    mirror.service.publish(version(2), size=SIZE)
    mirror.service.fault("status", kind="package", arch="x86_64", code=404)
    assert until(lambda: hours_ago(0) > success)
    assert mirror.sync().status == 1
    found = metrics(mirror)
    assert value(found, "last_sync_failed") == 1
    assert value(found, "last_sync_units", outcome="failed") == 1
    assert value(found, "last_sync_units", outcome="updated") == 1
    assert value(found, "last_success_timestamp_seconds") == value(before, "last_success_timestamp_seconds")
    assert value(found, "last_sync_timestamp_seconds") > value(before, "last_sync_timestamp_seconds")
    mirror.service.clear_faults()
    mirror.sync_well()
    found = metrics(mirror)
    assert value(found, "last_sync_failed") == 0
    assert value(found, "last_success_timestamp_seconds") == seconds(mirror.status()["last_success"])


def test_a_mirror_that_was_never_synced(new_mirror):
    made = new_mirror()
    run = made.run("metrics")
    assert run.status == 0
    assert run.stdout.strip() == ""
    assert not made.root.exists()


def test_after_an_import_without_a_sync(mirror, new_mirror, tmp_path):
    """The channels have metrics although there was no sync."""
    mirror.well("export", tmp_path / "bundle.tar")
    island = new_mirror("island")
    island.well("import", "--unsigned", tmp_path / "bundle.tar")
    found = metrics(island)
    assert len([key for key in found if key[0] == OWN + "channel_info"]) == 2
    assert not [key for key in found if "last_s" in key[0]]
    assert value(found, "last_import_timestamp_seconds") == seconds(island.status()["last_import"])


def test_a_channel_that_is_behind_is_visible(mirror):
    mirror.sync_well()
    labels = {"platform": "linux", "channel": "production", "arch": "x86_64"}
    found = metrics(mirror)
    assert value(found, "channel_behind", **labels) == 0
    assert not [key for key in found if "behind_since" in key[0]]
    mirror.well("hold", "production")
    mirror.service.publish(version(2), size=SIZE)
    mirror.sync_well()
    found = metrics(mirror)
    (since,) = [entry["behind_since"] for entry in mirror.status()["channels"] if entry["arch"] == labels["arch"]]
    assert value(found, "channel_behind", **labels) == 1
    assert value(found, "channel_behind_since_timestamp_seconds", **labels) == seconds(since)


# -- into a file -------------------------------------------------------------------------------------------------------


def test_metrics_are_written_to_a_readable_file_in_one_step(mirror, tmp_path):
    folder = tmp_path / "textfile"
    folder.mkdir()
    file = folder / "mde-mirror.prom"
    victim = tmp_path / "victim"
    victim.write_text("precious")
    file.symlink_to(victim)
    (folder / ".mde-mirror.prom.part").symlink_to(victim)
    for _again in range(2):
        run = mirror.run("metrics", "--output", str(file), preexec_fn=lambda: os.umask(0o077))
        assert (run.status, run.text) == (0, "")
        assert parse(file.read_text()) == metrics(mirror)
        assert stat.S_IMODE(file.lstat().st_mode) == 0o644
        assert list(folder.iterdir()) == [file]
    assert victim.read_text() == "precious"


def test_a_reader_never_sees_incomplete_metrics(mirror, tmp_path):
    """Two simultaneous writers, and a reader that reads continuously."""
    file = tmp_path / "mde-mirror.prom"
    mirror.run("metrics", "--output", str(file))
    expected = file.read_text()
    writers = [mirror.start("metrics", "--output", str(file)) for _number in range(2)]
    while any(writer.poll() is None for writer in writers):
        assert file.read_text() == expected
    assert [(writer.communicate(), writer.returncode)[1] for writer in writers] == [0, 0]


def test_a_missing_folder_for_the_metrics(mirror, tmp_path):
    run = mirror.run("metrics", "--output", str(tmp_path / "missing" / "mde.prom"))
    assert run.status == 1
    assert "does not exist" in run.stderr
    assert "--collector.textfile.directory" in run.stderr


@pytest.mark.parametrize("name", ["metrics.txt", "metrics", ".prom", ".hidden.prom", "x.prom.tmp"])
def test_a_file_name_that_the_collector_does_not_read_is_refused(mirror, tmp_path, name):
    run = mirror.run("metrics", "--output", str(tmp_path / name))
    assert run.status == 2
    assert ".prom" in run.stderr
    assert not list(tmp_path.glob("*metrics*"))


# -- `status --max-age` ------------------------------------------------------------------------------------------------


def set_last(mirror, **fields):
    file = mirror.root / ".state" / "last-sync.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **fields}))


def hours_ago(hours):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - hours * 3600))


def alarms(mirror, hours, status):
    """The messages of `--max-age`, which are the same with and without --json, and are not in the output."""
    runs = [mirror.run("status", "--max-age", str(hours), *json_) for json_ in ([], ["--json"])]
    plain = [mirror.run("status", *json_) for json_ in ([], ["--json"])]
    assert [run.status for run in runs] == [status, status]
    assert [run.status for run in plain] == [0, 0]
    assert runs[0].stderr == runs[1].stderr
    with_alarms, without = ([entry["path"] for entry in run.report["channels"]] for run in (runs[1], plain[1]))
    assert with_alarms == without != []
    lines = runs[0].stderr.splitlines()
    assert bool(lines) is (status == 1)
    assert all(line.startswith("mde-mirror: ") for line in lines)
    return lines


def test_a_mirror_that_is_up_to_date_raises_no_alarm(mirror):
    mirror.sync_well()
    assert alarms(mirror, 1, 0) == []
    set_last(mirror, last_success=hours_ago(25))
    (line,) = alarms(mirror, 24, 1)
    assert "25.0 hours ago" in line
    assert alarms(mirror, 25.5, 0) == []
    # Clocks of hosts may differ slightly, but a clock that was wrong must not silence the alarm for years.
    set_last(mirror, last_success=hours_ago(-0.5))
    assert alarms(mirror, 24, 0) == []
    set_last(mirror, last_success=hours_ago(-24 * 365))
    (line,) = alarms(mirror, 24, 1)
    assert "in the future" in line
    set_last(mirror, last_success=None)
    (line,) = alarms(mirror, 24, 1)
    assert "never" in line
    mirror.sync_well()
    assert alarms(mirror, 0.1, 0) == []


def test_failed_syncs_do_not_count_as_success(mirror):
    mirror.sync_well()
    set_last(mirror, last_success=hours_ago(5))
    mirror.service.fault("status", kind="info", arch="x86_64", code=404)
    assert mirror.sync().status == 1
    assert len(alarms(mirror, 4, 1)) == 1
    assert alarms(mirror, 6, 0) == []


def test_an_empty_mirror_raises_an_alarm(new_mirror):
    made = new_mirror()
    (line,) = made.run("status", "--max-age", "24").stderr.splitlines()
    assert "never" in line
    assert made.run("status", "--max-age", "24").status == 1
    assert not made.root.exists()


def test_an_import_counts_as_a_success(mirror, new_mirror, tmp_path):
    mirror.well("export", tmp_path / "bundle.tar")
    island = new_mirror("island")
    island.well("import", "--unsigned", tmp_path / "bundle.tar")
    assert alarms(island, 1, 0) == []
    set_last(island, last_import=hours_ago(2))
    assert len(alarms(island, 1, 1)) == 1
    assert alarms(island, 3, 0) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: shutil.rmtree(path.resolve()),
        lambda path: (path / "updates.zip").unlink(),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
@pytest.mark.parametrize("channel", ["production", "production_back"])
def test_a_missing_published_folder_raises_an_alarm(mirror, spoil, channel):
    mirror.publish(2)
    path = folders(channel)[0]
    spoil(mirror.root / path)
    (line,) = alarms(mirror, 24, 1)
    assert path in line and "missing" in line


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "a day", ""])
def test_invalid_hours_are_wrong_usage(mirror, hours):
    run = mirror.run("status", f"--max-age={hours}")
    assert run.status == 2
    assert "hours" in run.stderr


def test_a_damaged_release_does_not_affect_other_metrics(mirror):
    damage(mirror.root / folders("production")[0])
    (mirror.root / folders("production")[0] / "release.json").unlink()
    found = metrics(mirror)
    assert value(found, "channel_bytes", platform="linux", channel="production", arch="arm64") > 0


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"last_sync": null}'])
def test_an_invalid_record_of_the_last_sync_is_ignored(mirror, content):
    (mirror.root / ".state" / "last-sync.json").write_text(content)
    found = metrics(mirror)
    assert len([key for key in found if key[0] == OWN + "channel_info"]) == 2


def test_a_date_in_another_format_is_omitted(mirror):
    record = (mirror.root / folders("production")[0] / "release.json").resolve()
    fields = json.loads(record.read_bytes())
    record.write_text(json.dumps({**fields, "definitions_date": "yesterday"}))
    found = metrics(mirror)
    times = [key for key in found if key[0] == OWN + "channel_definitions_timestamp_seconds"]
    assert [dict(labels)["arch"] for _name, labels in times] == ["arm64"]
