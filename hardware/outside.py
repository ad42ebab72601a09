"""What the box was told from outside: in force at once, on disk before the answer, alive after a restart.

What lived for some time goes on with what is left of it. Where no clock tells how long the box was away, a
limit and its fallback both hold until it is told anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from controller.calendar import DayAhead
from controller.defaults import NEVER
from controller.external import (
    ExternalLimit,
    Instruction,
    Place,
    ProfileSet,
    Stop,
    What,
    calendar_of,
    instruction_faults,
)
from controller.image import Image
from controller.instructions import InForce, Standing, narrowed
from controller.setpoints import Setpoint
from controller.site import Site
from controller.topology import Topology
from hardware.clock import Clock
from hardware.durable import DurableFile, Work
from hardware.notices import Notices

Kind = Literal["limits", "profiles", "series", "stops", "setpoints"]
KINDS: Final[dict[Kind, type[What]]] = {
    "limits": ExternalLimit,
    "profiles": ProfileSet,
    "series": DayAhead,
    "stops": Stop,
    "setpoints": Setpoint,
}
TRUSTED_FROM: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""A calendar before this has not been set."""

KEPT_PER_LIFE: Final = 10
"""Of what is renewed without end, at most so many renewals are written in each of its times to live."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS instructions (
  place TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
  body TEXT NOT NULL, ttl_s INTEGER, told_utc TEXT NOT NULL,
  PRIMARY KEY (place, name, kind, id)
) STRICT;
CREATE TABLE IF NOT EXISTS history (
  at_utc TEXT NOT NULL, place TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
  body TEXT
) STRICT;
"""
"""`history` is for whoever asks what was told when; `body` NULL: taken back. A renewal is no news."""


@dataclass(frozen=True, slots=True)
class Told:
    """One instruction as it was told; `told_utc` is by the clock of the box, whatever that was worth."""

    place: Place
    kind: Kind
    id: str
    what: What
    ttl_s: int | None
    told_utc: datetime

    @property
    def key(self) -> str:
        """Whatever is told under the same key takes its place."""
        return _key(self.place, self.kind, self.id)


