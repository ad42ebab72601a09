"""Register maps of batteries and inverters: what they say, and in which registers they are told what to do.

Declared once per device type in `maps/storage/*.toml`. Addresses are absolute, or, of a SunSpec device,
offsets from the ID of a model that is looked for when the device is connected. Currents are mA and positive
where the device takes; what it cannot say is `UNKNOWN`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller.defaults import UNKNOWN, UNLIMITED_MA
from controller.electrical import NOMINAL_VOLTAGE_V
from hardware.registers import LARGEST, LAYOUTS, MAPS, Quantity, Three, WordOrder, from_words, to_words

ABSOLUTE = 0
"""The "model" of addresses that stand for themselves."""
LARGEST_FACTOR = 10
"""A scale factor beyond it is none (SunSpec says -10 to 10)."""

Percent = Literal["charge_percent", "discharge_percent", "limit_percent"]
Says = Percent | Literal["power_w", "limit_w", "revert_s", "constant"]
"""Parts of an order: power positive where it charges, limits of what it feeds in, percents of the rating."""
Words = dict[int, dict[int, int]]
"""What was read: words by offset, of each model."""


class Scaled(Quantity):
    """A quantity of a model, with a register that says by which power of ten it is scaled."""

    model: int = ABSOLUTE
    scale_factor: int | None = None

    def offsets(self) -> set[int]:
        """Every word that is read for it."""
        size = LAYOUTS[self.type].words
        found = {at + n for at in self.address for n in range(size)}
        return found if self.scale_factor is None else found | {self.scale_factor}

    def thousandths(self, words: Words, order: WordOrder) -> tuple[int, ...]:
        """Thousandths of the unit at each address."""
        mine = words[self.model]
        start, end = min(mine), max(mine) + 1
        values = self.read([mine.get(at, 0) for at in range(start, end)], start, order)
        factor = power_of_ten(mine, self.scale_factor)
        return tuple(_times(value, factor) for value in values)


class Told(BaseModel):
    """A register that is written with every order: a part of the order, or a constant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: int = ABSOLUTE
    address: int
    type: Literal["u16", "i16", "u32", "i32"]
    says: Says = "constant"
    constant: int = 0
    scale: float = Field(default=1.0, gt=0)
    scale_factor: int | None = None


class Look(NamedTuple):
    """One look at a device; currents of its own phases."""

    current_ma: Three
    soc: int = UNKNOWN
    """Per mille."""
    charge_ma: int = UNLIMITED_MA
    """Most that it says it takes now, per phase."""
    discharge_ma: int = UNLIMITED_MA


class Write(NamedTuple):
    """Words from an offset of a model on."""

    model: int
    address: int
    words: list[int]


