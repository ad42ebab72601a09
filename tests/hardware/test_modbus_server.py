"""The Modbus server of the box on real sockets: what it offers, what it is told, and what it survives."""

from datetime import timedelta

import pytest

from controller.decision import Alarm
from controller.defaults import NEVER, UNLIMITED_MA
from controller.external import Place
from controller.image import Source
from hardware import modbus_server
from tests.controller.told import flat
from tests.hardware.modbus_bench import (
    BAY_1,
    BAY_2,
    CELLAR,
    EXPORT,
    HALL,
    LIMIT,
    MAIN,
    NONE,
    PLACES,
    ROOF,
    WEDNESDAY,
    server,
)

# -- what it offers -------------------------------------------------------------------------------------


async def test_a_client_walks_the_chain_of_blocks_from_the_box_to_the_end(tmp_path):
    async with server(tmp_path) as box:
        at, found = 0, []
        while True:
            kind, length = await box.read(at, 2)
            found.append((at, kind))
            if kind == 0xFFFF:
                break
            at += 2 + length
    assert found == [
        (0, 1),
        (MAIN, 2),
        (HALL, 2),
        (BAY_1, 3),
        (BAY_2, 3),
        (CELLAR, 4),
        (ROOF, 5),
        (480, 0xFFFF),
    ]
    assert length == 0


async def test_the_connection_stands_at_100_wherever_the_site_file_has_it(tmp_path):
    async with server(tmp_path) as box:
        assert await box.value("main", "id", "I") == 1
        assert await box.value("hall", "fed_by", "I") == 1
        assert await box.value("main", "fed_by", "I") == 0xFFFFFFFF
        assert await box.value("main", "name", "32s") == b"main".ljust(32, b"\0")
        assert await box.value("Depôt", "name", "32s") == "Depôt".encode().ljust(32, b"\0")
        assert await box.value("Depôt", "grids", "H") == 2


async def test_currents_are_big_endian_milliamps_and_keep_their_sign(tmp_path):
    async with server(tmp_path) as box:
        box.show()
        block = await box.read(PLACES["main", "measured_l1"], 6)
        assert block == [0, 12_345, 0xFFFF, 0x10000 - 6_000, 0, 0]
        assert await box.value("main", "allowed_l3") == 80_000
        assert await box.read(PLACES["main", "allowed_by_l1"], 3) == [Source.FUSE, Source.API, Source.MODBUS]
        assert await box.value("main", "booked_l1") == 28_000
        assert await box.value("main", "measured_power") == (12_345 - 6_000) * 230 // 1000
        assert await box.value("main", "allowed_power", "I") == 13_800
        assert await box.value("hall", "fuse_l2") == 40_000
        assert await box.value("hall", "charging_l1") == 10_100
        assert await box.value("main", "charging_l2") == 6_000
        assert await box.value("bay/1", "offered") == 16_000
        assert await box.value("bay/1", "booked") == 20_000
        assert await box.value("bay/2", "draws_l2") == 6_000
        assert await box.value("bay/2", "phases", "H") == 0b111
        assert await box.value("bay/1", "energy", "I") == 1_150
        assert await box.value("cellar", "charge", "H") == 523
        assert await box.value("cellar", "takes") == -2_760
        assert await box.value("Depôt", "charging", "H") == 2


UNKNOWN_NOW = [
    ("main", "measured_l1", "i", -(2**31)),
    ("main", "allowed_l1", "i", -(2**31)),
    ("main", "charging_l1", "i", -(2**31)),
    ("main", "measured_power", "i", -(2**31)),
    ("main", "meter_age", "I", 2**32 - 1),
    ("bay/1", "offered", "i", -(2**31)),
    ("bay/1", "status", "H", NONE),
    ("cellar", "charge", "H", NONE),
    ("Depôt", "plugged", "H", NONE),
    ("Depôt", "state", "H", NONE),
]


@pytest.mark.parametrize(("of", "name", "code", "word"), UNKNOWN_NOW)
async def test_before_the_first_cycle_nothing_is_known_and_nothing_is_zero(tmp_path, of, name, code, word):
    async with server(tmp_path) as box:
        assert await box.value(of, name, code) == word
        assert await box.value("main", "fuse_l1") == 100_000  # what is drawn is known


async def test_when_the_controller_hangs_its_last_values_are_not_told_as_if_they_were_new(
    tmp_path, monkeypatch
):
    async with server(tmp_path) as box:
        box.show()
        monkeypatch.setattr(modbus_server, "STALLED_S", 0.0)
        for of, name, code, word in UNKNOWN_NOW:
            assert await box.value(of, name, code) == word
        assert await box.value("Depôt", "cycles", "I") == 1


async def test_what_is_lost_is_not_known_and_neither_is_a_sum_in_which_it_stands(tmp_path):
    def lose(image, decision, memory):
        decision.grids["measured_ma"][:, 1] = -(2**62)
        decision.grids["limit_ma"][:, 2] = UNLIMITED_MA
        decision.connectors["alarm"][0] = Alarm.READINGS_STALE
        memory.connectors["reading_at_ms"][1] = NEVER
        memory.batteries["soc"] = -(2**62)
        decision.batteries["alarm"] = Alarm.OFFLINE

    async with server(tmp_path) as box:
        box.show(lose)
        missing = -(2**31)
        assert await box.value("main", "measured_l1") == 12_345
        assert await box.value("main", "measured_l2") == missing
        assert await box.value("main", "measured_power") == missing
        assert await box.value("main", "allowed_l3") == missing
        assert await box.value("bay/1", "draws_l1") == missing
        assert await box.value("bay/2", "draws_l1") == missing
        assert await box.value("main", "charging_l1") == missing
        assert await box.value("cellar", "charge", "H") == NONE
        assert await box.value("cellar", "takes") == missing


