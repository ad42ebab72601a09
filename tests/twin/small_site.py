"""A small site for tests of the twin: two boards, the second turned, and boxes with leases."""

from datetime import UTC, datetime

from controller.site import build
from controller.topology import compile_site
from twin.conditions import Conditions
from twin.sessions import Car, Session
from twin.world import World

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
STRONG = Car(phases=3, max_ma=32_000)


def site(battery=None, **main):
    """`upper` hangs straight, `turned` one phase further; one guard meter and one consumer meter."""
    chargepoints = {
        name: {
            "identity": name.upper(),
            "fed_by": board,
            "fallback_a": 0,
            "lease_s": 300,
            "connector": [{"number": 1, "max_current_a": 32}],
        }
        for name, board in (("one", "upper"), ("two", "turned"))
    }
    grids = {
        "main": {"id": 0, "max_current_a": 100, "worst_load_a": 40} | main,
        "upper": {"id": 1, "fed_by": "main", "max_current_a": 63, "chargepoints_only": True},
        "turned": {
            "id": 2,
            "fed_by": "main",
            "rotation": "L2 L3 L1",
            "max_current_a": 63,
            "worst_load_a": 10,
        },
    }
    meters = {
        "guard": {"grid": "main", "role": "guard", "on_failure": {"safe_current_a": 10}},
        "rest": {"grid": "turned", "role": "consumer"},
    }
    tables = {"name": "small", "timezone": "Europe/Amsterdam", "grid": grids, "meter": meters}
    storage = {} if battery is None else {"battery": {"cellar": {"fed_by": "main"} | battery}}
    return build(tables | {"chargepoint": chargepoints} | storage, "small")


def stay(connector=0, car=STRONG, *, begin_s=10, end_s=3600, energy_wh=50_000.0, key=""):
    """A session whose card is shown at once."""
    key = key or f"{connector} {begin_s}"
    return Session(key, connector, begin_s * 1000, end_s * 1000, energy_wh, car, card_after_ms=0)


def world(*sessions, conditions=None, loads=(), seed=1, built=None, **faults):
    """A world in which every car is started as soon as its card is shown."""
    built = built or site()
    if faults:
        conditions = Conditions.model_validate(faults)
    made = World(built, compile_site(built), conditions or Conditions(), sessions, seed, START, loads)
    return made


def uncontrolled(made, limit_ma=32_000):
    """Start every car by itself, at `limit_ma`; returns the events as they come."""
    heard = []

    def listen(event):
        heard.append(event)
        if type(event).__name__ == "CardPresented":
            made.start_transaction(event.connector)
            made.set_pilot(event.connector, limit_ma)

    made.listen(listen)
    return heard
