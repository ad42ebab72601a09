"""Numbers and times as people read them: amperes without decimals from 10 on, "-" for what nobody knows."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

THIN = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def number(amps: float | None) -> str:
    """`61`, `7.4`, `6.0`, `0`, or `-`."""
    if amps is None:
        return "-"
    text = f"{abs(amps):.0f}" if abs(amps) >= 9.95 or not amps else f"{abs(amps):.1f}"
    return MINUS + text if amps < 0 and float(text) else text


def amps(value: float | None) -> str:
    """Amperes with the unit."""
    return f"{number(value)}{THIN}A"


def lasted(seconds: float | None) -> str:
    """`4 s`, `7 min`, `3 h 5 min`, or `-`."""
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f}{THIN}s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes}{THIN}min"
    return f"{minutes // 60}{THIN}h {minutes % 60}{THIN}min"


def local(at: str, timezone: str) -> datetime:
    """An ISO time of the contract in the zone of the site."""
    return datetime.fromisoformat(at).astimezone(ZoneInfo(timezone))


def clock(at: str | None, timezone: str) -> str:
    """`14:03:12` in the zone of the site."""
    return "-" if at is None else f"{local(at, timezone):%H:%M:%S}"
