"""What the box offers the energy management of a building: holding registers as a chain of blocks.

Each block begins with its type and its length, the number of registers behind these two, which lead to the
next block; the last has type 0xFFFF and length 0. The box itself stands at 0 and the connection at 100,
whatever else the site has. Most significant word first.
"""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from controller.site import Site, SiteError
from controller.topology import Topology
from hardware.limit_registers import Line
from hardware.points import BATTERY, CONNECTOR, GENERAL, GRID, INVERTER, Glance, Point, Shape

END_TYPE: Final = 0xFFFF
ADDRESSES: Final = 65_536


class Block(NamedTuple):
    """A block of a site: `row` of its table, from address `start`."""

    shape: Shape
    name: str
    row: int
    start: int

    def words(self, glance: Glance) -> list[int]:
        """Type, length and all values."""
        words = [self.shape.type, self.shape.length]
        for point in self.shape.points:
            words += point.words(glance, self.row)
        return words + [0xFFFF] * (self.shape.length + 2 - len(words))

    def places(self) -> Iterator[tuple[int, Point]]:
        """Every point with its address."""
        at = self.start + 2
        for point in self.shape.points:
            yield at, point
            at += point.size


class NoSuchRegister(LookupError):
    """An address outside the chain, or one that cannot be written."""


class Sheet:
    """All blocks of a site. `look` gives what is to be seen now."""

    def __init__(self, site: Site, topology: Topology, look: Callable[[], Glance]) -> None:
        self._look = look
        self.blocks = list(_blocks(site, topology))
        self._starts = [block.start for block in self.blocks]
        last = self.blocks[-1]
        self.end = last.start + last.shape.length + 2
        """Address of the end of the chain; two registers follow."""
        if self.end + 2 > ADDRESSES:
            raise SiteError(
                [f"{site.name} needs {self.end + 2} Modbus registers, and {ADDRESSES} is all there is."]
            )
        self._writable = {at: (block, point) for block in self.blocks for at, point in block.places()}

    def read(self, start: int, count: int) -> list[int]:
        """The words from an address on. Raises NoSuchRegister."""
        if start + count > self.end + 2:
            raise NoSuchRegister(f"the map ends at {self.end + 1}")
        glance = self._look()
        words: list[int] = []
        first = bisect_right(self._starts, start) - 1
        begin = self._starts[first]
        for block in self.blocks[first:]:
            if block.start >= start + count:
                break
            words += block.words(glance)
        words += [END_TYPE, 0]
        return words[start - begin : start - begin + count]

    def written(self, start: int, words: Sequence[int]) -> dict[Line, dict[int, int]]:
        """The limits that words from an address on tell, by field. Raises NoSuchRegister."""
        told: dict[Line, dict[int, int]] = {}
        for at, word in enumerate(words, start):
            block, point = self._writable.get(at, (None, None))
            if block is None or point is None or point.writes is None:
                raise NoSuchRegister(f"{at} cannot be written")
            group, field = point.writes
            told.setdefault(Line(block.name, group), {})[field] = word
        return told

    def as_csv(self) -> str:
        """The whole map, one line per value."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            ["address", "logical", "block", "of", "name", "words", "type", "unit", "access", "meaning"]
        )
        for block in self.blocks:
            place = (block.shape.title, block.name)
            for at, name, says in (
                (block.start, "type", f"{block.shape.type}: {block.shape.title}"),
                (block.start + 1, "length", "registers that follow in this block"),
            ):
                writer.writerow([at, 40_001 + at, *place, name, 1, "u16", "", "read", says])
            for at, point in block.places():
                access = "write" if point.writes else "read"
                writer.writerow(
                    [
                        at,
                        40_001 + at,
                        *place,
                        point.name,
                        point.size,
                        point.kind,
                        point.unit,
                        access,
                        point.says,
                    ]
                )
        writer.writerow(
            [self.end, 40_001 + self.end, "end", "", "type", 1, "u16", "", "read", "65535: the end"]
        )
        writer.writerow([self.end + 1, 40_002 + self.end, "end", "", "length", 1, "u16", "", "read", "0"])
        return out.getvalue()


def _blocks(site: Site, topology: Topology) -> Iterator[Block]:
    """The box, the connection, then all other grids, connectors, batteries and inverters as in the file."""
    main = topology.grid_names.index(site.main())
    grids = sorted(range(len(topology.grids)), key=lambda row: (row != main, row))
    start = 0
    for shape, names, rows in (
        (GENERAL, (site.name,), [0]),
        (GRID, topology.grid_names, grids),
        (CONNECTOR, topology.connector_names, range(len(topology.connectors))),
        (BATTERY, topology.battery_names, range(len(topology.batteries))),
        (INVERTER, topology.inverter_names, range(len(topology.inverters))),
    ):
        for row in rows:
            yield Block(shape, names[row], row, start)
            start += shape.length + 2
