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


def direct(function: F) -> F:
    """Let Python enter a compiled kernel without a look at its arguments after the first call.

    Whoever calls it hands over the same types each time: to find out those of thirty tables anew takes as
    long as a tenth of a cycle. Other kernels call what stands below it, not this.
    """
    if not hasattr(function, "compile"):
        return function  # interpreted
    compiler = cast("Any", function)
    entered: Callable[..., Any] | None = None

    def enter(*arguments: Any) -> Any:
        nonlocal entered
        if entered is None:
            entered = compiler.compile(tuple(map(_type_of, arguments)))
        return entered(*arguments)

    cast("Any", enter).py_func = compiler.py_func
    return cast("F", enter)


_type_of = cast("Callable[[Any], Any]", numba.typeof)
