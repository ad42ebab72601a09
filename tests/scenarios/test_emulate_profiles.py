"""How charging profiles combine in an emulated chargepoint: one row, one sentence of the standard."""

from datetime import UTC, datetime

import pytest

from scenarios.emulate.profiles import ProfileStore, Refused, Transaction, read_profile

T0 = 1_800_000_000_000  # 2027-01-15T08:00:00Z
HOUR, DAY = 3_600_000, 86_400_000
TX, DEFAULT, CAP = "TxProfile", "TxDefaultProfile", "ChargePointMaxProfile"


def iso(at_ms):
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def message(purpose, *periods, level=0, number=None, unit="A", kind="Relative", **more):
    """csChargingProfiles; a period is a limit or (start_s, limit) or (start_s, limit, phases)."""
    rows = [period if isinstance(period, tuple) else (0, period) for period in periods]
    names = ("startPeriod", "limit", "numberPhases")
    schedule = {
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [dict(zip(names, row, strict=False)) for row in rows],
    }
    for key in ("duration", "startSchedule"):
        if key in more:
            schedule[key] = more.pop(key)
    return {
        "chargingProfileId": number or 100 * (1 + [TX, DEFAULT, CAP].index(purpose)) + level,
        "stackLevel": level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": kind,
        "chargingSchedule": schedule,
        **more,
    }


def absolute(purpose, *periods, start=T0, **more):
    return message(purpose, *periods, kind="Absolute", startSchedule=iso(start), **more)


def daily(purpose, *periods, start=T0, **more):
    return message(
        purpose, *periods, kind="Recurring", recurrencyKind="Daily", startSchedule=iso(start), **more
    )


def weekly(purpose, *periods, start=T0, **more):
    return message(
        purpose, *periods, kind="Recurring", recurrencyKind="Weekly", startSchedule=iso(start), **more
    )


def store_with(*installs, running=((1, 7, T0),), connectors=2, **options):
    """A box with 32 A outlets, transaction 7 on connector 1, and profiles given as (connector, message)."""
    store = ProfileStore((32_000,) * connectors, **options)
    for connector, number, began_ms in running:
        store.begin(connector, Transaction(number, began_ms))
    for connector, text in installs:
        store.install(read_profile(connector, text, T0))
    return store


