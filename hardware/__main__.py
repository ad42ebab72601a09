"""The `edge` command: `run` controls a site, `check` looks at it first.

What a user gives wrong is one sentence on stderr and exit code 2; a link that does not answer is exit code 1.
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import structlog
import typer

from controller.site import SiteError
from hardware.kernels import keep_in
from hardware.links import CannotStart, Links, outside_loopback, read_links
from hardware.security import read_security
from hardware.sitefile import Drawn, read_site
from hardware.store import only_one

app = typer.Typer(
    help="Edge: an energy controller for EV charging sites.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
SiteFile = Annotated[Path, typer.Argument(metavar="SITE.toml", help="The site file.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edge {version('edge-twin')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    site_file: SiteFile,
    speed: Annotated[
        float, typer.Option(help="Let time pass faster; only when every link is on this machine.", max=1000)
    ] = 1.0,
) -> None:
    """Control the site until it is told to stop; SIGHUP: take the site file as it is now."""
    drawn, links = _read(site_file)
    store = links.store(site_file)
    _refuse_haste(speed, links)
    admission = read_security(drawn.site, links, site_file)
    _log_lines()
    with only_one(store):
        if fault := keep_in(store):
            structlog.get_logger("edge").warning(fault, where="kernels", kind="interpreted")
        from hardware import clock
        from hardware.process import control

        def reread() -> None:
            drawn, links = _read(site_file)
            _refuse_haste(speed, links)
            read_security(drawn.site, links, site_file)

        announce = partial(print, flush=True)
        anew = clock.run(control(drawn, links, admission, store, speed, announce, reread), speed)
    if anew:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (this very command)


@app.command()
def check(site_file: SiteFile) -> None:
    """Print the tree with its limits and try each link once."""
    drawn, links = _read(site_file)
    admission = read_security(drawn.site, links, site_file)
    from hardware.survey import survey

    found = asyncio.run(survey(drawn, links, admission))
    print("\n".join(found.lines))
    raise typer.Exit(0 if found.sound else 1)


@app.command("map")
def registers(site_file: SiteFile) -> None:
    """Print the registers of the Modbus servers of this site as CSV."""
    drawn, _ = _read(site_file)
    from hardware.limit_registers import LimitRegisters
    from hardware.offered import Sheet
    from hardware.points import Glance

    limits = LimitRegisters("map", None, writable=False)
    print(Sheet(*drawn, lambda: Glance(*drawn, limits)).as_csv(), end="")


@app.command()
def forget(
    site_file: SiteFile,
    connector: Annotated[str, typer.Argument(metavar="CONNECTOR", help="As the log names it: bay_3/1.")],
) -> None:
    """Say that a connector which is in the site file no more draws nothing."""
    drawn, links = _read(site_file)
    store = links.store(site_file)
    from hardware.book import forget_left

    with only_one(store):
        asyncio.run(forget_left(store / "book.db", drawn.topology, connector))
    print(f"{connector} is forgotten: nothing counts for it from the next start on.")


def _read(site_file: Path) -> tuple[Drawn, Links]:
    from hardware.planning import refuse_without_scipy

    drawn = read_site(site_file)
    refuse_without_scipy(drawn.site, str(site_file))
    return drawn, read_links(drawn.site, str(site_file))


def _refuse_haste(speed: float, links: Links) -> None:
    if speed < 1:
        raise CannotStart("--speed is 1 or more")
    away = list(outside_loopback(links))
    if speed > 1 and away:
        raise CannotStart(
            f"--speed {speed:g} is refused: cars and fuses keep real time, and {away[0]} is not on this"
            " machine; leave --speed out, or set every host to 127.0.0.1."
        )


def _log_lines() -> None:
    """One line each on stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def main() -> None:
    """Entry point."""
    try:
        code = app(prog_name="edge", standalone_mode=False)
    except typer.TyperException as error:
        if error.format_message():  # without arguments the help has been printed and there is nothing to add
            print(f"edge: {error.format_message()}", file=sys.stderr)
        code = 2
    except SiteError as error:
        print("\n".join(error.lines), file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except CannotStart as error:
        print(f"edge: {error}", file=sys.stderr)
        code = 2
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