class StorageMap(BaseModel):
    """The sheet of one type of battery or inverter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    source: str
    kind: Literal["battery", "inverter"]
    function: Literal[3, 4]
    word_order: WordOrder
    sunspec: bool = False
    feeds_positive: bool = False
    """What flows out of the device is positive."""
    instead: dict[int, tuple[int, ...]] = Field(default_factory=dict)
    """Models of the same shape that may stand for one."""
    current: Scaled | None = None
    power: Scaled | None = None
    """Of all phases; without sign in the currents their direction is its."""
    charge: Scaled | None = None
    """State of charge, percent."""
    most_charge: Scaled | None = None
    """W that it can take now."""
    most_discharge: Scaled | None = None
    rating: Scaled | None = None
    """W of which percents are a part."""
    write: tuple[Told, ...] = ()

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if self.current is None and self.power is None:
            raise ValueError("give current or power: what it takes")
        if any(len(offsets) > 0 and max(offsets) - min(offsets) >= 125 for offsets in self.blocks().values()):
            raise ValueError("a block is longer than the 125 words that Modbus reads at once")
        if self.rating is None and any(told.says.endswith("percent") for told in self.write):
            raise ValueError("percents need a rating")
        return self

    @property
    def reverts(self) -> bool:
        """Its orders can end by themselves."""
        return any(told.says == "revert_s" for told in self.write)

    def _quantities(self) -> list[Scaled]:
        every = (self.current, self.power, self.charge, self.most_charge, self.most_discharge, self.rating)
        return [quantity for quantity in every if quantity is not None]

    def blocks(self) -> dict[int, set[int]]:
        """Offsets to be read, by model."""
        found: dict[int, set[int]] = {}
        for quantity in self._quantities():
            found.setdefault(quantity.model, set()).update(quantity.offsets())
        for told in self.write:
            if told.scale_factor is not None:
                found.setdefault(told.model, set()).add(told.scale_factor)
        return found

    def models(self) -> set[int]:
        """Every model that must be found."""
        return set(self.blocks()) | {told.model for told in self.write}

    # -- reading -----------------------------------------------------------------------------------------

    def decode(self, words: Words, phases: int) -> Look:
        """What a device with so many phases says."""
        sign = -1 if self.feeds_positive else 1
        power_mw = UNKNOWN if self.power is None else self.power.thousandths(words, self.word_order)[0]
        if power_mw != UNKNOWN:
            power_mw *= sign
        one, two, three = self._currents(words, power_mw, sign, phases)
        return Look(
            (one, two, three),
            _per_mille(self._one(self.charge, words)),
            _per_phase_ma(self._one(self.most_charge, words), phases),
            _per_phase_ma(self._one(self.most_discharge, words), phases),
        )

    def _currents(self, words: Words, power_mw: int, sign: int, phases: int) -> list[int]:
        if self.current is None:
            each = UNKNOWN if power_mw == UNKNOWN else int(power_mw / (NOMINAL_VOLTAGE_V * phases))
            return [each if phase < phases else 0 for phase in range(3)]
        values = [*self.current.thousandths(words, self.word_order), UNKNOWN, UNKNOWN][:3]
        if self.power is None:
            return [value if value == UNKNOWN else value * sign for value in values]
        if power_mw == UNKNOWN:
            return [UNKNOWN] * 3
        feeds = -1 if power_mw < 0 else 1
        return [value if value == UNKNOWN else abs(value) * feeds for value in values]

    def _one(self, quantity: Scaled | None, words: Words) -> int:
        return UNKNOWN if quantity is None else quantity.thousandths(words, self.word_order)[0]

    # -- telling -----------------------------------------------------------------------------------------

    def orders(self, power_w: int, revert_s: int, words: Words) -> list[Write]:
        """What is written, in this order, for a power: of a battery positive where it charges, of an inverter
        the most that it feeds in. Rounded towards 0. `words` are the last that were read, for scale factors.

        Raises ValueError with a sentence where the device does not say what percents are a part of.
        """
        rating_w = self._one(self.rating, words) / 1000
        if self.rating is not None and rating_w <= 0:
            raise ValueError("it does not say its rating, so no percents of it can be told")
        part = 0.0 if self.rating is None else max(-100.0, min(100 * power_w / rating_w, 100.0))
        values = {
            "power_w": -power_w if self.feeds_positive else power_w,
            "limit_w": power_w,
            "limit_percent": part,
            "charge_percent": part,
            "discharge_percent": -part,
            "revert_s": revert_s,
        }
        writes: list[Write] = []
        for told in self.write:
            factor = power_of_ten(words.get(told.model, {}), told.scale_factor)
            if factor == UNKNOWN:
                raise ValueError("it does not say a scale factor")
            value = values.get(told.says, told.constant)
            raw = int(round(value / (told.scale * 10.0**factor), 6))
            block = to_words(raw, told.type, self.word_order)
            last = writes[-1] if writes else None
            if last and (last.model, last.address + len(last.words)) == (told.model, told.address):
                last.words.extend(block)
            else:
                writes.append(Write(told.model, told.address, block))
        return writes


def _times(value: int, factor: int) -> int:
    """What is out of all proportion is noise."""
    if UNKNOWN in {value, factor}:
        return UNKNOWN
    number = round(value * 10.0**factor)
    return number if abs(number) <= LARGEST * 1000 else UNKNOWN


def power_of_ten(words: Mapping[int, int], at: int | None) -> int:
    """The scale factor at an offset: 0 where there is none, UNKNOWN where it makes no sense."""
    if at is None:
        return 0
    factor = int(from_words([words.get(at, 0x8000)], "i16", "big"))
    return factor if abs(factor) <= LARGEST_FACTOR else UNKNOWN


def _per_mille(percent_thousandths: int) -> int:
    if percent_thousandths == UNKNOWN or not 0 <= percent_thousandths <= 100_000:
        return UNKNOWN
    return percent_thousandths // 100


def _per_phase_ma(power_mw: int, phases: int) -> int:
    return UNLIMITED_MA if power_mw == UNKNOWN else max(0, power_mw // (NOMINAL_VOLTAGE_V * phases))


def storage_map_names() -> list[str]:
    """Names of the device types that are known."""
    return sorted(path.stem for path in (MAPS / "storage").glob("*.toml"))


@cache
def load_storage_map(name: str) -> StorageMap:
    """The sheet of a device type. Raises ValueError with a sentence when there is none."""
    names = storage_map_names()
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(names)}."
        raise ValueError(f'there is no storage map "{name}"; {hint}')
    return StorageMap.model_validate(tomllib.loads((MAPS / "storage" / f"{name}.toml").read_text("utf-8")))


def models_in(chain: Sequence[tuple[int, int]], wanted: StorageMap) -> dict[int, int]:
    """Address of every model that a map needs, from (ID, address) of what a device has.

    Raises ValueError with a sentence.
    """
    found = {ABSOLUTE: 0}
    for model in sorted(wanted.models() - {ABSOLUTE}):
        stands_for = (model, *wanted.instead.get(model, ()))
        places = [at for number, at in chain if number in stands_for]
        if not places:
            has = ", ".join(str(number) for number, _ in chain) or "none"
            raise ValueError(f"it has no SunSpec model {model} (it has {has})")
        found[model] = places[0]
    return found
