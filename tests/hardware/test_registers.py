"""Golden frames: bytes written by hand from each register sheet, and the milliamps they must mean."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.defaults import UNKNOWN
from hardware.registers import LAYOUTS, Reading, WordOrder, from_words, load_map, map_names, to_words

ORDERS: tuple[WordOrder, ...] = ("big", "little")


def words(text: str) -> list[int]:
    raw = bytes.fromhex(text)
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


SDM630 = words(
    "43660000 43668000 43658000"  # 230.0 V, 230.5 V, 229.5 V
    "41200000 42020000 3F400000"  # 10.0 A, 32.5 A, 0.75 A
    "450FC000 C5EA1A00 00000000"  # 2300 W, -7491.25 W (32.5 A exported at unity), 0 W
)


def test_an_sdm630_gives_float_amperes_big_endian_from_input_registers_0_to_17() -> None:
    sheet = load_map("eastron_sdm630")
    assert (sheet.function, sheet.start, sheet.count) == (4, 0x0000, 18)
    reading = sheet.decode(SDM630)
    assert reading.current_ma == (10_000, -32_500, 750)
    assert reading.voltage_mv == (230_000, 230_500, 229_500)
    assert reading.power_mw == (2_300_000, -7_491_250, 0)
    assert sheet.encode(reading) == SDM630


def test_an_sdm630_that_says_nan_on_a_phase_leaves_that_phase_unknown_and_the_others_usable() -> None:
    frame = SDM630[:8] + words("7FC00000") + SDM630[10:]
    assert load_map("eastron_sdm630").decode(frame).current_ma == (10_000, UNKNOWN, 750)
    infinite = SDM630[:8] + words("7F800000") + SDM630[10:]
    assert load_map("eastron_sdm630").decode(infinite).current_ma[1] == UNKNOWN


def test_an_sdm630_counts_energy_in_kilowatt_hours() -> None:
    sheet = load_map("eastron_sdm630")
    assert sheet.decode_energy_wh(words("449A5000")) == 1_234_500
    assert sheet.encode_energy_wh(1_234_500) == words("449A5000")


ABB = words(
    "000008FC 00000901 000008F7"  # 230.0 V, 230.5 V, 229.5 V in 0.1 V
    "00000000 00000000 00000000"  # line to line, not read
    "000003E8 00000CB2 0000004B"  # 10.00 A, 32.50 A, 0.75 A in 0.01 A
    "00000000 00000000"  # neutral, and total power: not read
    "00038270 FFF491CB 00000000"  # 2300.00 W, -7491.25 W, 0 W in 0.01 W
)


def test_an_abb_b23_gives_unsigned_hundredths_and_the_direction_stands_in_the_power() -> None:
    sheet = load_map("abb_b2x")
    assert (sheet.function, sheet.start, sheet.count) == (3, 0x5B00, 28)
    reading = sheet.decode(ABB)
    assert reading.current_ma == (10_000, -32_500, 750)
    assert reading.voltage_mv == (230_000, 230_500, 229_500)
    assert sheet.encode(reading) == ABB


def test_all_ones_of_an_abb_is_not_available_and_never_a_current() -> None:
    frame = [*ABB[:12], 0xFFFF, 0xFFFF, *ABB[14:]]
    assert load_map("abb_b2x").decode(frame).current_ma == (UNKNOWN, -32_500, 750)


def test_an_abb_counts_energy_in_hundredths_of_a_kilowatt_hour_in_four_words() -> None:
    assert load_map("abb_b2x").decode_energy_wh(words("000000000001E23A")) == 1_234_500
    assert load_map("abb_b2x").decode_energy_wh(words("FFFFFFFFFFFFFFFF")) == UNKNOWN


EM340 = words(
    "08FC0000 09010000 08F70000"  # 230.0 V, 230.5 V, 229.5 V in 0.1 V, least significant word first
    "00000000 00000000 00000000"  # line to line, not read
    "27100000 7EF40000 02EE0000"  # 10.000 A, 32.500 A, 0.750 A in mA
    "59D80000 DB60FFFE 00000000"  # 2300.0 W, -7491.2 W, 0 W in 0.1 W
)


def test_an_em340_gives_milliamps_with_the_least_significant_word_first() -> None:
    sheet = load_map("carlo_gavazzi_em340")
    assert (sheet.function, sheet.start, sheet.count) == (4, 0x0000, 24)
    reading = sheet.decode(EM340)
    assert reading.current_ma == (10_000, -32_500, 750)
    assert reading.power_mw == (2_300_000, -7_491_200, 0)
    assert sheet.encode(reading) == EM340


def test_the_largest_integer_of_an_em340_is_not_available() -> None:
    frame = [*EM340[:16], 0xFFFF, 0x7FFF, *EM340[18:]]
    assert load_map("carlo_gavazzi_em340").decode(frame).current_ma == (10_000, -32_500, UNKNOWN)


def test_the_generic_map_is_three_signed_milliamps_and_nothing_else() -> None:
    sheet = load_map("generic_milliamps")
    assert (sheet.function, sheet.start, sheet.count) == (3, 0, 6)
    assert sheet.decode(words("00002710 FFFF810C 80000000")).current_ma == (10_000, -32_500, UNKNOWN)


def test_a_reactive_current_never_becomes_headroom() -> None:
    """10 A at a power factor of -0.5: were it export, a car's 20 A would be taken for 10 A."""
    sheet = load_map("eastron_sdm630")
    reading = sheet.decode(sheet.encode(Reading((10_000,) * 3, (230_000,) * 3, (-1_150_000,) * 3)))
    assert reading.current_ma == (10_000, 10_000, 10_000)


