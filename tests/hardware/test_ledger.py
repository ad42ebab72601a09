"""What must never be lost: kill -9, a full disk, a damaged file; and the card list that lives there."""

import asyncio
import json
import os
import resource
import signal
import sqlite3
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hardware.cards import Card, Cards
from hardware.ledger import FIRST_ID, BoxRecord, Ledger, Stop, Transaction
from hardware.notices import Notices
from tests.hardware.ocpp_peer import dial

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@contextmanager
def ledger(path, said=None):
    here = Ledger(path, Notices(lambda: 0.0, (said if said is not None else []).append))
    try:
        yield here
    finally:
        here.close()


def start(connector=1, tag="CARD", timestamp="2026-06-01T12:00:00Z", meter_wh=1000, **more):
    return Transaction(0, "CP-1", connector, tag, timestamp, meter_wh, NOON, more.get("trusted", True), "{}")


def stop(meter_wh=2000, minutes=60):
    return Stop(NOON + timedelta(minutes=minutes), meter_wh, "Local", json.dumps({"meterStop": meter_wh}))


def rows(path, table):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT * FROM {table}").fetchall()


async def test_a_transaction_is_in_the_file_when_its_number_is_given(tmp_path):
    with ledger(tmp_path / "l.db") as here:
        begun = await here.begin(start())
        assert begun.id >= FIRST_ID
        assert [row[0] for row in rows(tmp_path / "l.db", "transactions")] == [begun.id]


async def test_an_open_transaction_is_known_after_a_restart_and_an_ended_one_is_not(tmp_path):
    with ledger(tmp_path / "l.db") as here:
        ended, running = await here.begin(start(1)), await here.begin(start(2))
        assert await here.end("CP-1", ended.id, stop())
    with ledger(tmp_path / "l.db") as here:
        assert here.running("CP-1", 1) is None
        assert here.running("CP-1", 2) == running
        assert here.transaction("CP-2", running.id) is None, "of another box"
        newest = here.history()
        assert [row["id"] for row in newest] == [running.id, ended.id]
        assert (newest[1]["meter_stop_wh"], newest[1]["reason"]) == (2000, "Local")
        fresh = await here.begin(start(3))
        assert fresh.id > running.id, "numbers are never given twice"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"tag": "OTHER"}, False),
        ({"connector": 2}, False),
        ({"meter_wh": 1001}, False),
        ({"timestamp": "2026-06-01T12:00:01Z"}, False),
    ],
)
async def test_a_repeated_start_is_one_transaction(tmp_path, change, same):
    with ledger(tmp_path / "l.db") as here:
        first = await here.begin(start())
        assert ((await here.begin(start(**change))).id == first.id) is same
    with ledger(tmp_path / "l.db") as here:
        assert here.transaction("CP-1", first.id) == first
        assert (await here.begin(start())).id == first.id


async def test_a_box_without_clock_starts_anew_with_the_same_words_once_the_old_one_has_ended(tmp_path):
    with ledger(tmp_path / "l.db") as here:
        first = await here.begin(start(timestamp="1970-01-01T00:00:00Z", trusted=False))
        again = await here.begin(start(timestamp="1970-01-01T00:00:00Z", trusted=False))
        assert again.id == first.id
        await here.end("CP-1", first.id, stop())
        later = await here.begin(start(timestamp="1970-01-01T00:00:00Z", trusted=False))
        assert later.id != first.id


async def test_a_repeated_end_changes_nothing_and_an_unknown_one_is_kept_once(tmp_path):
    path = tmp_path / "l.db"
    with ledger(path) as here:
        begun = await here.begin(start())
        assert await here.end("CP-1", begun.id, stop(2000))
        assert await here.end("CP-1", begun.id, stop(9999))
        assert not await here.end("CP-1", -1, stop(5))
        assert not await here.end("CP-1", -1, stop(5))
        assert not await here.end("CP-2", begun.id, stop(5)), "of another box"
        assert here.history()[0]["meter_stop_wh"] == 2000
        assert len(rows(path, "orphans")) == 2