LIMITS = [
    # sentence, profiles as (connector, message), after s, limit of connector 1 in A
    ("without any profile the hardware is the limit", [], 0, 32),
    ("a profile above the rating changes nothing", [(1, message(TX, 63))], 0, 32),
    ("TxDefaultProfile of the connector applies", [(1, message(DEFAULT, 10))], 0, 10),
    ("TxDefaultProfile of connector 0 applies to each connector", [(0, message(DEFAULT, 11))], 0, 11),
    (
        "that of the connector beats that of connector 0, whatever the level",
        [(0, message(DEFAULT, 11, level=5)), (1, message(DEFAULT, 13, number=9))],
        0,
        13,
    ),
    ("another connector's TxDefaultProfile is none of mine", [(2, message(DEFAULT, 6))], 0, 32),
    ("TxProfile replaces TxDefaultProfile upward", [(0, message(DEFAULT, 6)), (1, message(TX, 20))], 0, 20),
    ("and downward", [(0, message(DEFAULT, 20)), (1, message(TX, 6))], 0, 6),
    ("the higher stack level wins", [(1, message(TX, 20, level=1)), (1, message(TX, 10, level=0))], 0, 20),
    (
        "a level that is not valid yet lets the one below through",
        [(1, message(TX, 20, level=1, validFrom=iso(T0 + HOUR))), (1, message(TX, 10))],
        3599,
        10,
    ),
    (
        "and takes over when its time comes",
        [(1, message(TX, 20, level=1, validFrom=iso(T0 + HOUR))), (1, message(TX, 10))],
        3600,
        20,
    ),
    (
        "an expired level is not used",
        [(1, message(TX, 20, level=1, validTo=iso(T0 + HOUR))), (1, message(TX, 10))],
        3600,
        10,
    ),
    (
        "a schedule that is over lets the level below through",
        [(1, message(TX, 20, level=1, duration=60)), (1, message(TX, 10))],
        60,
        10,
    ),
    (
        "when no TxProfile covers the instant, TxDefaultProfile does",
        [(1, message(TX, 20, duration=60)), (0, message(DEFAULT, 8))],
        60,
        8,
    ),
    ("without duration the last period runs on", [(1, message(TX, (0, 20), (60, 8)))], 90_000, 8),
    ("a period begins at its startPeriod", [(1, message(TX, (0, 20), (60, 8)))], 60, 8),
    ("and not a moment earlier", [(1, message(TX, (0, 20), (60, 8)))], 59.999, 20),
    ("Absolute counts from startSchedule", [(1, absolute(TX, (0, 20), (60, 8), start=T0 - 30_000))], 30, 8),
    ("Absolute before its start says nothing", [(1, absolute(TX, 20, start=T0 + HOUR))], 0, 32),
    ("Daily begins anew each day", [(1, daily(DEFAULT, (0, 20), (3600, 8)))], 86_400 + 3599, 20),
    ("and runs its periods each day", [(1, daily(DEFAULT, (0, 20), (3600, 8)))], 86_400 + 3600, 8),
    ("Daily with a duration leaves a gap", [(1, daily(DEFAULT, 8, duration=3600))], 86_400 + 3600, 32),
    ("Weekly begins anew each week", [(1, weekly(DEFAULT, (0, 20), (3600, 8)))], 7 * 86_400, 20),
    ("and not each day", [(1, weekly(DEFAULT, (0, 20), (3600, 8)))], 86_400, 8),
    ("Recurring before its first start says nothing", [(1, daily(DEFAULT, 8, start=T0 + HOUR))], 0, 32),
    ("ChargePointMaxProfile caps a TxProfile", [(1, message(TX, 20)), (0, absolute(CAP, 16))], 0, 16),
    ("a TxProfile under the cap stays", [(1, message(TX, 12)), (0, absolute(CAP, 16))], 0, 12),
    (
        "the higher level of ChargePointMaxProfile wins",
        [(0, absolute(CAP, 9, level=1)), (0, absolute(CAP, 7))],
        0,
        9,
    ),
    ("a Relative cap counts from its installation", [(0, message(CAP, (0, 16), (60, 9)))], 60, 9),
    ("watts are the sum over three phases", [(1, message(TX, 11_040, unit="W"))], 0, 16),
    ("or over numberPhases", [(1, message(TX, (0, 3680, 1), unit="W"))], 0, 16),
    ("amperes are per phase whatever numberPhases says", [(1, message(TX, (0, 16, 1)))], 0, 16),
    ("tenths of an ampere count", [(1, message(TX, 12.4))], 0, 12.4),
    ("0 A is a limit like any other", [(1, message(TX, 0))], 0, 0),
    (
        "the same purpose, level and connector is replaced",
        [(1, message(TX, 20, number=1)), (1, message(TX, 10, number=2))],
        0,
        10,
    ),
    (
        "the same number is replaced wherever it stood",
        [(1, message(TX, 10, number=1, level=3)), (0, message(DEFAULT, 12, number=1))],
        0,
        12,
    ),
]


@pytest.mark.parametrize(
    ("installs", "after_s", "amps"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS]
)
def test_the_limit_in_force(installs, after_s, amps):
    now_ms = T0 + round(after_s * 1000)
    assert store_with(*installs).limits_ma(now_ms, (1,))[1] == amps * 1000


PHASES = [
    ("three where nothing is said", [(1, message(TX, 16))], 3),
    ("those of the transaction's profile", [(1, message(TX, (0, 16, 1)))], 1),
    ("those of the default without one", [(1, message(DEFAULT, (0, 16, 1)))], 1),
    (
        "those of what rules, not of what is below it",
        [(1, message(DEFAULT, (0, 6, 1))), (1, message(TX, 16))],
        3,
    ),
]


