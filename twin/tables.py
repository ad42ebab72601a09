"""Tables that people write: CSV with a header, where each row knows the line of the file that it is."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from controller.site import SiteError

Row = dict[str, str]


class Sheet(NamedTuple):
    """Its columns, and its rows by their lines."""

    columns: list[str]
    rows: list[tuple[int, Row]]


def read_sheet(source: str, text: str, what: str) -> Sheet:
    """The rows of a text without empty lines and comments (`#`). Raises SiteError for the whole table."""
    kept = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    reader = csv.DictReader(line for _, line in kept)
    try:
        columns = list(reader.fieldnames or ())
        rows = [(kept[reader.line_num - 1][0], row) for row in reader]
    except csv.Error as error:
        raise SiteError([f"{source}: is no table: {error}; give the path of a CSV file."]) from None
    if not rows:
        raise SiteError([f"{source}: has no {what}; it needs a header line and at least one row."])
    line = kept[0][0]
    if len(columns) == 1 and ";" in columns[0]:
        raise SiteError([f"{source}: row {line}: columns are separated by semicolons; write commas."])
    twice = [name for place, name in enumerate(columns) if name in columns[:place]]
    if twice:
        raise SiteError([f'{source}: row {line}, column "{twice[0]}": stands twice; remove one.'])
    return Sheet(columns, rows)


def read_sheet_file(path: Path, what: str) -> Sheet:
    """The same of a file, with or without a byte order mark."""
    try:
        return read_sheet(str(path), path.read_text("utf-8-sig"), what)
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError([f"{path}: cannot be read: {error}; give the path of a CSV file."]) from None