def test_words_in_the_wrong_order_are_refused_with_the_voltages_they_would_mean() -> None:
    swapped = [word for at in range(0, 18, 2) for word in (SDM630[at + 1], SDM630[at])]
    with pytest.raises(ValueError, match=r"the voltages read .* V: wrong map, device or word order"):
        load_map("eastron_sdm630").decode(swapped)


def test_a_dead_phase_is_no_reason_to_disbelieve_the_other_two() -> None:
    dead = [*SDM630[:4], 0, 0, *SDM630[6:]]
    assert load_map("eastron_sdm630").decode(dead).current_ma == (10_000, -32_500, 750)


def test_a_block_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="17 words came instead of 18"):
        load_map("eastron_sdm630").decode(SDM630[:17])


def test_an_unknown_map_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match='no register map "eastron_sdm360"; did you mean "eastron_sdm630"'):
        load_map("eastron_sdm360")


@pytest.mark.parametrize(
    ("kind", "number", "big"),
    [
        ("u16", 65_000, "FDE8"),
        ("i16", -2, "FFFE"),
        ("u32", 305_419_896, "12345678"),
        ("i32", -559_038_737, "DEADBEEF"),
        ("f32", -0.15625, "BE200000"),
        ("u64", 81_985_529_216_486_895, "0123456789ABCDEF"),
        ("i64", -2, "FFFFFFFFFFFFFFFE"),
    ],
)
def test_numbers_lie_in_words_as_the_sheets_draw_them(kind: str, number: float, big: str) -> None:
    assert from_words(words(big), kind, "big") == number
    assert from_words(words(big)[::-1], kind, "little") == number
    assert to_words(number, kind, "big") == words(big)
    assert to_words(number, kind, "little") == words(big)[::-1]


def test_an_integer_register_clips_what_it_cannot_hold() -> None:
    for kind, order in product([kind for kind in LAYOUTS if kind != "f32"], ORDERS):
        assert from_words(to_words(10**30, kind, order), kind, order) > 0
        assert from_words(to_words(-(10**30), kind, order), kind, order) <= 0


MILLIAMPS = st.integers(-4_000_000, 4_000_000)


@given(current=st.tuples(MILLIAMPS, MILLIAMPS, MILLIAMPS))
def test_a_milliamp_survives_the_float_and_the_milliamp_sheets_exactly(
    current: tuple[int, int, int],
) -> None:
    for name in ("eastron_sdm630", "generic_milliamps"):
        sheet = load_map(name)
        assert sheet.decode(sheet.encode(Reading(current))).current_ma == current


@given(current=st.tuples(MILLIAMPS, MILLIAMPS, MILLIAMPS))
def test_every_sheet_gives_back_what_was_measured_within_10_ma_and_the_sign_from_half_an_ampere(
    current: tuple[int, int, int],
) -> None:
    for name in map_names():
        sheet = load_map(name)
        heard = sheet.decode(sheet.encode(Reading(current))).current_ma
        for one, other in zip(current, heard, strict=True):
            signed = other if abs(one) >= 500 else abs(other)
            assert abs((one if abs(one) >= 500 else abs(one)) - signed) <= 5


@given(phase=st.integers(0, 2), current=st.tuples(MILLIAMPS, MILLIAMPS, MILLIAMPS))
def test_what_is_unknown_stays_unknown_on_every_sheet(phase: int, current: tuple[int, int, int]) -> None:
    missing = list(current)
    missing[phase] = UNKNOWN
    one, two, three = missing
    for name in map_names():
        sheet = load_map(name)
        assert sheet.decode(sheet.encode(Reading((one, two, three)))).current_ma[phase] == UNKNOWN