async def test_the_newest_of_two_open_transactions_of_a_connector_is_the_one_that_runs(tmp_path):
    with ledger(tmp_path / "l.db") as here:
        await here.begin(start(meter_wh=1))
        newest = await here.begin(start(meter_wh=2))
        assert here.running("CP-1", 1) == newest


async def test_the_course_of_the_energy_register_is_kept_every_five_minutes(tmp_path):
    path = tmp_path / "l.db"
    with ledger(path) as here:
        begun = await here.begin(start())
        for seconds in range(0, 900, 10):
            here.energy(begun.id, 1000 + seconds, NOON + timedelta(seconds=seconds))
    assert [row[2] for row in rows(path, "meter_values")] == [1000, 1300, 1600]
    with ledger(path) as here:
        assert here.history()[0]["energy_wh"] == 1600


async def test_what_is_known_of_a_box_outlives_the_process(tmp_path):
    with ledger(tmp_path / "l.db") as here:
        assert here.box("CP-1") == BoxRecord("CP-1")
        record = BoxRecord("CP-1", "Acme", "One", "1.2", boots=3, rung=4, commissioned=True)
        here.keep_box(record)
    with ledger(tmp_path / "l.db") as here:
        assert here.box("CP-1") == record


async def test_a_record_that_no_database_takes_does_not_keep_the_others_from_it(tmp_path):
    said = []
    with ledger(tmp_path / "l.db", said) as here:
        bad, good = await asyncio.gather(here.begin(start(meter_wh=2**70)), here.begin(start(meter_wh=5)))
        assert bad.id != good.id
        assert [row[0] for row in rows(tmp_path / "l.db", "transactions")] == [good.id]
    assert [n.kind for n in said] == ["record_unwritable"]


# -- disks ----------------------------------------------------------------------------------------------


async def test_while_the_disk_is_full_charging_goes_on_and_all_is_written_when_there_is_room(tmp_path):
    path, said = tmp_path / "l.db", []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ledger(path, said) as here:
        before = await here.begin(start(1))
        since_s = asyncio.get_running_loop().time()
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
            during = await here.begin(start(2))
            repeated = await here.begin(start(2))
            assert await here.end("CP-1", before.id, stop())
            assert not await here.end("CP-1", 12345, stop())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert asyncio.get_running_loop().time() - since_s < 5, "a driver stands in front of the box"
        assert during.id != before.id
        assert repeated.id == during.id
        assert [n.kind for n in said] == ["file_unwritable"]
        assert "free disk space" in said[0].sentence
        after = await here.begin(start(3))
        assert {row[0] for row in rows(path, "transactions")} == {before.id, during.id, after.id}
        assert len(rows(path, "orphans")) == 1
    with ledger(path) as here:
        assert here.running("CP-1", 1) is None
        assert here.running("CP-1", 2) == during


async def test_a_path_that_cannot_be_used_is_named_and_used_as_soon_as_it_can_be(tmp_path):
    said, blocker = [], tmp_path / "data"
    blocker.write_text("a file where a folder is needed")
    path = blocker / "l.db"
    with ledger(path, said) as here:
        begun = await here.begin(start(1))
        assert begun.id >= FIRST_ID
        assert [n.kind for n in said] == ["file_unwritable"]
        blocker.unlink()
        await here.begin(start(2))
        assert len(rows(path, "transactions")) == 2


@pytest.mark.parametrize("damage", ["no database", "torn pages"])
async def test_a_damaged_file_is_put_aside_and_named_and_a_new_one_begun(tmp_path, damage):
    path, said = tmp_path / "l.db", []
    with ledger(path) as here:
        for i in range(200):
            here.keep_card({**CARD_ROW, "tag": f"CARD{i:04}"})
        await here.begin(start())
    if damage == "no database":
        path.write_bytes(b"this is a holiday picture" * 100)
    else:
        content = bytearray(path.read_bytes())
        content[4096:] = os.urandom(len(content) - 4096)
        path.write_bytes(content)
    kept = path.read_bytes()
    with ledger(path, said) as here:
        begun = await here.begin(start(2))
        assert here.running("CP-1", 2) == begun
    assert [n.kind for n in said] == ["file_damaged"]
    (aside,) = tmp_path.glob("l.db.damaged-*")
    assert aside.read_bytes() == kept
    assert len(rows(path, "transactions")) == 1


