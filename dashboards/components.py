"""The parts of a page as HTML: answer, tree of grids, tiles, alarms, chain of limits.

Plain markup of fixed shape: values move, the layout does not. Colours come from style.css, one meaning each.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dashboards.client import (
    Alarm,
    ChainLink,
    Connector,
    ConnectorPlate,
    Device,
    Grid,
    GridPlate,
    Live,
    Note,
    Phase,
    Site,
)
from dashboards.units import THIN, amps, clock, lasted, number

STYLE: Final = Path(__file__).with_name("style.css")
ICON: Final = str(Path(__file__).with_name("icon.svg"))

STATES: Final[dict[str, tuple[str, str]]] = {
    "safe": ("\N{CHECK MARK}", "safe"),
    "attention": ("!", "look"),
    "danger": ("\N{BLACK UP-POINTING TRIANGLE}", "act"),
    "starting": ("\N{HORIZONTAL ELLIPSIS}", "starting"),
    "stalled": ("\N{BLACK UP-POINTING TRIANGLE}", "act"),
    "ended": ("\N{BLACK SQUARE}", "over"),
}
"""An icon and a word for every state: never a colour alone."""

HELPLESS: Final = ("not_obeying", "refused", "offline", "out_of_service")
"""Reasons that only a person can end."""

UP: Final = "\N{BLACK UP-POINTING TRIANGLE} "

SCALE: Final = 1.15
"""A bar is this much longer than its fuse, so that an overload is seen."""


def band(site: Site) -> str:
    """Nobody mistakes a simulated world for the site; nothing on a real one."""
    if site["world"] == "site":
        return ""
    speed = site["speed"]
    pace = (
        "as fast as it goes"
        if speed is None
        else "in real time"
        if speed == 1
        else f"at {speed:g}\u00d7 speed"
    )
    story = f" \u00b7 {escape(site['scenario'])}" if site["scenario"] else ""
    word = {"simulated": "Simulated world", "emulated": "Emulated site"}[site["world"]]
    return (
        f'<div class="edge-band" role="note"><b>{word}</b>{story} \u00b7 {pace}. This is not the site.</div>'
    )


def answer(state: str, sentence: str, below: str) -> str:
    """The sentence on top, and a quiet line under it."""
    icon, word = STATES[state]
    return (
        f'<div class="edge-answer {state}" role="status"><span class="icon" aria-label="{word}">{icon}</span>'
        f"<p>{escape(sentence)}</p></div><div class='edge-below'>{escape(below)}</div>"
    )


def below(site: Site, live: Live, alarms: list[Alarm]) -> str:
    """Where, when, and whether the site would be safe without its controller."""
    dead = live["if_the_controller_dies"] or site["if_the_controller_dies"]
    if dead["safe"]:
        alone = "If the controller stops now: safe."
    elif dead["accepted"]:
        alone = f"If the controller stops now: not safe, accepted ({dead['accepted']})."
    else:
        alone = f"If the controller stops now: not safe. {dead['sentences'][0]}"
    count = sum(alarm["until"] is None for alarm in alarms)
    wrong = f"{count} alarm{'s' if count > 1 else ''}" if count else "No alarm"
    return f"{wrong} \u00b7 {site['name']} \u00b7 {clock(live['at'], site['timezone'])} \u00b7 {alone}"


def tree(site: Site, live: Live) -> str:
    """Every grid with its three phases, measured and allowed, against the fuse."""
    now = {grid["name"]: grid for grid in live["grids"]}
    rows = (_grid(plate, now.get(plate["name"])) for plate in _in_tree_order(site["grids"]))
    key = (
        '<div class="edge-key"><span><i class="other"></i>other load</span>'
        '<span><i class="cars"></i>cars</span><span><i class="booked"></i>promised to cars</span>'
        '<span><i class="limit"></i>limit</span></div>'
    )
    return f'<h4>Grids</h4><div class="edge-tree">{"".join(rows)}</div>{key}'


def _in_tree_order(plates: list[GridPlate], feeder: str | None = None) -> Iterable[GridPlate]:
    for plate in plates:
        if plate["fed_by"] == feeder:
            yield plate
            yield from _in_tree_order(plates, plate["name"])


def _grid(plate: GridPlate, now: Grid | None) -> str:
    fuses = sorted({number(fuse) for fuse in plate["fuse_a"]})
    fuse = f"fuse {'/'.join(fuses)}{THIN}A"
    bars = (
        "".join(_bar(phase, fuse_a) for phase, fuse_a in zip(now["phases"], plate["fuse_a"], strict=True))
        if now
        else ""
    )
    return (
        f'<div class="grid" style="--depth:{plate["depth"]}"><div class="name"><b>{escape(plate["name"])}</b>'
        f"<small>{fuse} \u00b7 {_meter(plate, now)}</small>{notes(now['notes'] if now else [])}</div>"
        f"{bars}</div>"
    )


def notes(said: list[Note]) -> str:
    """Labels of the notes; what each means and what would end it appears when pointed at."""
    labels = (
        f'<span title="{escape(note["text"])}. {escape(note["more"])}">{escape(note["label"])}</span>'
        for note in said
    )
    return f'<span class="edge-notes">{"".join(labels)}</span>' if said else ""


def remarks(said: list[Note]) -> str:
    """The notes of one connector in full."""
    rows = "".join(
        f"<li><b>{escape(note['label'])}</b>: {escape(note['text'])}. {escape(note['more'])}</li>"
        for note in said
    )
    return f'<ul class="edge-remarks">{rows}</ul>' if said else ""


def _meter(plate: GridPlate, now: Grid | None) -> str:
    if plate["meter"] == "none":
        return "no meter"
    age = lasted(now["meter_age_s"]) if now else "-"
    if now and now["meter_lost"]:
        return f'<em class="bad">\u25b2 meter silent {age}</em>'
    return f"meter {age} ago" if age != "-" else "meter not heard"


def _bar(phase: Phase, fuse_a: float | None) -> str:
    """Other load grey, cars orange, what is promised outlined, the limit a line."""
    full_a = SCALE * (fuse_a or phase["limit_a"] or 1.0)
    measured, booked, other, limit = (phase[k] for k in ("measured_a", "booked_a", "other_a", "limit_a"))
    shown = measured if measured is not None else booked
    over = shown is not None and limit is not None and shown > limit
    other_part = max(0.0, min(other or 0.0, shown or 0.0))
    said = f"{amps(measured)} measured, {amps(booked)} with all that is promised, limit {amps(limit)}"
    kind = "over" if over else "unmeasured" if measured is None else ""
    return (
        f'<div class="phase {kind}" title="{escape(said)}">'
        f'<span class="ph">{phase["phase"]}</span><span class="bar">'
        f'<i class="booked" style="width:{_share(booked, full_a)}"></i>'
        f'<i class="cars" style="width:{_share(shown, full_a)}"></i>'
        f'<i class="other" style="width:{_share(other_part, full_a)}"></i>'
        f'<i class="limit" style="left:{_share(limit, full_a)}"></i></span>'
        f'<span class="num"><b>{UP if over else ""}{number(shown)}</b> / {amps(limit)}</span></div>'
    )


def _share(part_a: float | None, full_a: float) -> str:
    return f"{100 * min(1.0, max(0.0, (part_a or 0.0) / full_a)):.1f}%"


def devices(live: Live) -> str:
    """Batteries and inverters: what each takes or feeds in, its charge, and why; nothing where none is."""
    rows = "".join(_device(device) for device in live["devices"])
    return f'<h4>Batteries and inverters</h4><div class="edge-devices">{rows}</div>' if rows else ""


def _device(now: Device) -> str:
    takes_kw = now["takes_kw"]
    power = "-"
    if takes_kw is not None:
        verb = "takes" if takes_kw > 0 else "gives" if now["kind"] == "battery" else "feeds in"
        power = f"{verb} {number(abs(takes_kw))}{THIN}kW" if round(takes_kw, 1) else "rests"
    facts = [power]
    if now["charge_percent"] is not None:
        facts.append(f"{now['charge_percent']:.0f}{THIN}% charged")
    if now["strategy"] is not None:
        facts.append(now["strategy"])
    lost = "" if now["online"] and not now["stale"] else f'<i class="bad">{UP}out of reach</i> '
    said = " \u00b7 ".join(facts)
    return (
        f'<div class="device"><b>{escape(now["name"])}</b><span>{lost}{said}</span>'
        f"<small>{escape(now['why'])}</small></div>"
    )


def tiles(site: Site, live: Live) -> str:
    """Every connector as a tile, grouped by board: bar is draw, outline is offer, mark is the reason."""
    now = {connector["name"]: connector for connector in live["connectors"]}
    boards: dict[str, list[tuple[ConnectorPlate, Connector]]] = {}
    for plate in site["connectors"]:
        if plate["name"] in now:
            boards.setdefault(plate["path"][0], []).append((plate, now[plate["name"]]))
    return f'<div class="edge-boards">{"".join(_board(*board) for board in boards.items())}</div>'


def _board(board: str, members: list[tuple[ConnectorPlate, Connector]]) -> str:
    plugged = sum(connector["plugged"] for _, connector in members)
    charging = sum(connector["charging"] for _, connector in members)
    said = f"{charging} of {plugged} cars charge \u00b7 {len(members)} outlets"
    heading = f"<h4>{escape(board)} <small>{said}</small></h4>"
    tiled = "".join(_tile(*member) for member in members)
    return f'<section>{heading}<div class="edge-tiles">{tiled}</div></section>'


def _tile(plate: ConnectorPlate, now: Connector) -> str:
    kinds = [
        "charging" if now["charging"] else "waiting" if now["plugged"] else "free",
        *(["stale"] if now["stale"] else []),
        *(["bad"] if not now["online"] or now["code"] in HELPLESS else []),
    ]
    values = f"<b>{number(now['draws_a'])}</b> / {amps(now['gets_a'])}" if now["plugged"] else "&nbsp;"
    labels = " \u00b7 ".join(note["label"] for note in now["notes"] if note["label"].lower() != now["mark"])
    mark = (UP if "bad" in kinds else "") + escape(now["mark"] + (f" \u00b7 {labels}" if labels else ""))
    return (
        f'<a class="tile {" ".join(kinds)}" target="_self" href="{connector_page(plate["name"])}"'
        f' title="{escape(now["sentence"])}"><span class="name">{escape(plate["label"])}</span>'
        f'<span class="num">{values}</span><span class="bar">'
        f'<i class="draw" style="width:{_share(now["draws_a"], plate["max_a"])}"></i>'
        f'<i class="offer" style="width:{_share(now["gets_a"], plate["max_a"])}"></i></span>'
        f'<span class="mark">{mark}</span></a>'
    )


def connector_page(name: str) -> str:
    """Address of a connector's own page."""
    return f"connector?connector={quote(name, safe='')}"


