"""Register maps: what a meter's words mean, declared once per device type in `maps/*.toml`.

One block read gives currents, voltages and powers of the same moment. `decode` and `encode` are exact
mirrors up to the resolution of the registers, so that an emulated meter speaks the same sheet. Currents are
mA, voltages mV, powers mW in the meter's *own* L1 L2 L3, positive from the grid towards the load; what the
meter cannot say is `UNKNOWN`.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller.defaults import UNKNOWN
from controller.electrical import NOMINAL_VOLTAGE_V

MAPS = Path(__file__).parent / "maps"

LARGEST = 1_000_000_000
"""A, V, W or Wh: a number beyond this is noise on the bus, whatever the meter meant."""

EXPORT_POWER_FACTOR_PERCENT = -95
"""Only active power in the other direction turns the sign of a current; reactive current never does."""

LIVE_MV = (90_000, 320_000)
"""Line to neutral. With no phase inside, the words were not those of a voltage."""

Three = tuple[int, int, int]


class Reading(NamedTuple):
    """One look at a meter; each value three phases of the meter's own, or UNKNOWN."""

    current_ma: Three
    voltage_mv: Three = (UNKNOWN, UNKNOWN, UNKNOWN)
    power_mw: Three = (UNKNOWN, UNKNOWN, UNKNOWN)


class Layout(NamedTuple):
    """How a number lies in its words."""

    words: int
    code: str
    """Of `struct`, big endian."""


LAYOUTS = {
    "u16": Layout(1, "H"),
    "i16": Layout(1, "h"),
    "u32": Layout(2, "I"),
    "i32": Layout(2, "i"),
    "f32": Layout(2, "f"),
    "u64": Layout(4, "Q"),
    "i64": Layout(4, "q"),
}
WordOrder = Literal["big", "little"]


def from_words(words: Sequence[int], kind: str, order: WordOrder) -> float:
    """The number in these words (`little`: least significant word first; bytes are always big endian)."""
    layout = LAYOUTS[kind]
    turned = words if order == "big" else words[::-1]
    (number,) = struct.unpack(f">{layout.code}", struct.pack(f">{layout.words}H", *turned))
    return float(number) if kind == "f32" else int(number)


