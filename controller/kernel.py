"""`@kernel`: one source for the loops of `calculate`, compiled by Numba or run as plain Python.

A kernel is a plain function over structured NumPy tables. It reads and writes `table[i]["field"][p]`,
which means the same compiled and interpreted, and computes in 64-bit integers only, so that both give
identical bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` with Numba (nopython, cached on disk); `.py_func` stays the interpreted source.

    Handing the tables from kernel to kernel costs more than the work, so nothing is handed: kernels are
    inlined into their callers (measured: half the time for 200 connectors) and, as they allocate nothing,
    reference counting is left out (3 times).
    """
    compiler = cast("Any", numba.njit)(cache=True, _nrt=False, forceinline=True)
    return cast("F", compiler(function))


_typeof = cast("Callable[[Any], Any]", numba.typeof)
_entries: dict[Any, Any] = {}


def entry(function: F, *arguments: Any) -> F:
    """The compiled kernel itself, for arguments of the types of these, at which it will not look again.

    To find out the types of thirty tables anew takes as long as a tenth of a cycle. Interpreted: `function`.
    """
    found = _entries.get(function)
    if found is None:
        if not hasattr(function, "compile"):
            return function
        found = _entries[function] = function.compile(tuple(map(_typeof, arguments)))
    return cast("F", found)