class Outside:
    """The standing instructions of a box. Every method is for the thread of the event loop; none blocks."""

    def __init__(self, path: Path, site: Site, topology: Topology, clock: Clock, notices: Notices) -> None:
        self._site = site
        self._clock = clock
        self._notices = notices
        self._standing = Standing(site, topology)
        self._told: dict[str, Told] = {}
        self._kept_utc: dict[str, datetime] = {}
        self._in_force: InForce | None = None
        self.on_change: Callable[[], None] = _nobody
        self._file = DurableFile(
            path, _SCHEMA, notices, lambda: [_kept(told) for told in self._told.values()]
        )
        database = self._file.open()
        for row in database.execute("SELECT * FROM instructions") if database is not None else ():
            self._remember(row)

    def close(self) -> None:
        """Write what waits and close the file."""
        self._file.close()

    def narrow(self, live: Image) -> Image:
        """A frozen copy of an image, narrowed by what is in force at its time."""
        clock = live.clock[0]
        now_ms, utc_ms = int(clock["now_ms"]), int(clock["utc_ms"])
        rows = self._standing.at(now_ms, utc_ms, utc_trusted=bool(clock["utc_trusted"]))
        if rows is not self._in_force:
            self._in_force = rows
            self._say_who_is_silent(now_ms)
        return narrowed(live, rows)

    def _say_who_is_silent(self, now_ms: int) -> None:
        """Whoever set a limit with a fallback should have renewed it."""
        for told, instruction in self.all():
            what, ended = told.what, NEVER < instruction.until_ms <= now_ms
            if ended and isinstance(what, ExternalLimit) and what.fallback(0) is not None:
                sentence = (
                    f"Limit {told.id} of {told.place.kind} {told.place.name} was not renewed: its fallback"
                    " holds until it is told anew or taken back."
                )
                self._notices.say(told.key, "silent", sentence)

    # -- told and taken back ------------------------------------------------------------------------

    def faults(self, place: Place, what: What) -> list[str]:
        """What is wrong with an instruction for this site, one sentence each."""
        return list(instruction_faults(self._site, place, what))

    async def tell(self, place: Place, kind: Kind, number: str, what: What, ttl_s: int | None) -> bool:
        """In force from now on; True once it is on disk, False when the disk does not take it."""
        self._forget_the_expired()
        told = Told(place, kind, number, what, ttl_s, self._clock.utc())
        before = self._told.get(told.key)
        self._stand(told, left_s=ttl_s, doubtful=False)
        self.on_change()
        if before is None or before.what != what:
            self._file.put(_noted(told, self._clock.utc(), told.what.model_dump_json(by_alias=True)))
        elif ttl_s is not None and self._is_young_on_disk(told, before, ttl_s):
            return True
        kept = bool(await self._file.durable(_kept(told), _not_on_disk))
        if kept:
            self._kept_utc[told.key] = told.told_utc
        else:
            self._kept_utc.pop(told.key, None)
        return kept

    def _is_young_on_disk(self, told: Told, before: Told, ttl_s: int) -> bool:
        """A renewal that takes less than a tenth from the life after a restart need not wear out a disk."""
        kept_utc = self._kept_utc.get(told.key)
        if kept_utc is None or before.ttl_s != ttl_s:
            return False
        return timedelta(0) <= told.told_utc - kept_utc < timedelta(seconds=ttl_s / KEPT_PER_LIFE)

    async def withdraw(self, place: Place, kind: Kind, number: str) -> bool:
        """Take something back; False when it was not told. Raises nothing."""
        told = self._told.pop(_key(place, kind, number), None)
        if told is None:
            return False
        self._standing.withdraw(told.key)
        self._kept_utc.pop(told.key, None)
        self.on_change()
        self._file.put(_noted(told, self._clock.utc(), None))
        await self._file.durable(_gone(told), _not_on_disk)
        return True

    def all(self) -> list[tuple[Told, Instruction]]:
        """Everything that stands, by its key."""
        return [(self._told[key], self._standing.told[key]) for key in sorted(self._told)]

    def find(self, place: Place, kind: Kind, number: str) -> tuple[Told, Instruction] | None:
        """What stands under a key; None: nothing."""
        key = _key(place, kind, number)
        return (self._told[key], self._standing.told[key]) if key in self._told else None

    def left_s(self, instruction: Instruction) -> float | None:
        """How long it still lives, 0 when it does not; None: until it is taken back."""
        if instruction.until_ms == NEVER:
            return None
        return max(0, instruction.until_ms - self._clock.now_ms()) / 1000

    # -- from one process to the next ---------------------------------------------------------------

    def _stand(self, told: Told, *, left_s: float | None, doubtful: bool) -> None:
        until_ms = NEVER if left_s is None else self._clock.now_ms() + round(left_s * 1000)
        self._told[told.key] = told
        self._standing.tell(told.key, Instruction(told.place, told.what, until_ms, doubtful))

    def _remember(self, row: sqlite3.Row) -> None:
        """Let what was told before the restart stand again; what fits this site no more is said."""
        label = f"{row['kind']} {row['id']} of {row['place']} {row['name']}"
        try:
            what = KINDS[row["kind"]].model_validate_json(row["body"])
            place = Place(row["place"], row["name"])
            told_utc = datetime.fromisoformat(row["told_utc"])
        except (ValidationError, KeyError, ValueError) as error:
            self._notices.say(
                "instructions", "unreadable", f"{label} cannot be read ({error}); tell it anew."
            )
            return
        told = Told(place, row["kind"], row["id"], what, row["ttl_s"], told_utc)
        faults = self.faults(place, what)
        if faults:
            sentence = f"{label} fits the site no more and holds nothing: {faults[0]}"
            self._notices.say("instructions", "unfit", sentence)
            return
        left_s, doubtful = self._left_s(told)
        self._stand(told, left_s=left_s, doubtful=doubtful)

    def _left_s(self, told: Told) -> tuple[float | None, bool]:
        """What is left of its time to live, and whether that is anybody's guess."""
        if told.ttl_s is None:
            return None, False
        away = self._clock.utc() - told.told_utc
        if min(self._clock.utc(), told.told_utc) < TRUSTED_FROM or away < timedelta(0):
            return told.ttl_s, True
        return max(0.0, told.ttl_s - away.total_seconds()), False

    def _forget_the_expired(self) -> None:
        """What has ended and leaves no fallback need not be kept."""
        now_ms = self._clock.now_ms()
        for told, instruction in self.all():
            ended = instruction.until_ms != NEVER and instruction.until_ms <= now_ms
            if isinstance(told.what, ProfileSet) and self._clock.utc() >= TRUSTED_FROM:
                ends_ms = told.what.profile.ends_ms(calendar_of(self._site))
                ended = ended or ends_ms <= self._clock.utc_ms()
            leaves = isinstance(told.what, ExternalLimit) and told.what.fallback(0) is not None
            if ended and not leaves:
                del self._told[told.key]
                self._kept_utc.pop(told.key, None)
                self._standing.withdraw(told.key)
                self._file.put(_gone(told))


def _key(place: Place, kind: Kind, number: str) -> str:
    return f"{place.kind}/{place.name}/{kind}/{number}"


def _nobody() -> None:
    pass


def _not_on_disk() -> bool:
    return False


def _kept(told: Told) -> Work:
    values = (
        *(told.place.kind, told.place.name, told.kind, told.id),
        *(told.what.model_dump_json(by_alias=True), told.ttl_s, told.told_utc.isoformat()),
    )

    def write(database: sqlite3.Connection) -> bool:
        database.execute("INSERT OR REPLACE INTO instructions VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return True

    return write


def _noted(told: Told, at_utc: datetime, body: str | None) -> Work:
    values = (at_utc.isoformat(), told.place.kind, told.place.name, told.kind, told.id, body)

    def write(database: sqlite3.Connection) -> None:
        database.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)", values)

    return write


def _gone(told: Told) -> Work:
    key = (told.place.kind, told.place.name, told.kind, told.id)

    def write(database: sqlite3.Connection) -> bool:
        database.execute("DELETE FROM instructions WHERE (place, name, kind, id) = (?, ?, ?, ?)", key)
        return True

    return write