def to_words(number: float, kind: str, order: WordOrder) -> list[int]:
    """Words of a number; an integer register takes it rounded and clipped to its range."""
    layout = LAYOUTS[kind]
    if kind != "f32":
        bits = 16 * layout.words
        low, high = (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        number = min(max(round(number), low), high)
    words = list(struct.unpack(f">{layout.words}H", struct.pack(f">{layout.code}", number)))
    return words if order == "big" else words[::-1]


class Quantity(BaseModel):
    """Where a quantity stands: one address per phase, or one for the whole meter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: tuple[int, ...] = Field(min_length=1, max_length=3)
    type: Literal["u16", "i16", "u32", "i32", "f32", "u64", "i64"]
    scale: float = Field(default=1.0, gt=0)
    """What one count is worth in A, V, W or Wh."""
    unavailable: tuple[int, ...] = ()
    """Raw values, read as an unsigned number, by which the meter says that it does not know."""

    @property
    def last(self) -> int:
        """Address behind the last word."""
        return max(self.address) + LAYOUTS[self.type].words

    def read(self, words: Sequence[int], start: int, order: WordOrder) -> tuple[int, ...]:
        """Thousandths of the unit at each address of a block that begins at `start`."""
        return tuple(self._one(words, address - start, order) for address in self.address)

    def _one(self, words: Sequence[int], at: int, order: WordOrder) -> int:
        size = LAYOUTS[self.type].words
        raw = words[at : at + size]
        unsigned = from_words(raw, f"u{16 * size}", order)
        number = from_words(raw, self.type, order) * self.scale
        if unsigned in self.unavailable or not isfinite(number) or abs(number) > LARGEST:
            return UNKNOWN
        return round(number * 1000)

    def write(self, values: Sequence[int], words: list[int], start: int, order: WordOrder) -> None:
        """Put thousandths of the unit into a block that begins at `start`; UNKNOWN as the meter says it."""
        size = LAYOUTS[self.type].words
        for address, value in zip(self.address, values, strict=True):
            at = address - start
            if value != UNKNOWN:
                words[at : at + size] = to_words(value / 1000 / self.scale, self.type, order)
            elif self.type == "f32":
                words[at : at + size] = to_words(float("nan"), "f32", order)
            elif self.unavailable:
                words[at : at + size] = to_words(self.unavailable[0], f"u{16 * size}", order)
            else:
                raise ValueError(f"a {self.type} without `unavailable` cannot say that it does not know")


class RegisterMap(BaseModel):
    """The sheet of one device type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    source: str
    """Where the addresses come from."""
    function: Literal[3, 4]
    """Modbus function: 3 holding registers, 4 input registers."""
    word_order: WordOrder
    current_sign: Literal["signed", "from_power"]
    """`from_power`: the meter gives magnitudes; the direction is that of the active power."""
    current: Quantity
    voltage: Quantity | None = None
    power: Quantity | None = None
    energy_import: Quantity | None = None
    """Wh from the grid since the meter was made; outside the block, read when a site is checked."""

    @model_validator(mode="after")
    def _is_one_block(self) -> Self:
        if any(len(quantity.address) != 3 for quantity in self._polled()):
            raise ValueError("current, voltage and power need an address for each of L1, L2, L3")
        if self.current_sign == "from_power" and self.power is None:
            raise ValueError('current_sign "from_power" needs a power quantity')
        if self.count > 125:
            raise ValueError(f"the block is {self.count} words long, Modbus reads at most 125 at once")
        return self

    def _polled(self) -> list[Quantity]:
        return [quantity for quantity in (self.current, self.voltage, self.power) if quantity]

    @property
    def start(self) -> int:
        """First address of the block."""
        return min(min(quantity.address) for quantity in self._polled())

    @property
    def count(self) -> int:
        """Words of the block."""
        return max(quantity.last for quantity in self._polled()) - self.start

    def decode(self, words: Sequence[int]) -> Reading:
        """What the block says. Raises ValueError with a sentence when it cannot be this meter's."""
        if len(words) != self.count:
            raise ValueError(f"{len(words)} words came instead of {self.count}")
        voltage = self._phases(self.voltage, words)
        power = self._phases(self.power, words)
        low, high = LIVE_MV
        if all(value != UNKNOWN and not low <= value <= high for value in voltage):
            volts = ", ".join(f"{value / 1000:.5g}" for value in voltage)
            raise ValueError(f"the voltages read {volts} V: wrong map, device or word order")
        current = self._phases(self.current, words)
        if self.current_sign == "from_power":
            one, two, three = (_directed(*phase) for phase in zip(current, voltage, power, strict=True))
            current = (one, two, three)
        return Reading(current, voltage, power)

    def encode(self, reading: Reading) -> list[int]:
        """The block of a meter that measures this; voltage and power are made up where they are UNKNOWN.

        A current that is UNKNOWN is written as the meter's own "not available"; a word of the block that
        belongs to no quantity is 0.
        """
        words = [0] * self.count
        nominal_mv = NOMINAL_VOLTAGE_V * 1000
        voltage = [nominal_mv if value == UNKNOWN else value for value in reading.voltage_mv]
        power = [
            current * volts // 1000 if value == UNKNOWN and current != UNKNOWN else value
            for value, current, volts in zip(reading.power_mw, reading.current_ma, voltage, strict=True)
        ]
        magnitudes = self.current_sign == "from_power"
        current = [abs(value) if magnitudes and value != UNKNOWN else value for value in reading.current_ma]
        for quantity, values in ((self.current, current), (self.voltage, voltage), (self.power, power)):
            if quantity:
                quantity.write(values, words, self.start, self.word_order)
        return words

    def _phases(self, quantity: Quantity | None, words: Sequence[int]) -> Three:
        if quantity is None:
            return (UNKNOWN, UNKNOWN, UNKNOWN)
        one, two, three = quantity.read(words, self.start, self.word_order)
        return (one, two, three)

    def decode_energy_wh(self, words: Sequence[int]) -> int:
        """The import counter from its own words, Wh or UNKNOWN."""
        quantity = self.energy_import
        if quantity is None:
            return UNKNOWN
        (thousandths,) = quantity.read(words, quantity.address[0], self.word_order)
        return thousandths if thousandths == UNKNOWN else thousandths // 1000

    def encode_energy_wh(self, energy_wh: int) -> list[int]:
        """Words of the import counter, [] where the map has none."""
        quantity = self.energy_import
        if quantity is None:
            return []
        words = [0] * LAYOUTS[quantity.type].words
        quantity.write([energy_wh * 1000], words, quantity.address[0], self.word_order)
        return words


def _directed(current_ma: int, voltage_mv: int, power_mw: int) -> int:
    """A magnitude with the direction of the active power; import unless it is surely export.

    A power factor between -0.95 and 1 counts as import: taken as export, a reactive current would make
    headroom that a car's active current could overload.
    """
    if UNKNOWN in {current_ma, power_mw}:
        return current_ma if current_ma == UNKNOWN else abs(current_ma)
    volts_mv = NOMINAL_VOLTAGE_V * 1000 if voltage_mv == UNKNOWN else voltage_mv
    apparent_mw = abs(current_ma) * volts_mv // 1000
    exports = power_mw < 0 and power_mw * 100 <= EXPORT_POWER_FACTOR_PERCENT * apparent_mw
    return -abs(current_ma) if exports else abs(current_ma)


def map_names() -> list[str]:
    """Names of the device types that are known."""
    return sorted(path.stem for path in MAPS.glob("*.toml"))


@cache
def load_map(name: str) -> RegisterMap:
    """The register map of a device type. Raises ValueError with a sentence when there is none."""
    if name not in map_names():
        close = get_close_matches(name, map_names(), n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(map_names())}."
        raise ValueError(f'there is no register map "{name}"; {hint}')
    return RegisterMap.model_validate(tomllib.loads((MAPS / f"{name}.toml").read_text("utf-8")))
