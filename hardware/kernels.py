"""The controller compiled or interpreted: the same decisions, so the box never waits for a compiler.

Compiled kernels are kept in the store. Until they are there, or where the disk does not take them, the box
thinks interpreted. Run as a program, this compiles them, in a process of its own beside the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:  # importing the controller would decorate its kernels before the folder is chosen
    from controller.decision import Decision, Memory
    from controller.image import Image
    from controller.topology import Topology

    Calculate = Callable[[Topology, Image, Memory], tuple[Decision, Memory]]

ROOM_BYTES: Final = 200_000_000
_DONE: Final = "complete"


def keep_in(store: Path) -> str:
    """Choose the folder of compiled kernels; call it before anything imports the controller's kernels.

    Returns "" or the sentence why this process will only interpret. Numba does not notice a change in a
    called function of another file, so a folder belongs to one edition of the controller, Numba and CPU.
    """
    if "numba" in sys.modules or os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return ""
    folder = store / "kernels" / _edition()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"probe-{os.getpid()}"
        probe.write_bytes(bytes(4096))
        probe.unlink()
        free = shutil.disk_usage(folder).free
        if free < ROOM_BYTES and not (folder / _DONE).exists():
            raise OSError(f"{free // 10**6} MB are free, {ROOM_BYTES // 10**6} are needed")
    except OSError as error:
        os.environ["NUMBA_DISABLE_JIT"] = "1"
        return (
            f"{folder} cannot keep compiled kernels ({error}): the controller runs interpreted, with the same"
            " decisions but more load; mend the folder and start again."
        )
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return ""


def _edition() -> str:
    import controller

    digest = hashlib.blake2b(digest_size=8)
    for source in sorted(Path(controller.__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    digest.update(f"{sys.version} {version('numba')} {version('numpy')} {platform.machine()}".encode())
    with suppress(OSError):
        cpu = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").split("\n\n")[0].splitlines()
        digest.update("".join(line for line in cpu if line.startswith(("model name", "flags"))).encode())
    return digest.hexdigest()


def interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a function of the controller in which every kernel, down to the last, is plain Python."""
    spaces: dict[str, dict[str, Any]] = {}

    def space_of(module: str) -> dict[str, Any]:
        if module not in spaces:
            spaces[module] = space = dict(vars(sys.modules[module]))
            for name, value in list(space.items()):
                source = getattr(value, "py_func", value)
                if isinstance(source, FunctionType) and source.__module__.startswith("controller."):
                    space[name] = _copy(source, space_of(source.__module__))
        return spaces[module]

    return cast("Callable[..., Any]", space_of(function.__module__)[function.__name__])


def _copy(source: FunctionType, space: dict[str, Any]) -> FunctionType:
    copy = FunctionType(source.__code__, space, source.__name__, source.__defaults__, source.__closure__)
    copy.__kwdefaults__ = source.__kwdefaults__
    return copy


class Thinker:
    """`calculate`, interpreted at first and compiled as soon as its kernels are ready."""

    def __init__(self) -> None:
        from controller.cycle import calculate

        self._compiled: Calculate = calculate
        self.calculate: Calculate = interpreted(calculate)
        self.is_compiled = False

    async def compile(self) -> str:
        """Go over to compiled kernels; returns "" or the sentence why not."""
        folder = os.environ.get("NUMBA_CACHE_DIR", "")
        if os.environ.get("NUMBA_DISABLE_JIT") == "1":
            return ""
        if folder and not (Path(folder) / _DONE).exists():
            command = (*_nicely(), sys.executable, "-m", __name__)
            compiler = await asyncio.create_subprocess_exec(
                *command, cwd=Path(__file__).parents[1], stderr=asyncio.subprocess.PIPE
            )
            try:
                _, said = await compiler.communicate()
            except asyncio.CancelledError:
                with suppress(ProcessLookupError):
                    compiler.kill()
                raise
            if compiler.returncode:
                last = (said.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
                return f"The kernels could not be compiled ({last}): the controller goes on interpreted."
        await asyncio.to_thread(rehearse, self._compiled)
        self.calculate = self._compiled
        self.is_compiled = True
        return ""


def compile_once(say: Callable[[str], None]) -> None:
    """Compile every kernel into the chosen folder, in a process of its own, unless that has been done."""
    folder = os.environ.get("NUMBA_CACHE_DIR", "")
    if not folder or os.environ.get("NUMBA_DISABLE_JIT") == "1" or (Path(folder) / _DONE).exists():
        return
    say("Compiling the controller for this machine, once: about a minute.")
    subprocess.run([sys.executable, "-m", __name__], cwd=Path(__file__).parents[1], check=True)


def _nicely() -> tuple[str, ...]:
    return ("nice", "-n", "10") if shutil.which("nice") else ()


def rehearse(calculate: Calculate) -> None:
    """One cycle of the smallest site, with tables of the types that the loop has."""
    from controller.decision import first_memory
    from controller.image import blank_image, frozen
    from controller.site import build
    from controller.topology import compile_site

    outlet = {"identity": "A", "fed_by": "main", "connector": [{"number": 1, "max_current_a": 16}]}
    site = build(
        {
            "name": "Rehearsal",
            "timezone": "UTC",
            "grid": {"main": {"id": 0, "max_current_a": 100, "worst_load_a": 40}},
            "meter": {"main": {"grid": "main", "role": "guard"}},
            "chargepoint": {"a": outlet},
        },
        "rehearsal",
    )
    topology = compile_site(site)
    calculate(topology, frozen(blank_image(topology)), first_memory(topology))


def _end_with(parent: int) -> None:
    """What has been compiled is kept; the next start goes on from there."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    from controller.cycle import calculate as compiled

    rehearse(compiled)
    (Path(os.environ["NUMBA_CACHE_DIR"]) / _DONE).touch()
