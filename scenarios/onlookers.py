"""Onlookers of a run: what flowed through the connection over time, and how long cars waited."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.decision import Decision
from controller.image import Image
from twin.world import World

CURRENT_MA = 500
"""A car that draws more has current."""

Floats = NDArray[np.float64]


class Bins:
    """Currents of the connection per bin of `bin_ms` and phase of the site, A."""

    def __init__(self, length_ms: int, bin_ms: int) -> None:
        count = -(-length_ms // bin_ms)
        self.bin_ms = bin_ms
        self.peak_a = np.zeros((count, 3))
        self._building_as: Floats = np.zeros((count, 3))
        self._cars_as: Floats = np.zeros((count, 3))
        self._seconds: Floats = np.full((count, 1), bin_ms / 1000)
        self._seconds[-1] = (length_ms - (count - 1) * bin_ms) / 1000

    def begin(self, world: World) -> None:
        """Find the connection."""
        self._world = world
        self._main = int(np.flatnonzero(world.built.grids["parent"] < 0)[0])

    def instant(self, span_ms: int) -> None:
        """Book the currents of this instant for `span_ms`, over as many bins as that covers."""
        board = self._world.boards[self._main]
        building_a, cars_a = board["load_ma"] / 1000, board["cars_ma"] / 1000
        from_ms, until_ms = self._world.now_ms, self._world.now_ms + span_ms
        while from_ms < until_ms:
            number = from_ms // self.bin_ms
            end_ms = min(until_ms, (number + 1) * self.bin_ms)
            seconds = (end_ms - from_ms) / 1000
            self._building_as[number] += building_a * seconds
            self._cars_as[number] += cars_a * seconds
            np.maximum(self.peak_a[number], building_a + cars_a, out=self.peak_a[number])
            from_ms = end_ms

    def cycle(self, image: Image, decision: Decision) -> None:
        """Nothing: this one looks at the truth alone."""

    def building_a(self) -> Floats:
        """Mean of what is not cars, [bin, phase]."""
        return self._building_as / self._seconds

    def cars_a(self) -> Floats:
        """Mean of the cars, [bin, phase]."""
        return self._cars_as / self._seconds

    def mean_a(self) -> Floats:
        """Mean of everything, [bin, phase]."""
        return self.building_a() + self.cars_a()


class Waits:
    """How long every car was plugged in before it drew."""

    def __init__(self) -> None:
        self._first_ms: dict[int, int] = {}

    def begin(self, world: World) -> None:
        """Take the seat."""
        self._world = world

    def instant(self, span_ms: int) -> None:
        """Nothing: once a cycle is often enough."""

    def cycle(self, _image: Image, _decision: Decision) -> None:
        """Note the sessions that draw for the first time."""
        outlets = self._world.outlets
        for row in np.flatnonzero(outlets["draw_ma"][:, 0] > CURRENT_MA):
            self._first_ms.setdefault(int(outlets[row]["session"]), self._world.now_ms)

    def seconds(self) -> tuple[float, ...]:
        """From plug-in to the first current, or to the end for cars that never got any."""
        waits = []
        for number, stay in enumerate(self._world.stays):
            if stay.came:
                end_ms = min(stay.session.plug_out_ms, self._world.now_ms)
                first_ms = self._first_ms.get(number, end_ms)
                waits.append((first_ms - stay.session.plug_in_ms) / 1000)
        return tuple(waits)


class Both:
    """Two onlookers as one."""

    def __init__(self, first: Bins, second: Waits) -> None:
        self._seats = (first, second)

    def begin(self, world: World) -> None:
        """Tell both."""
        for seat in self._seats:
            seat.begin(world)

    def instant(self, span_ms: int) -> None:
        """Tell both."""
        for seat in self._seats:
            seat.instant(span_ms)

    def cycle(self, image: Image, decision: Decision) -> None:
        """Tell both."""
        for seat in self._seats:
            seat.cycle(image, decision)
