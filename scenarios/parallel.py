"""Many independent runs on all cores, with the first results first and a clean end on Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Work = TypeVar("Work")
Done = TypeVar("Done")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def finished(
    run: Callable[[Work], Done], works: Sequence[Work], jobs: int, preload: Sequence[str] = ()
) -> Iterator[tuple[Work, Done]]:
    """Run every work in `jobs` processes; pairs come as they finish. `jobs` 1 stays in this process.

    Closing the iterator, or an exception where it is consumed, ends the processes at once. `preload` names
    modules that are imported once and inherited by all processes.
    """
    if jobs == 1 or len(works) < 2:
        for work in works:
            yield work, run(work)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(jobs, len(works)), mp_context=context, initializer=_leave_interrupts)
    try:
        running = {pool.submit(run, work): work for work in works}
        for future in as_completed(running):
            yield running[future], future.result()
    except BaseException:
        workers = set(multiprocessing.active_children()) - others
        for process in workers:
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in workers:
            process.join()
        raise
    pool.shutdown()


def _leave_interrupts() -> None:
    """Ctrl-C reaches the whole group of processes; only the one that owns the terminal answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def progress_bar(console: Console) -> Progress:
    """Bar, count, time so far and an estimate of what is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
