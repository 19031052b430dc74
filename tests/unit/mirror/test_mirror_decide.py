"""The decisions of a sync as a table, without network and disk. Each row is a unit, its state, and the decision."""

from __future__ import annotations

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror import decide
from ansible_collections.mde.offline.plugins.module_utils._mirror.decide import (
    NOTHING,
    OFFERED,
    PEEK,
    Answer,
    Found,
    Options,
    View,
)
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.records import Channel, Release
from ansible_collections.mde.offline.plugins.module_utils._mirror.units import Unit
from ansible_collections.mde.offline.plugins.module_utils._mirror.versions import Offer, Versions

RING = Unit("linux", "production", "x86_64")
EXTRA = Unit("linux", "canary", "x86_64")
NOW, EARLIER, YESTERDAY = "2026-02-03T12:00:00Z", "2026-02-03T09:00:00Z", "2026-02-02T12:00:00Z"
ONE, TWO = Versions("1.443.508.0", "1.1.25110.3002"), Versions("1.443.509.0", "1.1.25110.3002")
OLDER_ENGINE = Versions("1.443.509.0", "1.1.25100.1")
SHA, OTHER = "1" * 64, "2" * 64
MICROSOFT = Options("https://go.microsoft.com/fwlink/")
REPLICA = Options("https://mirror.example.com", replica=True)
HOLD = {"kind": "hold", "reason": "freeze", "by": "anna", "since": EARLIER}


def release(versions, origin="test", size=100):
    return Release("linux-x86_64", versions.definitions, versions.engine, None, SHA, size, EARLIER, origin)


def offer(versions, sha256=SHA, published=EARLIER, held=(), withdrawn=None, proven=False):
    pairs = None if withdrawn is None else tuple((gone.definitions, gone.engine) for gone in withdrawn)
    return versions._replace(offer=Offer(sha256, published, held, pairs, proven))


R1, R2 = release(ONE), release(TWO)
SERVES_ONE = Found(R1.name, ONE, R1)
DAMAGED = Found(R1.name, ONE, R1, damaged=True)
ADOPTABLE = Found(R1.name, ONE, release(ONE, "adopted"), adoptable=True)
NO_ANSWER = MirrorError("http_status", "status 503", "wait")
NOT_OFFERED = MirrorError("not_offered", "serves no canary", "add it")
BROKEN = MirrorError("not_writable", "read-only", "mount it")
CHANNEL = Channel(R1.name, published=EARLIER)
HELD = CHANNEL._replace(hold=HOLD)
OWN = CHANNEL._replace(own=True)


def decided(unit, channel, found, answer, options=MICROSOFT, **more):
    return decide.decide(unit, View(NOW, options, {unit: channel}, {unit: found}, {unit: answer}, **more))


JUMP, FIRST = Versions("1.544.1.0", ONE.engine), Versions("2.443.508.0", ONE.engine)
THREE = Versions("1.443.510.0", ONE.engine)
STEP = Versions("1.543.1.0", ONE.engine)
LATER, TOMORROW = (TWO._replace(date=date) for date in ("2026-02-05T00:00:00Z", "2026-02-04T23:59:59Z"))


def accepting(*codes):
    return MICROSOFT._replace(accept=frozenset(codes))


