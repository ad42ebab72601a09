"""A site file on disk: whatever is wrong with the file itself is one sentence, as for what stands in it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from controller.site import Site, SiteError, parse
from controller.topology import Topology, compile_site

LARGEST_BYTES = 4_000_000


class Drawn(NamedTuple):
    """A site as drawn and as compiled."""

    site: Site
    topology: Topology


def read_text(path: Path) -> str:
    """The text of a TOML file. Raises SiteError with one sentence."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise SiteError([f"{path}: is larger than {LARGEST_BYTES // 10**6} MB; that is no site file."])
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise SiteError([f"{path}: there is no such file; check the path."]) from None
    except IsADirectoryError:
        raise SiteError([f"{path}: is a folder; name the .toml file in it."]) from None
    except PermissionError:
        raise SiteError([f"{path}: this user may not read it; change its owner or mode."]) from None
    except UnicodeDecodeError as error:
        raise SiteError([f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8."]) from None
    except (OSError, ValueError) as error:
        if isinstance(error, SiteError):
            raise
        raise SiteError([f"{path}: cannot be read: {error}."]) from None


def read_site(path: Path) -> Drawn:
    """The site of a file, validated as a whole. Raises SiteError with one sentence per fault."""
    site = parse(read_text(path), str(path))
    try:
        return Drawn(site, compile_site(site))
    except ValueError as error:
        raise SiteError([f"{path}: {error}."]) from None
