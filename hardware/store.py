"""The store: the folder of ledger, book, journal and compiled kernels, for one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardware.links import CannotStart


@contextmanager
def only_one(store: Path) -> Iterator[None]:
    """Hold the store for this process; the kernel lets go of it however the process ends."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        held = (store / "lock").open("a+")
    except OSError as error:
        raise CannotStart(f"{store}: cannot be used as store ({error}); mend it or name another.") from None
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(
                f"{store}: another edge runs on this store; stop it, or give this site a store of its own."
            ) from None
        held.truncate(0)
        held.write(f"{os.getpid()}\n")
        held.flush()
        yield