@pytest.mark.parametrize(("installs", "phases"), [row[1:] for row in PHASES], ids=[row[0] for row in PHASES])
def test_the_phases_that_the_limit_in_force_is_meant_for(installs, phases):
    assert store_with(*installs).phases(1, T0) == phases


REFUSALS = [
    ("TxProfile without a transaction", 2, message(TX, 16), "Rejected"),
    ("TxProfile for another transaction", 1, message(TX, 16, transactionId=8), "Rejected"),
    ("TxProfile for the whole chargepoint", 0, message(TX, 16), "Rejected"),
    ("TxDefaultProfile with a transaction", 1, message(DEFAULT, 16, transactionId=7), "Rejected"),
    ("ChargePointMaxProfile on a connector", 1, absolute(CAP, 16), "Rejected"),
    ("a connector that does not exist", 3, message(DEFAULT, 16), "Rejected"),
    ("a stack level above the highest", 1, message(DEFAULT, 16, level=9), "Rejected"),
    ("more periods than the box holds", 1, message(DEFAULT, *((i, 16) for i in range(25))), "Rejected"),
    ("Absolute without startSchedule", 1, message(DEFAULT, 16, kind="Absolute"), "Rejected"),
    (
        "Recurring without recurrencyKind",
        1,
        message(DEFAULT, 16, kind="Recurring", startSchedule=iso(T0)),
        "Rejected",
    ),
    ("a first period that does not start at 0", 1, message(DEFAULT, (5, 16)), "Rejected"),
    ("periods out of order", 1, message(DEFAULT, (0, 16), (60, 8), (30, 6)), "Rejected"),
    (
        "a startSchedule that is no date",
        1,
        message(DEFAULT, 16, kind="Absolute", startSchedule="soon"),
        "Rejected",
    ),
    ("a profile too many", 2, message(DEFAULT, 16, number=77), "Rejected"),
    ("a purpose the box does not know", 0, absolute(CAP, 16), "NotSupported"),
]