def alarms(rows: list[Alarm], timezone: str) -> str:
    """Newest first, each with its next step; those that went are quiet."""
    said = "".join(_alarm(alarm, timezone) for alarm in rows) or '<p class="none">\u2713 None.</p>'
    return f'<h4>Alarms</h4><div class="edge-alarms">{said}</div>'


def _alarm(alarm: Alarm, timezone: str) -> str:
    gone = alarm["until"] is not None
    kind = "gone" if gone else "danger" if alarm["danger"] else "stands"
    icon, word = ("\u2713", "over") if gone else ("\u25b2", "act") if alarm["danger"] else ("!", "look")
    since = clock(alarm["since"], timezone)
    times = f"{since} to {clock(alarm['until'], timezone)}" if gone else f"since {since}"
    next_step = "" if gone else f"<p>\u2192 {escape(alarm['next_step'])}</p>"
    return (
        f'<div class="alarm {kind}"><span class="icon" aria-label="{word}">{icon}</span><div>'
        f"<b>{escape(alarm['text'])}</b>{next_step}<small>{times}</small></div></div>"
    )


def chain(links: list[ChainLink]) -> str:
    """From the car up to the main fuse; the binding limit is marked."""
    return f'<ol class="edge-chain">{"".join(_link(link) for link in links)}</ol>'


def _link(link: ChainLink) -> str:
    name = escape(link["name"] + (f" {link['phase']}" if link["phase"] else ""))
    title = {"car": "Car", "order": "Order of the controller", "outlet": "Outlet", "grid": name}[link["what"]]
    said = {
        "car": f"draws {amps(link['booked_a'])}",
        "order": f"{amps(link['limit_a'])}",
        "outlet": f"at most {amps(link['limit_a'])}",
        "grid": f"{number(link['booked_a'])} of {amps(link['limit_a'])} promised",
    }[link["what"]]
    binds = f"<em>\u25c6 binds: {escape(link['note'])}</em>" if link["binding"] else ""
    return f'<li class="{"binding" if link["binding"] else ""}"><b>{title}</b><span>{said}</span>{binds}</li>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values in a quiet grid."""
    cells = "".join(
        f"<div><small>{escape(name)}</small><b>{escape(value)}</b></div>" for name, value in pairs
    )
    return f'<div class="edge-facts">{cells}</div>'


def faded(markup: str, *, old: bool) -> str:
    """What is not current any more fades."""
    return f'<div class="edge-old">{markup}</div>' if old else markup
