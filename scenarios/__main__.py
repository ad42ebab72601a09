"""The `edge-twin` command: run a scenario, watch the demo, size a site, hunt for faults, replay a recording.

Every command imports what it needs when it runs, so that `--help` comes at once. What a user gives wrong is
one sentence on stderr and exit code 2; Ctrl-C ends with 130 and with what was finished.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hardware.kernels import compile_once, keep_in

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(
    help="The digital twin of Edge: the production controller on simulated sites.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-twin"

ScenarioFile = Annotated[Path, typer.Argument(metavar="SCENARIO.toml", help="The scenario file.")]
Jobs = Annotated[int | None, typer.Option(help="Processes at the same time; all cores if left out.", min=1)]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edge-twin {version('edge-twin')}")
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
    scenario: ScenarioFile,
    mode: Annotated[
        Literal["minute", "true"] | None, typer.Option(help="Another mode than in the file.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than in the file.", min=0)] = None,
    record: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep a recording for replay.")] = None,
    bound: Annotated[bool, typer.Option(help="What perfect foresight could have served as well.")] = False,
) -> None:
    """Run a scenario in simulated time and print its figures; exit code 1 when an expectation is broken."""
    from rich.console import Console

    from scenarios.report import table
    from scenarios.run import play
    from scenarios.scenario import load, prepare

    story = prepare(load(scenario, seed=seed, mode=mode))
    _writable(record)
    compile_once(_tell)
    out = Console()
    for remark in story.remarks:
        print(remark, file=sys.stderr)
    with _progress() as bar:
        task = bar.add_task(story.name, total=1.0)
        try:
            result = play(story, progress=lambda share: bar.update(task, completed=share), recording=record)
        except KeyboardInterrupt:
            bar.stop()
            done = bar.tasks[task].percentage
            print(f"Stopped at {done:.0f} % of the story: no figures, no recording.", file=sys.stderr)
            raise typer.Exit(130) from None
    out.print(table(result))
    if bound:
        from scenarios.optimum import bounds

        found = bounds(result)
        out.print(
            f"Perfect foresight could have served {found.limit_kwh:,.1f} kWh up to the limits and"
            f" {found.margin_kwh:,.1f} kWh up to limit less margin.",
            highlight=False,
            soft_wrap=True,
        )
    raise typer.Exit(int(not result.passed))


@app.command()
def demo(
    seconds: Annotated[float | None, typer.Option(help="End by itself after so many seconds.", min=1)] = None,
    speed: Annotated[float, typer.Option(help="How many times faster than real time.", min=0.1)] = 20.0,
) -> None:
    """Watch a small busy site live: emulated chargepoints, the real controller, the dashboard."""
    from scenarios import demo as show

    raise typer.Exit(show.main(seconds, speed))


@app.command()
def serve(
    scenario: ScenarioFile,
    port: Annotated[int, typer.Option(help="Port of the HTTP contract.", min=0, max=65_535)] = 8080,
    speed: Annotated[float | None, typer.Option(help="Times real time; 0 as fast as it goes.", min=0)] = 60.0,
) -> None:
    """Show a simulated run behind the HTTP contract that the dashboard reads."""
    from scenarios import serve as server

    compile_once(_tell)
    raise typer.Exit(server.main(scenario, port, speed or None))


@app.command()
def emulate(
    scenario: ScenarioFile,
    ocpp: Annotated[str, typer.Option(help="Address of the central system.")] = "ws://127.0.0.1:9000",
    ocpp_tls: Annotated[str, typer.Option(help="Its address for security profiles 2 and 3.")] = "",
    speed: Annotated[float, typer.Option(help="How many times faster than real time.", min=0.1)] = 1.0,
    seconds: Annotated[float | None, typer.Option(help="End by itself after so many seconds.", min=1)] = None,
) -> None:
    """Put the chargepoints and meters of a scenario on loopback sockets, for a controller of your own."""
    from scenarios.emulate import command

    raise typer.Exit(command.main(scenario, ocpp, speed, seconds, ocpp_tls))


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(metavar="FILE", help="A recording made with run --record.")],
    checkpoint: Annotated[
        int, typer.Option("--from", help="Number of the checkpoint to begin at.", min=0)
    ] = 0,
) -> None:
    """Compute every decision of a recording again; exit code 1 when one is not the recorded one."""
    from controller.site import SiteError
    from scenarios.recording import Diverged, Recording

    kept = Recording(recording)
    if checkpoint >= len(kept.checkpoints):
        raise SiteError(
            [f"{recording}: --from {checkpoint}: the checkpoints are 0 to {len(kept.checkpoints) - 1}."]
        )
    begin = kept.checkpoints[checkpoint]
    compile_once(_tell)
    done = 0
    try:
        with _progress() as bar:
            task = bar.add_task(f"{kept.about['name']}", total=kept.cycles - begin)
            for _ in kept.replay(checkpoint):
                done += 1
                if done % 100 == 0:
                    bar.update(task, completed=done)
            bar.update(task, completed=done)
    except Diverged as found:
        print(f"{recording}: {found}.", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"{kept.about['name']}, seed {kept.about['seed']}: {done} cycles replayed, every bit the same.")


@app.command()
def size(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML page to write.")] = Path(
        "report.html"
    ),
    jobs: Jobs = None,
) -> None:
    """Sweep connections and chargepoints and write a page that says what to install."""
    from scenarios import size as sizing

    _writable(output)
    compile_once(_tell)
    raise typer.Exit(sizing.main(study, output, jobs))


@app.command()
def calibrate(
    sessions: Annotated[Path, typer.Argument(metavar="SESSIONS.csv", help="Real sessions.")],
    timezone: Annotated[str, typer.Option(help="Of the place they are from.")] = "Europe/Amsterdam",
    holiday: Annotated[
        list[datetime] | None, typer.Option(formats=["%Y-%m-%d"], help="A day like a Sunday; repeatable.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML page to write.")] = Path(
        "calibration.html"
    ),
    habits: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the habit, for `habits_file` of a scenario.")
    ] = None,
) -> None:
    """Make a habit of real sessions and show how well its drivers fit; exit code 1 when they do not."""
    from scenarios import calibrate as calibration

    _writable(output)
    _writable(habits)
    days = [day.date() for day in holiday or []]
    raise typer.Exit(calibration.main(sessions, timezone, days, output, habits))


@app.command()
def regress(
    count: Annotated[int, typer.Option(help="How many generated scenarios.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="The first seed; the others follow it.", min=0)] = 1,
    only_seed: Annotated[
        int | None, typer.Option(help="This one alone, with everything it did.", min=0)
    ] = None,
    jobs: Jobs = None,
) -> None:
    """Run generated sites, fleets and faults, and judge every invariant on the twin's truth."""
    from scenarios import regress as farm

    compile_once(_tell)
    raise typer.Exit(farm.explain(only_seed) if only_seed is not None else farm.main(count, seed, jobs))


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _progress() -> Progress:
    """A bar with an estimate, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _writable(path: Path | None) -> None:
    """Complain before the work and not after it. Raises SiteError."""
    from controller.site import SiteError

    if path is None:
        return
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except FileNotFoundError:
        raise SiteError([f"{path}: the folder does not exist; make it or name another."]) from None
    if not existed:
        path.unlink()


_EXTRAS = {
    "simpy": "twin",
    "mesa": "twin",
    "scipy": "planner",
    "pandas": "dashboard",
    "streamlit": "dashboard",
}


def _complaint(error: Exception) -> str | None:
    """The sentence for what a user can mend, None for a fault of the program."""
    from controller.site import SiteError

    if isinstance(error, SiteError):
        return "\n".join(error.lines)
    if isinstance(error, FileNotFoundError):
        return f"{error.filename}: there is no such file; check the path."
    if isinstance(error, IsADirectoryError):
        return f"{error.filename}: is a folder; name a file in it."
    if isinstance(error, PermissionError):
        return f"{error.filename}: this user may not do that; change its owner or mode, or name another."
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or "").split(".")[0]
        if missing in _EXTRAS:
            return f'{missing} is not installed; install it with: pip install "edge-twin[{_EXTRAS[missing]}]"'
    return None


def main() -> None:
    """Entry point."""
    if "NUMBA_CACHE_DIR" not in os.environ and (fault := keep_in(CACHE)):
        _tell(fault)
    try:
        code = app(prog_name="edge-twin", standalone_mode=False)
    except typer.TyperException as error:
        if error.format_message():  # without arguments the help has been printed and there is nothing to add
            print(f"edge-twin: {error.format_message()}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        complaint = _complaint(error)
        if complaint is None:
            raise
        print(complaint, file=sys.stderr)
        code = 2
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
