"""Emulated batteries and inverters: Modbus devices that speak the sheet of a real one and obey it.

A SunSpec device offers its models in a chain from 40000 on. An order counts once every register of the sheet
that has to hold a constant holds it, as with a device that has to be released for being told.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from controller.defaults import UNKNOWN
from hardware.registers import LAYOUTS, from_words, to_words
from hardware.storage_maps import ABSOLUTE, Scaled, StorageMap, Told
from scenarios.emulate.meters import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, RegisterServer, read_from

READ, WRITE_MANY = 3, 16
ILLEGAL_VALUE: Final = 3
_BASE, _SUNS, _END = 40_000, (0x5375, 0x6E53), (0xFFFF, 0)
_LENGTHS = {1: 66, 103: 50, 121: 30, 123: 24, 124: 24}
"""Of SunSpec's models, behind ID and length."""
_ABSOLUTE_WORDS = 128


class Truth(NamedTuple):
    """What a device feels of itself: mA of its own phases, positive where it takes; per mille."""

    current_ma: tuple[int, int, int]
    power_w: int
    soc: int = UNKNOWN


class StorageServer(RegisterServer):
    """One device of so many W.

    `look` is None while its readings do not arrive; `obey` takes W and seconds, 0: for ever, and says
    whether it was heard.
    """

    def __init__(
        self,
        sheet: StorageMap,
        device_id: int,
        rating_w: int,
        look: Callable[[], Truth | None],
        obey: Callable[[int, int], bool],
    ) -> None:
        super().__init__(device_id, self._answer)
        self._sheet, self._rating_w, self._look, self._obey = sheet, rating_w, look, obey
        self._at, self.words = _empty(sheet)
        for quantity, factor in self._factors().items():
            self._put(quantity.model, quantity.scale_factor or 0, to_words(factor, "i16", "big"))

    def _factors(self) -> dict[Scaled | Told, int]:
        """The powers of ten that this device has chosen: as fine as its registers allow."""
        sheet, large = self._sheet, int(self._rating_w > 30_000)
        fine: dict[Scaled | Told | None, int] = {sheet.current: -2, sheet.power: large}
        fine |= {sheet.charge: -2, sheet.rating: large} | dict.fromkeys(sheet.write, -2)
        return {one: factor for one, factor in fine.items() if one and one.scale_factor is not None}

    def _answer(self, function: int, body: bytes) -> bytes | None:
        if function == READ and len(body) == 4:
            truth = self._look()
            if truth is None:
                return None
            self._show(truth)
            return read_from(self.words, function, body)
        if function == WRITE_MANY and len(body) >= 5:
            return self._written(body)
        return bytes((function | 0x80, ILLEGAL_FUNCTION))

    # -- what it says --------------------------------------------------------------------------------

    def _show(self, truth: Truth) -> None:
        sheet = self._sheet
        sign = -1 if sheet.feeds_positive else 1
        current_ma = [value * sign if sheet.power is None else abs(value) for value in truth.current_ma]
        self._say(sheet.current, current_ma)
        self._say(sheet.power, [truth.power_w * sign * 1000])
        self._say(sheet.charge, [truth.soc * 100 if truth.soc != UNKNOWN else UNKNOWN])
        self._say(sheet.rating, [self._rating_w * 1000])
        self._say(sheet.most_charge, [self._rating_w * 1000])
        self._say(sheet.most_discharge, [self._rating_w * 1000])

    def _say(self, quantity: Scaled | None, thousandths: list[int]) -> None:
        if quantity is None:
            return
        factor = self._factors().get(quantity, 0)
        for at, value in zip(quantity.address, thousandths, strict=False):
            if value == UNKNOWN:
                size = LAYOUTS[quantity.type].words
                words = to_words(quantity.unavailable[0], f"u{16 * size}", self._sheet.word_order)
            else:
                number = value / 1000 / quantity.scale / 10.0**factor
                words = to_words(number, quantity.type, self._sheet.word_order)
            self._put(quantity.model, at, words)

    def _put(self, model: int, offset: int, words: list[int]) -> None:
        for n, word in enumerate(words):
            self.words[self._at[model] + offset + n] = word

    # -- what it is told -----------------------------------------------------------------------------

    def _written(self, body: bytes) -> bytes | None:
        start, count, size = struct.unpack(">HHB", body[:5])
        if size != 2 * count or len(body) != 5 + size:
            return bytes((WRITE_MANY | 0x80, ILLEGAL_VALUE))
        places = {self._at[told.model] + told.address + n for told in self._sheet.write for n in (0, 1)}
        if any(at not in places for at in range(start, start + count)):
            return bytes((WRITE_MANY | 0x80, ILLEGAL_ADDRESS))
        self.words.update(enumerate(struct.unpack(f">{count}H", body[5:]), start=start))
        constants = {told.address: told for told in self._sheet.write if told.says == "constant"}
        released = all(self._value(told) == told.constant for told in constants.values())
        if released and not self._obey(*self._order()):
            return None
        return bytes((WRITE_MANY,)) + body[:4]

    def _order(self) -> tuple[int, int]:
        said: Mapping[str, float] = {told.says: self._value(told) for told in self._sheet.write}
        percent = said.get("limit_percent", said.get("charge_percent", 0.0))
        sign = -1 if self._sheet.feeds_positive else 1
        watts = said.get("power_w", 0.0) * sign or said.get("limit_w", 0.0) or percent * self._rating_w / 100
        return round(watts), round(said.get("revert_s", 0.0))

    def _value(self, told: Told) -> float:
        size = LAYOUTS[told.type].words
        at = self._at[told.model] + told.address
        raw = from_words([self.words.get(at + n, 0) for n in range(size)], told.type, self._sheet.word_order)
        return raw * told.scale * 10.0 ** self._factors().get(told, 0)


def _empty(sheet: StorageMap) -> tuple[dict[int, int], dict[int, int]]:
    """Where the models stand, and all registers before anything has been said."""
    if not sheet.sunspec:
        return {ABSOLUTE: 0}, dict.fromkeys(range(_ABSOLUTE_WORDS), 0)
    places, words, at = {}, dict(enumerate(_SUNS, start=_BASE)), _BASE + 2
    for model in sorted({1} | sheet.models()):
        length = _LENGTHS[model]
        places[model] = at
        words |= dict.fromkeys(range(at, at + 2 + length), 0x8000)
        words[at], words[at + 1] = model, length
        at += 2 + length
    words |= enumerate(_END, start=at)
    return places, words
