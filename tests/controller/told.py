"""A garage, what it is told from outside, and what is in force of it, in few words."""

from datetime import UTC, datetime

import numpy as np

from controller.calendar import DayAhead, milliseconds
from controller.defaults import NEVER, UNLIMITED_MA
from controller.external import ExternalLimit, Instruction, Place, ProfileSet
from controller.image import Source
from controller.instructions import in_force
from controller.site import build
from controller.topology import compile_site

WEDNESDAY = milliseconds(datetime(2026, 6, 3, 10, 0, tzinfo=UTC))  # noon in Amsterdam
HOUR_MS = 3_600_000
MAIN, LEVEL, BAY, DOUBLE = (
    Place("grid", "main"),
    Place("grid", "level"),
    Place("chargepoint", "bay"),
    Place("chargepoint", "double"),
)


def garage(main=(), level=(), profiles=(), bay=(), inputs=()):
    """A connection of 100 A with a board of 50 A that hangs on it as L2 L3 L1."""
    outlet = {"number": 1, "max_current_a": 32}
    return build(
        {
            "name": "Garage",
            "timezone": "Europe/Amsterdam",
            "holidays": ["2026-12-25"],
            "accept_unsafe_fallback": "test, tester",
            "grid": {
                "main": {"id": 0, "max_current_a": 100, "chargepoints_only": True, "time_of_use": main}
                | {"profile": profiles, "input": inputs},
                "level": {"id": 1, "max_current_a": 50, "chargepoints_only": True, "time_of_use": level}
                | {"fed_by": "main", "rotation": "L2 L3 L1"},
            },
            "chargepoint": {
                "bay": {"identity": "A", "fed_by": "level", "connector": [outlet], "profile": bay},
                "double": {"identity": "B", "fed_by": "main"}
                | {"connector": [outlet | {"phases": 1}, outlet | {"number": 2, "max_current_a": 16}]},
            },
        },
        "garage",
    )


SITE = garage()


def rows(told=(), site=SITE, now_ms=1000, utc_ms=WEDNESDAY, trusted=True):
    """What is in force of instructions that are told in this order."""
    book = {f"{n}": one for n, one in enumerate(told)}
    return in_force(site, compiled(site), book, now_ms, utc_ms, utc_trusted=trusted)


TOPOLOGIES = {}


def compiled(site):
    """Compiled once: properties ask many times."""
    if id(site) not in TOPOLOGIES:
        TOPOLOGIES[id(site)] = site, compile_site(site)
    return TOPOLOGIES[id(site)][1]


def api(place=MAIN, until_ms=NEVER, doubtful=False, **keys):
    return Instruction(place, ExternalLimit.model_validate({"ttl_s": 60} | keys), until_ms, doubtful)


def profile(document, place=MAIN, **terms):
    return Instruction(place, ProfileSet.model_validate({"profile": document} | terms))


def line(row):
    """A row of the grids in few words: kind, amperes of the phases, kW at 230 V, source, keeps."""
    found = {}
    for kind in ("hard", "soft", "charging", "export"):
        phases = tuple(ma / 1000 if ma != UNLIMITED_MA else None for ma in row[f"{kind}_ma"].tolist())
        total = int(row[f"{kind}_sum_ma"])
        if any(amps is not None for amps in phases) or total != UNLIMITED_MA:
            kw = round(total * 230 / 1e6, 2) if total != UNLIMITED_MA else None
            keeps = kind in ("soft", "charging") and bool(row[f"{kind}_keeps_minimum"])
            found[kind] = (phases, kw, Source(int(row[f"{kind}_source"])).name, keeps)
    return found


def flat(amps):
    return (amps,) * 3


def non_firm(start, values, **keys):
    series = {"start": start, "step_s": 3600, "values_kw": values} | keys
    return Instruction(MAIN, DayAhead.model_validate(series))


def allowed(found):
    """What rows allow, as numbers of which every one may only fall when something is told."""
    grids, caps = found.grids, found.caps
    numbers = []
    for line_of in ("_ma", "_sum_ma"):
        soft, charging = grids[f"soft{line_of}"], grids[f"charging{line_of}"]
        shape = (-1, 1) if soft.ndim == 2 else (-1,)
        strict_soft = np.where(grids["soft_keeps_minimum"].reshape(shape), UNLIMITED_MA, soft)
        strict_charging = np.where(grids["charging_keeps_minimum"].reshape(shape), UNLIMITED_MA, charging)
        hard = grids[f"hard{line_of}"]
        numbers += [np.minimum(hard, strict_soft), np.minimum(hard, soft), strict_charging, charging]
        numbers.append(grids[f"export{line_of}"])
    numbers += [caps["wish_ma"], -caps["stop"], -grids["stop"]]
    return np.concatenate([part.ravel() for part in numbers])


def no_wider(one, other):
    return bool((one <= other).all())


EVENINGS = garage(
    main=[{"segment": [{"begin": "17:00", "end": "21:00", "limit_a": 40}], "days": ["mon", "wed", "sun"]}],
    level=[{"segment": [{"begin": "22:00", "end": "07:00", "limit_a": 8}], "keep_6a": True}],
)