# unit, channel, found, answer, options: outcome, what is fetched, what is served then, error code
TABLE = {
    "nothing yet": (RING, Channel(), Found(), Answer(ONE), MICROSOFT, "updated", ONE, ONE, None),
    "nothing new": (RING, CHANNEL, SERVES_ONE, Answer(ONE), MICROSOFT, "unchanged", None, ONE, None),
    "something new": (RING, CHANNEL, SERVES_ONE, Answer(TWO), MICROSOFT, "updated", TWO, TWO, None),
    "no answer": (RING, CHANNEL, SERVES_ONE, Answer(error=NO_ANSWER), MICROSOFT, "failed", None, ONE, "http_status"),
    "never asked": (RING, CHANNEL, SERVES_ONE, Answer(), MICROSOFT, "failed", None, ONE, "not_offered"),
    "ring not offered": (
        RING,
        CHANNEL,
        SERVES_ONE,
        Answer(error=NOT_OFFERED),
        REPLICA,
        "failed",
        None,
        ONE,
        "not_offered",
    ),
    "links cannot be repaired": (
        *(RING, CHANNEL, Found(R1.name, ONE, R1, broken=BROKEN), Answer(TWO), MICROSOFT),
        *("failed", None, ONE, "not_writable"),
    ),
    "older is refused": (
        *(RING, CHANNEL._replace(current=R2.name), Found(R2.name, TWO, R2), Answer(ONE), MICROSOFT),
        *("failed", None, TWO, "downgrade"),
    ),
    "older engine is refused": (
        *(
            RING,
            CHANNEL._replace(current=R2.name),
            Found(R2.name, TWO, R2),
            Answer(OLDER_ENGINE),
            MICROSOFT,
        ),
        *("failed", None, TWO, "downgrade"),
    ),
    "older is allowed": (
        *(RING, CHANNEL, Found(R2.name, TWO, R2), Answer(ONE), MICROSOFT._replace(accept=frozenset(["downgrade"]))),
        *("updated", ONE, ONE, None),
    ),
    # Versions that no release has
    "too large a step": (
        RING,
        CHANNEL,
        SERVES_ONE,
        Answer(JUMP),
        MICROSOFT,
        "failed",
        None,
        ONE,
        "implausible_versions",
    ),
    "a large step": (RING, CHANNEL, SERVES_ONE, Answer(STEP), MICROSOFT, "updated", STEP, STEP, None),
    "another first number": (
        *(RING, CHANNEL, SERVES_ONE, Answer(FIRST), MICROSOFT),
        *("failed", None, ONE, "implausible_versions"),
    ),
    "a lower first number": (
        *(RING, CHANNEL, Found(R1.name, FIRST, R1), Answer(ONE), MICROSOFT),
        *("failed", None, FIRST, "implausible_versions"),
    ),
    "a lower first number, accepted": (
        *(RING, CHANNEL, Found(R1.name, FIRST, R1), Answer(ONE), accepting("downgrade")),
        *("updated", ONE, ONE, None),
    ),
    "beyond tomorrow": (
        RING,
        CHANNEL,
        SERVES_ONE,
        Answer(LATER),
        MICROSOFT,
        "failed",
        None,
        ONE,
        "implausible_versions",
    ),
    "tomorrow": (RING, CHANNEL, SERVES_ONE, Answer(TOMORROW), MICROSOFT, "updated", TOMORROW, TWO, None),
    "beyond tomorrow, nothing yet": (
        *(RING, CHANNEL, Found(R1.name, ONE, R1), Answer(LATER), accepting("downgrade", "stale_package")),
        *("failed", None, ONE, "implausible_versions"),
    ),
    "a jump, accepted": (
        *(RING, CHANNEL, SERVES_ONE, Answer(JUMP), accepting("implausible_versions")),
        *("updated", JUMP, JUMP, None),
    ),
    "held, a jump offered": (RING, HELD, SERVES_ONE, Answer(JUMP), MICROSOFT, "held", None, ONE, None),
    # Damage
    "damaged, same offered": (RING, CHANNEL, DAMAGED, Answer(ONE), MICROSOFT, "repaired", ONE, ONE, None),
    "damaged, newer offered": (RING, CHANNEL, DAMAGED, Answer(TWO), MICROSOFT, "updated", TWO, TWO, None),
    "gone, same offered": (
        *(RING, CHANNEL, Found(R1.name, ONE, None, damaged=True), Answer(ONE), MICROSOFT),
        *("repaired", ONE, ONE, None),
    ),
    "small files": (
        *(RING, CHANNEL, Found(R1.name, ONE, R1, repairable=True, to_repair=(R1,)), Answer(ONE), MICROSOFT),
        *("repaired", None, ONE, None),
    ),
    # Holds
    "held": (RING, HELD, SERVES_ONE, Answer(TWO), MICROSOFT, "held", None, ONE, None),
    "held, no answer": (RING, HELD, SERVES_ONE, Answer(error=NO_ANSWER), MICROSOFT, "held", None, ONE, None),
    "held and damaged, same offered": (RING, HELD, DAMAGED, Answer(ONE), MICROSOFT, "repaired", ONE, ONE, None),
    "held and damaged, newer offered": (RING, HELD, DAMAGED, Answer(TWO), MICROSOFT, "failed", None, ONE, "damaged"),
    "held extra channel": (EXTRA, HELD, SERVES_ONE, Answer(), MICROSOFT, "held", None, ONE, None),
    # Folders that Microsoft's script left
    "adopted, same offered": (RING, Channel(), ADOPTABLE, Answer(ONE, size=100), MICROSOFT, "adopted", None, ONE, None),
    "adopted, size not known": (RING, Channel(), ADOPTABLE, Answer(ONE), MICROSOFT, "adopted", None, ONE, None),
    "adopted, another size": (RING, Channel(), ADOPTABLE, Answer(ONE, size=99), MICROSOFT, "repaired", ONE, ONE, None),
    "adopted, newer offered": (RING, Channel(), ADOPTABLE, Answer(TWO), MICROSOFT, "updated", TWO, TWO, None),
    "adopted, no answer": (
        *(RING, Channel(), ADOPTABLE, Answer(error=NO_ANSWER), MICROSOFT),
        *("failed", None, ONE, "http_status"),
    ),
    # Another mirror
    "same package": (RING, CHANNEL, SERVES_ONE, Answer(offer(ONE)), REPLICA, "unchanged", None, ONE, None),
    "another package": (
        *(RING, CHANNEL, SERVES_ONE, Answer(offer(ONE, OTHER)), REPLICA),
        *("repaired", offer(ONE, OTHER), ONE, None),
    ),
    "that mirror went back": (
        *(RING, CHANNEL, Found(R2.name, TWO, R2), Answer(offer(ONE)), REPLICA),
        *("failed", None, TWO, "downgrade"),
    ),
    **{
        f"that mirror was rolled back: {name}": (
            *(RING, CHANNEL, Found(R2.name, TWO, R2), Answer(back), REPLICA),
            *(("updated", back, ONE, None) if follows else ("failed", None, TWO, "downgrade")),
        )
        for name, back, follows in (
            ("proven", offer(ONE, withdrawn=[TWO], proven=True), True),
            ("not proven", offer(ONE, withdrawn=[TWO]), False),
            ("from something else", offer(ONE, withdrawn=[THREE], proven=True), False),
            ("nothing withdrawn", offer(ONE, withdrawn=[], held=(("kind", "rollback"),), proven=True), False),
            ("version 0.1.0, proven", offer(ONE, held=(("kind", "rollback"),), proven=True), True),
            ("version 0.1.0, only held", offer(ONE, held=(("kind", "hold"),), proven=True), False),
            ("version 0.1.0, not proven", offer(ONE, held=(("kind", "rollback"),)), False),
        )
    },
    "a lower engine, accepted, with a jump": (
        *(RING, CHANNEL, SERVES_ONE, Answer(JUMP._replace(engine=OLDER_ENGINE.engine)), accepting("downgrade")),
        *("failed", None, ONE, "implausible_versions"),
    ),
    # Channels that promotions feed
    "promoted": (EXTRA, CHANNEL, SERVES_ONE, Answer(), MICROSOFT, "unchanged", None, ONE, None),
    "promoted and damaged": (EXTRA, CHANNEL, DAMAGED, Answer(), MICROSOFT, "failed", None, ONE, "damaged"),
    "own channel of a replica": (EXTRA, OWN, SERVES_ONE, Answer(), REPLICA, "unchanged", None, ONE, None),
    "own channel that is offered too": (
        *(EXTRA, OWN, SERVES_ONE, Answer(offer(TWO)), REPLICA),
        *("unchanged", None, ONE, None),
    ),
    "extra channel of a replica follows": (
        *(EXTRA, CHANNEL, SERVES_ONE, Answer(offer(TWO)), REPLICA),
        *("updated", offer(TWO), TWO, None),
    ),
    "extra channel that is not offered": (
        *(EXTRA, CHANNEL, SERVES_ONE, Answer(error=NOT_OFFERED), REPLICA),
        *("unchanged", None, ONE, None),
    ),
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_what_is_decided(row):
    unit, channel, found, answer, options, outcome, fetch, after, code = row
    step = decided(unit, channel, found, answer, options)
    assert (step.outcome, step.fetch, step.error and step.error.code) == (outcome, fetch, code)
    assert step.before == found.versions
    assert step.after is not None and step.after.same_as(after)
    assert step.skipped is False


STALE = {RING: {OTHER: TWO}}


@pytest.mark.parametrize(
    ("answer", "options", "code", "accepted"),
    [
        (Answer(THREE, sha256=OTHER), MICROSOFT, "stale_package", ()),
        (Answer(THREE, sha256=OTHER), accepting("stale_package"), None, ("stale_package",)),
        (Answer(THREE, sha256=SHA), MICROSOFT, None, ()),
        (Answer(TWO, sha256=OTHER), MICROSOFT, None, ()),
        (Answer(offer(THREE, OTHER)), REPLICA, "stale_package", ()),
        (Answer(offer(TWO, OTHER)), REPLICA, None, ()),
        (Answer(JUMP, sha256=OTHER), MICROSOFT, "implausible_versions", ()),
        (
            *(Answer(JUMP, sha256=OTHER), accepting("stale_package", "implausible_versions", "downgrade")),
            *(None, ("implausible_versions", "stale_package")),
        ),
    ],
)
def test_a_package_that_was_published_under_other_versions(answer, options, code, accepted):
    step = decided(RING, CHANNEL, SERVES_ONE, answer, options, published=STALE)
    assert (step.error.code if step.error else None, step.accepted) == (code, accepted)
    assert (step.fetch is None) is (code is not None)


@pytest.mark.parametrize("answer", [Answer(JUMP), Answer(THREE, sha256=OTHER)])
def test_what_is_refused_is_no_lag(answer):
    step = decided(RING, CHANNEL, SERVES_ONE, answer, published=STALE)
    assert (step.outcome, step.offered, step.behind_since) == ("failed", None, None)


def history(*entries):
    return CHANNEL._replace(
        history=tuple(
            {"release": f"{name}-1.1.1.1-{SHA[:8]}", "at": at, "action": action} for name, at, action in entries
        )
    )


BEFORE, LONG_AGO = "2026-01-05T00:00:00Z", "2026-01-03T00:00:00Z"


@pytest.mark.parametrize(
    ("channel", "named"),
    [
        (CHANNEL, False),
        (history(("1.443.1.0", BEFORE, "sync"), ("1.454.1.0", BEFORE, "sync")), True),
        (history(("1.443.1.0", BEFORE, "sync"), ("1.453.1.0", BEFORE, "sync")), False),
        (history(("1.443.1.0", LONG_AGO, "sync"), ("1.454.1.0", LONG_AGO, "sync")), False),
        (history(("1.443.1.0", LONG_AGO, "sync"), ("2.1.1.0", BEFORE, "import")), True),
        (history(("1.454.1.0", BEFORE, "sync"), ("1.443.1.0", BEFORE, "rollback")), False),
        (history(("1.443.1.0", BEFORE, "sync"), ("1.443.1.0", BEFORE, "hold"), ("1.454.1.0", BEFORE, "sync")), True),
        (history(("1.443.1.0", BEFORE, "sync"), ("1.454.1.0", "soon", "sync")), False),
        (history(("odd", BEFORE, "sync"), ("1.454.1.0", BEFORE, "sync")), False),
    ],
)
@pytest.mark.parametrize("answer", [Answer(ONE), Answer(offer(ONE))])
def test_a_downgrade_names_an_unusual_step(channel, named, answer):
    step = decided(RING, channel, Found(R2.name, TWO, R2), answer, REPLICA if answer.offered.offer else MICROSOFT)
    assert step.error.code == "downgrade"
    assert ("unusual" in step.error.message) is named


@pytest.mark.parametrize("options", [MICROSOFT, REPLICA])
def test_a_unit_that_nothing_feeds_is_left_out(options):
    step = decided(EXTRA, Channel(), Found(), Answer(error=NOT_OFFERED), options)
    assert (step.skipped, step.fetch, step.error) == (True, None, None)


@pytest.mark.parametrize(
    ("unit", "channel", "found", "options", "expected"),
    [
        (RING, Channel(), Found(), MICROSOFT, OFFERED),
        (RING, CHANNEL, SERVES_ONE, MICROSOFT, OFFERED),
        (RING, HELD, SERVES_ONE, MICROSOFT, PEEK),
        (RING, HELD, DAMAGED, MICROSOFT, OFFERED),
        (RING, CHANNEL, Found(broken=BROKEN), MICROSOFT, NOTHING),
        (EXTRA, CHANNEL, SERVES_ONE, MICROSOFT, NOTHING),
        (EXTRA, CHANNEL, SERVES_ONE, REPLICA, OFFERED),
        (EXTRA, OWN, SERVES_ONE, REPLICA, PEEK),
        (EXTRA, OWN, DAMAGED, REPLICA, NOTHING),
    ],
)
def test_what_the_source_is_asked(unit, channel, found, options, expected):
    view = View(NOW, options, {unit: channel}, {unit: found}, {})
    assert decide.question(unit, view) == expected


@pytest.mark.parametrize(
    ("found", "offered", "expected"),
    [(ADOPTABLE, ONE, True), (ADOPTABLE, TWO, False), (SERVES_ONE, ONE, False), (Found(ONE), ONE, False)],
)
def test_the_size_is_asked_for_only_of_an_adopted_package(found, offered, expected):
    assert decide.asks_for_size(found, offered) is expected


def test_an_adopted_package_under_wrong_versions_does_not_become_n_1():
    step = decided(RING, Channel(), ADOPTABLE, Answer(ONE, size=99))
    assert (step.adopt, step.discard_current) == (True, True)
    assert "99" in step.notes[0]
    assert not decided(RING, CHANNEL, SERVES_ONE, Answer(offer(ONE, OTHER)), REPLICA).discard_current


def test_what_can_be_repaired_without_the_source_is_repaired_whatever_it_says():
    found = Found(R1.name, ONE, R1, repairable=True, to_repair=(R1, R2), previous_damaged=R2.name)
    for channel, answer in ((CHANNEL, Answer(ONE)), (HELD, Answer(TWO)), (CHANNEL, Answer(error=NO_ANSWER))):
        step = decided(RING, channel, found, answer)
        assert (step.repair, step.drop_previous) == ((R1, R2), R2.name)
        assert step.problem.code == "back_damaged"
        assert R2.name in step.problem.message


@pytest.mark.parametrize(
    ("channel", "found", "answer", "options", "said"),
    [
        (HELD, SERVES_ONE, Answer(error=NO_ANSWER), MICROSOFT, "not known: status 503"),
        (CHANNEL, SERVES_ONE, Answer(offer(ONE, OTHER)), REPLICA, "another package under the same versions"),
    ],
)
def test_notes_of_a_ring(channel, found, answer, options, said):
    assert said in decided(RING, channel, found, answer, options).notes[0]


@pytest.mark.parametrize(
    ("channel", "answer", "options", "notes"),
    [
        (CHANNEL, Answer(), MICROSOFT, []),
        (CHANNEL, Answer(error=NOT_OFFERED), REPLICA, ["waits for a promotion"]),
        (OWN, Answer(offer(TWO)), REPLICA, ["this mirror's own"]),
        (OWN, Answer(error=NOT_OFFERED), REPLICA, []),
    ],
)
def test_notes_of_a_channel_that_promotions_feed(channel, answer, options, notes):
    step = decided(EXTRA, channel, SERVES_ONE, answer, options)
    assert len(step.notes) == len(notes)
    assert all(said in note for said, note in zip(notes, step.notes))


def test_a_rollback_that_is_followed_is_noted_and_not_accepted_by_this_mirror():
    step = decided(RING, CHANNEL, Found(R2.name, TWO, R2), Answer(offer(ONE, withdrawn=[TWO], proven=True)), REPLICA)
    assert (step.rolls_back, step.accepted) == (True, ())
    assert "was rolled back" in step.notes[-1]


def test_the_error_says_that_a_rollback_is_not_proven():
    step = decided(RING, CHANNEL, Found(R2.name, TWO, R2), Answer(offer(ONE, withdrawn=[TWO])), REPLICA)
    assert "neither signed nor read over TLS" in step.error.message


@pytest.mark.parametrize("stored", [True, False])
def test_the_hint_names_the_rollback_where_it_is_possible(stored):
    back = offer(ONE, held=(("kind", "rollback"), ("by", "anna")))
    names = {RING: [R1.name] if stored else []}
    step = decided(RING, CHANNEL, Found(R2.name, TWO, R2), Answer(back), REPLICA, stored=names)
    assert "was rolled back there by anna" in step.error.message
    assert (f"mde-mirror rollback production --to {R1.name}" in step.error.hint) is stored
    assert "--allow-downgrade" in step.error.hint


LAGGED = {"after": ONE.as_dict(), "behind_since": YESTERDAY}


@pytest.mark.parametrize(
    ("channel", "answer", "last", "since"),
    [
        (CHANNEL, Answer(ONE), LAGGED, None),
        (CHANNEL, Answer(TWO), LAGGED, None),
        (HELD, Answer(TWO), LAGGED, YESTERDAY),
        (HELD, Answer(TWO), {}, NOW),
        (HELD, Answer(TWO), {"after": TWO.as_dict(), "behind_since": YESTERDAY}, NOW),
        (HELD, Answer(offer(TWO)), {}, EARLIER),
        (HELD, Answer(offer(TWO, published="2099-01-01T00:00:00Z")), {}, NOW),
        (HELD, Answer(offer(TWO, published="soon")), {}, NOW),
        (HELD, Answer(error=NO_ANSWER), LAGGED, YESTERDAY),
        (CHANNEL, Answer(error=NO_ANSWER), LAGGED, YESTERDAY),
        (CHANNEL, Answer(error=NO_ANSWER), {}, None),
    ],
)
def test_the_lag_counts_from_the_first_newer_release(channel, answer, last, since):
    step = decided(RING, channel, SERVES_ONE, answer, last_results={RING: last})
    assert step.behind_since == since


def test_deciding_again_takes_what_the_download_brought():
    view = View(NOW, MICROSOFT, {RING: CHANNEL}, {RING: SERVES_ONE}, {RING: Answer(ONE)})
    assert decide.decide(RING, view).fetch is None
    assert decide.decide(RING, view.with_package(RING, TWO, SHA)).fetch == TWO
    held = view._replace(channels={RING: HELD}).with_package(RING, TWO, SHA)
    assert (decide.decide(RING, held).outcome, decide.decide(RING, held).fetch) == ("held", None)