async def test_alarms_and_the_state_of_the_site_are_told(tmp_path):
    def over(image, decision, memory):
        decision.grids["alarm"][1] = Alarm.OVER_LIMIT
        decision.site["alarm"] = Alarm.OVER_LIMIT
        decision.site["unsafe_alone"] = 1

    async with server(tmp_path) as box:
        box.show()
        assert [await box.value("Depôt", name, "H") for name in ("state", "safe_alone")] == [0, 1]
        box.show(over)
        assert [await box.value("Depôt", name, "H") for name in ("state", "safe_alone")] == [2, 0]
        assert await box.value("main", "alarms", "I") == Alarm.OVER_LIMIT
        box.show(lambda image, decision, memory: decision.connectors["alarm"].fill(Alarm.REFUSED))
        assert await box.value("Depôt", "state", "H") == 1


# -- what it is told ------------------------------------------------------------------------------------


async def test_a_written_limit_holds_for_its_time_and_leaves_its_fallback(tmp_path):
    async with server(tmp_path, writable=True) as box:
        assert await box.write(LIMIT, 60, 100, NONE, 160, 160, 205, NONE) == 0
        assert box.in_force() == {"hard": ((16, 16, 20.5), None, "MODBUS", False)}
        assert await box.read(LIMIT, 7) == [60, 100, NONE, 160, 160, 205, NONE]
        assert [await box.value("main", f"limit_{name}", "H") for name in ("state", "left")] == [1, 60]
        box.seconds.value = 60
        assert box.in_force() == {"hard": (flat(10), None, "FALLBACK", False)}
        assert [await box.value("main", f"limit_{name}", "H") for name in ("state", "left")] == [2, 0]


async def test_every_write_starts_the_time_again(tmp_path):
    async with server(tmp_path, writable=True) as box:
        await box.write(LIMIT, 60, 100, NONE, 160, 160, 160, NONE)
        box.seconds.value = 59
        assert await box.write(LIMIT, 60, single=True) == 0
        box.seconds.value = 118
        assert box.in_force()["hard"][2] == "MODBUS"
        box.seconds.value = 119
        assert box.in_force()["hard"][2] == "FALLBACK"


async def test_a_client_that_writes_one_register_at_a_time_says_it_all_before_a_limit_holds(tmp_path):
    async with server(tmp_path, writable=True) as box:
        assert await box.write(LIMIT, 30, single=True) == 0
        assert await box.write(LIMIT + 1, 60, single=True) == 0
        assert box.in_force() == {}
        assert await box.read(LIMIT, 7) == [30, 60, NONE, NONE, NONE, NONE, NONE]
        assert await box.write(LIMIT + 6, 110, single=True) == 0
        assert box.in_force()["hard"][1] == 11
        box.seconds.value = 30
        assert box.in_force() == {"hard": (flat(6), None, "FALLBACK", False)}


async def test_without_a_limit_in_its_registers_nothing_is_told_any_more(tmp_path):
    async with server(tmp_path, writable=True) as box:
        await box.write(LIMIT, 60, 100, NONE, 160, 160, 160, NONE)
        assert await box.write(LIMIT + 3, NONE, NONE, NONE) == 0
        assert box.in_force() == {}
        assert await box.value("main", "limit_state", "H") == 0


async def test_what_flows_back_has_registers_of_its_own(tmp_path):
    async with server(tmp_path, writable=True) as box:
        assert await box.write(EXPORT, 60, NONE, NONE, NONE, NONE, NONE, 0) == 0
        assert box.in_force() == {"export": ((None,) * 3, 0, "MODBUS", False)}


async def test_both_groups_are_told_in_one_write_or_not_at_all(tmp_path):
    async with server(tmp_path, writable=True) as box:
        limit = [60, NONE, NONE, 160, 160, 160, NONE]
        assert await box.write(LIMIT, *limit, *[0, NONE, NONE, NONE, NONE, NONE, 50]) == 3
        assert box.in_force() == {}
        assert await box.write(LIMIT, *limit, *[60, NONE, NONE, NONE, NONE, NONE, 50]) == 0
        assert set(box.in_force()) == {"hard", "export"}


async def test_the_tightest_of_what_modbus_and_the_api_tell_is_in_force(tmp_path):
    async with server(tmp_path, writable=True) as box:
        await box.write(HALL + 22, 60, NONE, NONE, 160, 160, 160, NONE)
        stands = [(told.key, told.what.source) for told, _ in box.outside.all()]
        assert stands == [("grid/hall/limits/modbus ems limit", "modbus")]
        tighter = box.outside.all()[0][0].what.model_copy(update={"limit_a": (10, 20, 30), "source": "api"})
        await box.outside.tell(Place("grid", "hall"), "limits", "dso", tighter, 60)
        assert box.in_force("hall")["hard"][0] == (10, 16, 16)


async def test_what_was_written_lives_on_after_a_restart(tmp_path):
    async with server(tmp_path, writable=True) as box:
        await box.write(LIMIT, 600, 100, NONE, 160, 160, 160, NONE)
    async with server(tmp_path, WEDNESDAY + timedelta(seconds=100), writable=True) as box:
        assert await box.read(LIMIT, 7) == [600, 100, NONE, 160, 160, 160, NONE]
        assert await box.value("main", "limit_left", "H") == 500