async def test_a_file_damaged_while_it_is_open_is_begun_anew_from_memory(tmp_path):
    path, said = tmp_path / "l.db", []
    with ledger(path, said) as here:
        here.keep_card({**CARD_ROW, "tag": "CARD1"})
        first = await here.begin(start(1))
        with closing(
            sqlite3.connect(path, isolation_level=None)
        ) as other:  # so that nothing is read from memory
            other.execute("INSERT INTO orphans VALUES ('x', 1, '', '')")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(path.read_bytes()[:4096] + os.urandom(path.stat().st_size - 4096))
        second = await here.begin(start(2))
        third = await here.begin(start(3))
    assert "file_damaged" in [n.kind for n in said]
    with ledger(path) as here:
        assert [here.running("CP-1", n).id for n in (1, 2, 3)] == [first.id, second.id, third.id]
        assert here.load_cards()[0]["tag"] == "CARD1"


SERVER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.hardware.ocpp_peer import World, site_of

async def main():
    here = World(site_of("CP-1", connectors=4), Path(sys.argv[1]))
    print(await here.central.serve("127.0.0.1", 0), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def _serve(path):
    code = SERVER.format(root=str(Path(__file__).parents[2]))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(path), stdout=asyncio.subprocess.PIPE
    )
    return process, int(await asyncio.wait_for(process.stdout.readline(), 30))


async def test_nothing_that_was_answered_is_lost_by_kill_minus_nine(tmp_path):
    path = tmp_path / "l.db"
    answered, ended = {}, set()
    for attempt in range(2):
        process, port = await _serve(path)
        box = await dial(port, "CP-1")
        await box.boot()

        async def charge(box=box, attempt=attempt):
            for n in range(10_000):
                started = await box.start(connector=1 + n % 4, meter=n, tag=f"CARD{attempt}")
                answered[started["transactionId"]] = n
                if n % 2:
                    await box.stop(started["transactionId"])
                    ended.add(started["transactionId"])

        charging = asyncio.create_task(charge())
        await asyncio.sleep(0.3 + 0.2 * attempt)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        charging.cancel()
        await box.close()
    with ledger(path) as here:
        found = {row["id"]: row for row in here.history(100_000)}
    assert len(answered) > 10
    assert answered.items() <= {id_: row["meter_start_wh"] for id_, row in found.items()}.items()
    assert all(found[id_]["ended_utc"] for id_ in ended)


# -- cards ----------------------------------------------------------------------------------------------

CARD_ROW = {
    "state": "accepted",
    "weight_percent": 100,
    "wish_ma": None,
    "expires_utc": None,
    "parent": "",
    "name": "",
    "uses": 0,
    "last_used_utc": None,
}


@pytest.fixture
def cards(tmp_path):
    with ledger(tmp_path / "l.db") as here:
        yield Cards(here, lambda: NOON, "refuse")


def test_a_card_is_the_same_in_capitals_and_small_letters(cards):
    cards.put(Card("Ab12", weight_percent=150))
    assert cards.authorize("aB12") == {"status": "Accepted"}
    assert cards.find("AB12").weight_percent == 150


@pytest.mark.parametrize(
    ("card", "info"),
    [
        (Card("A"), {"status": "Accepted"}),
        (Card("A", state="blocked"), {"status": "Blocked"}),
        (Card("A", state="seen"), {"status": "Invalid"}),
        (Card("A", parent="FAMILY"), {"status": "Accepted", "parentIdTag": "FAMILY"}),
        (
            Card("A", expires_utc=NOON + timedelta(days=1)),
            {"status": "Accepted", "expiryDate": "2026-06-02T12:00:00Z"},
        ),
        (
            Card("A", expires_utc=NOON - timedelta(days=1)),
            {"status": "Expired", "expiryDate": "2026-05-31T12:00:00Z"},
        ),
    ],
)
def test_the_list_decides_about_the_cards_on_it(cards, card, info):
    cards.put(card)
    assert cards.authorize("A") == info