@pytest.mark.parametrize(
    ("connector", "text", "status"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_what_a_box_refuses(connector, text, status):
    purposes = (TX, DEFAULT) if status == "NotSupported" else (TX, DEFAULT, CAP)
    store = store_with((1, message(DEFAULT, 6)), max_installed=1 if connector == 2 else 20, purposes=purposes)
    before = store.profiles
    with pytest.raises(Refused) as refused:
        store.install(read_profile(connector, text, T0))
    assert refused.value.status == status
    assert store.profiles == before


def test_a_full_store_still_replaces_what_it_holds():
    store = store_with((1, message(TX, 20)), (1, message(TX, 10)), max_installed=1)
    assert store.limits_ma(T0, (1,))[1] == 10_000


def test_a_tx_profile_ends_with_its_transaction_and_the_next_one_starts_on_the_default():
    store = store_with((0, message(DEFAULT, 6)), (1, message(TX, 32)))
    store.end(1)
    store.begin(1, Transaction(8, T0 + HOUR))
    assert store.limits_ma(T0 + HOUR, (1,))[1] == 6000


def test_relative_counts_from_the_start_of_the_transaction_not_from_the_message():
    store = store_with(running=((1, 7, T0 - 30_000),))
    store.install(read_profile(1, message(TX, (0, 20), (60, 8)), T0))
    assert [store.limits_ma(T0 + s * 1000, (1,))[1] for s in (0, 29, 30)] == [20_000, 20_000, 8000]


def test_without_a_transaction_a_relative_default_says_what_a_car_would_start_with():
    store = store_with((0, message(DEFAULT, (0, 16), (60, 6))))
    assert store.limits_ma(T0 + HOUR, (1,)) == {1: 6000, 2: 16_000}


def test_everything_but_tx_profiles_survives_a_reboot():
    store = store_with((0, absolute(CAP, 20)), (0, message(DEFAULT, 6)), (1, message(TX, 16)))
    store.reboot()
    assert [profile.purpose for profile in store.profiles] == [CAP, DEFAULT]
    assert store.limits_ma(T0, ())[1] == 6000


def test_clearing_matches_every_given_field_and_tells_whether_it_found_any():
    store = store_with((0, message(DEFAULT, 6)), (1, message(TX, 10)), (1, message(TX, 20, level=1)))
    assert store.clear(lambda p: p.purpose == TX and p.stack_level == 1)
    assert store.limits_ma(T0, (1,))[1] == 10_000
    assert not store.clear(lambda p: p.purpose == TX and p.stack_level == 1)


SHARES = [
    ("a cap is shared evenly", 20, (32, 32), (1, 2), (10, 10)),
    ("what one does not take goes to the other", 20, (6, 32), (1, 2), (6, 14)),
    ("one alone gets all of it", 20, (32, 32), (2,), (20, 20)),
    ("below 6 A each the last to come waits", 11, (32, 32), (1, 2), (11, 0)),
    ("whoever came first", 11, (32, 32), (2, 1), (0, 11)),
    ("a cap below 6 A stops everything", 5, (32, 32), (1, 2), (0, 0)),
    ("one that is told 0 A takes no share", 11, (0, 32), (1, 2), (0, 11)),
]


@pytest.mark.parametrize(
    ("cap", "limits", "charging", "expected"), [row[1:] for row in SHARES], ids=[row[0] for row in SHARES]
)
def test_the_cap_of_a_chargepoint_binds_the_sum(cap, limits, charging, expected):
    installs = [(c, message(DEFAULT, limit, number=c)) for c, limit in enumerate(limits, start=1)]
    store = store_with((0, absolute(CAP, cap)), *installs, running=())
    assert store.limits_ma(T0, charging) == {c: amps * 1000 for c, amps in enumerate(expected, start=1)}


COMPOSITES = [
    ("without profiles it is the hardware", 1, [], [(0, 32)]),
    ("connector 0 is the sum of all", 0, [], [(0, 64)]),
    ("connector 0 is at most the cap", 0, [(0, absolute(CAP, 40))], [(0, 40)]),
    (
        "it is the minimum of the layers at each instant",
        1,
        [(1, message(TX, (0, 20), (60, 10), (120, 25))), (0, absolute(CAP, (0, 16), (90, 8)))],
        [(0, 16), (60, 10), (90, 8)],
    ),
    ("rows end with the asked duration", 1, [(1, message(TX, (0, 20), (300, 10)))], [(0, 20)]),
    (
        "a profile that ends shows what comes after",
        1,
        [(1, message(TX, 20, duration=60)), (0, message(DEFAULT, 6))],
        [(0, 20), (60, 6)],
    ),
    (
        "validity opens and closes rows",
        1,
        [(1, message(TX, 20, validFrom=iso(T0 + 10_000), validTo=iso(T0 + 20_000)))],
        [(0, 32), (10, 20), (20, 32)],
    ),
]


@pytest.mark.parametrize(
    ("connector", "installs", "rows"), [row[1:] for row in COMPOSITES], ids=[row[0] for row in COMPOSITES]
)
def test_the_composite_schedule(connector, installs, rows):
    composite = store_with(*installs).composite(connector, T0, 300)
    assert composite == [(offset_s, amps * 1000) for offset_s, amps in rows]


def test_the_next_change_is_when_the_limit_moves_by_itself():
    store = store_with((1, message(TX, (0, 20), (120, 6))))
    assert store.next_change_ms(T0) == T0 + 120_000
    assert store.next_change_ms(T0 + 120_000) is None


def test_a_recurring_profile_changes_again_tomorrow():
    store = store_with((1, daily(DEFAULT, (0, 20), (3600, 8))))
    assert store.next_change_ms(T0 + 2 * HOUR) == T0 + DAY
