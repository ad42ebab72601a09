"""The site file edited while cars charge: the controller starts anew with it and its book, the twin goes on.

The twin keeps all outlets that ever were; `rows` says which of them stand in the file, in its order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from controller.decision import Decision, Memory, empty_decision
from controller.image import Image, frozen
from controller.restart import lasts_ms, leftovers, resume
from controller.site import Site, SiteError, build
from controller.table import Table
from controller.topology import compile_site

LEAST_LEFT = 2  # chargepoints that stay in the file


class SiteFile:
    """The file as it stands, and what it says of the outlets of a twin."""

    def __init__(self, site: Site) -> None:
        self._first = [f"{box.identity}/{outlet.number}" for _, box, outlet in site.connectors()]
        self._boxes = {box.identity: name for name, box in site.chargepoint.items()}
        self._out: dict[str, dict[str, Any]] = {}  # tables of chargepoints that are in the file no more
        self._take(site)

    def _take(self, site: Site) -> None:
        self.site, self.topology = site, compile_site(site)
        keys = [f"{box.identity}/{outlet.number}" for _, box, outlet in site.connectors()]
        self.rows = np.array([self._first.index(key) for key in keys])
        self.edited = len(self.rows) < len(self._first) or (self.rows != np.arange(len(self.rows))).any()

    def box(self, name: str) -> str:
        """How the twin calls a chargepoint of this file."""
        return self._boxes[self.site.chargepoint[name].identity]

    # -- what may be edited -------------------------------------------------------------------------

    def edit(self, what: str, number: int) -> bool:
        """Change the file; False where it would not be taken, and the site goes on as it was."""
        tables = self.site.model_dump(exclude_none=True, by_alias=True)
        boxes: dict[str, Any] = tables["chargepoint"]
        name = list(boxes)[number % len(boxes)]
        out = dict(self._out)
        if what == "remove" and len(boxes) > LEAST_LEFT and not boxes[name]["fallback_a"]:
            out[name] = boxes.pop(name)
        elif what == "add" and out:
            name = list(out)[number % len(out)]
            boxes[name] = out.pop(name)
        elif what == "rename":
            tables["chargepoint"] = {f"{key}x" if key == name else key: box for key, box in boxes.items()}
        elif what == "move":
            boxes[name]["fed_by"] = list(tables["grid"])[number % len(tables["grid"])]
        elif what in ("lower", "raise"):
            grid = tables["grid"][list(tables["grid"])[number % len(tables["grid"])]]
            share = 0.7 if what == "lower" else 1.3
            grid["max_current_a"] = [round(share * amps, 1) for amps in grid["max_current_a"]]
        else:
            return False
        try:
            site = build(tables, "edited")
        except SiteError:
            return False
        self._out = out
        self._take(site)
        return True

    # -- between the file and the twin ---------------------------------------------------------------

    def seen(self, image: Image) -> Image:
        """What a controller with this file sees of the twin."""
        return frozen(image._replace(connectors=image.connectors[self.rows])) if self.edited else image

    def told(self, decision: Decision, whole: Any) -> Decision:
        """A decision for the outlets of the twin; nobody says anything to those that the file has no more."""
        if not self.edited:
            return decision
        told = empty_decision(whole)
        for name in ("site", "grids", "batteries", "inverters"):
            getattr(told, name)[:] = getattr(decision, name)
        told.connectors[self.rows] = decision.connectors
        return told


class Book:
    """The pages that a restart finds: those of the file, and of what an earlier file has left."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[Table, int | None]] = {}

    def resumed(self, names: tuple[str, ...], old: Table, new: SiteFile, now_ms: int) -> Memory:
        """The memory of a controller that starts with a new file."""
        book: Mapping[str, Table] = {
            name: page for name, (page, until) in self._left.items() if until is None or until > now_ms
        } | dict(zip(names, old, strict=True))
        for name, page in leftovers(new.topology, book).items():
            if name not in self._left or self._left[name][0] is not page:
                left_ms = lasts_ms(page)
                self._left[name] = (page, None if left_ms is None else now_ms + left_ms)
        self._left = {
            name: kept for name, kept in self._left.items() if name in leftovers(new.topology, book)
        }
        return resume(new.topology, book, now_ms)