def test_a_way_of_charging_with_the_sun_that_nobody_knows_is_refused(cards):
    with pytest.raises(ValueError, match='card "A": solar is one of off, boost, solar_only, or left out'):
        cards.put(Card("A", solar="sometimes"))


def test_an_unknown_card_is_accepted_or_refused_as_the_setting_says(tmp_path, cards):
    assert cards.authorize("NEW") == {"status": "Invalid"}
    with ledger(tmp_path / "other.db") as here:
        open_house = Cards(here, lambda: NOON)
        assert open_house.authorize("NEW") == {"status": "Accepted"}
        open_house.put(Card("NEW", state="blocked"))
        assert open_house.authorize("NEW") == {"status": "Blocked"}


def test_every_card_that_was_used_is_remembered_and_counted_but_not_thereby_accepted(tmp_path):
    with ledger(tmp_path / "l.db") as here:
        cards = Cards(here, lambda: NOON)
        cards.put(Card("KNOWN", expires_utc=NOON + timedelta(days=1), name="Ann"))
        for tag in ("known", "new", "NEW"):
            cards.used(tag)
    with ledger(tmp_path / "l.db") as here:
        known, new = Cards(here, lambda: NOON, "refuse")
        assert (known.tag, known.uses, known.name, known.last_used_utc) == ("KNOWN", 1, "Ann", NOON)
        assert (new.tag, new.uses, new.state) == ("NEW", 2, "seen")
        strict = Cards(here, lambda: NOON, "refuse")
        assert strict.authorize("NEW") == {"status": "Invalid"}


def test_a_removed_card_is_gone_for_good(tmp_path):
    with ledger(tmp_path / "l.db") as here:
        cards = Cards(here, lambda: NOON)
        cards.put(Card("A"))
        cards.remove("a")
        cards.remove("a")
    with ledger(tmp_path / "l.db") as here:
        assert list(Cards(here, lambda: NOON)) == []


def test_a_card_list_of_an_older_edition_is_read_and_its_cards_have_no_marks(tmp_path):
    with closing(sqlite3.connect(tmp_path / "l.db")) as old:
        old.execute(
            "CREATE TABLE cards (tag TEXT PRIMARY KEY, state TEXT NOT NULL, weight_percent INTEGER NOT NULL,"
            " wish_ma INTEGER, expires_utc TEXT, parent TEXT NOT NULL, name TEXT NOT NULL,"
            " uses INTEGER NOT NULL, last_used_utc TEXT) STRICT"
        )
        old.execute("INSERT INTO cards VALUES ('A', 'accepted', 200, NULL, NULL, '', 'Ann', 3, NULL)")
        old.commit()
    with ledger(tmp_path / "l.db") as here:
        cards = Cards(here, lambda: NOON)
        assert cards.find("A") == Card("A", weight_percent=200, name="Ann", uses=3)
        cards.put(Card("A", never_zero=True, minimum_speed=True, priority_class=1, solar="boost"))
    with ledger(tmp_path / "l.db") as here:
        card = Cards(here, lambda: NOON).find("A")
        assert (card.never_zero, card.minimum_speed, card.priority_class) == (True, True, 1)
        assert card.solar == "boost"


@pytest.mark.parametrize(
    "card",
    [
        Card(""),
        Card("x" * 21),
        Card("A", weight_percent=0),
        Card("A", weight_percent=1001),
        Card("A", priority_class=10),
    ],
)
def test_a_card_that_cannot_be_is_refused_with_a_sentence(cards, card):
    with pytest.raises(ValueError, match=r"card \""):
        cards.put(card)
