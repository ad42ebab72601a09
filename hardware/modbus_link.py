"""A device on Modbus: the questions that can be asked of it, the same on TCP and on RTU, and patience."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import structlog

from controller.defaults import METER_RETURN_SAMPLES
from hardware.addresses import ModbusAddress
from hardware.modbus_line import DeviceSilent, Lines, refusal

BACK_OFF_S = (0.25, 10.0)

log = structlog.get_logger("edge")


class ModbusLink:
    """The questions that can be asked; each raises DeviceSilent."""

    def __init__(self, address: ModbusAddress, lines: Lines | None = None) -> None:
        self.address = address
        self.waited_s = 0.0
        """How long the last question that was answered had to wait until it left."""
        self._line = (lines or Lines()).to(address)

    async def words(self, function: Literal[3, 4], start: int, count: int) -> list[int]:
        """Holding (3) or input (4) registers."""
        name = "read_input_registers" if function == 4 else "read_holding_registers"
        registers = (await self._ask(count, name, start, count=count)).registers
        if len(registers) != count:
            self._line.drop()
            raise DeviceSilent("garbage", f"{len(registers)} words instead of {count}")
        return list(registers)

    async def bit(self, function: Literal[1, 2], address: int) -> bool:
        """A coil (1) or a discrete input (2)."""
        name = "read_discrete_inputs" if function == 2 else "read_coils"
        bits = (await self._ask(1, name, address, count=1)).bits
        if not bits:
            self._line.drop()
            raise DeviceSilent("garbage", "no bit instead of one")
        return bool(bits[0])

    async def write(self, start: int, words: Sequence[int]) -> None:
        """Holding registers, all at once."""
        await self._ask(len(words), "write_registers", start, list(words))

    def close(self) -> None:
        """Drop the connection; the next question makes a new one."""
        self._line.close()

    async def _ask(self, words: int, name: str, *arguments: Any, **more: Any) -> Any:
        answer, self.waited_s = await self._line.ask(self.address, words, name, *arguments, **more)
        fault = refusal(answer)
        if fault is None:
            return answer
        if not fault.refused:
            self._line.drop()
        raise fault


class Polling:
    """Asks a device ever so often; one line when a fault begins, one when all is well again."""

    def __init__(self, name: str, where: str, every_ms: int, ask: Callable[[], Awaitable[None]]) -> None:
        self._name, self._where, self._every_s, self._ask = name, where, every_ms / 1000, ask
        self._said: set[str] = set()
        self._good = 0
        self._failures = 0

    async def run(self) -> None:
        """Ask until cancelled; after several failures in a row less often."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            await self.once()
            due_s = max(due_s + self._every_s, loop.time() + self._back_off_s())
            await asyncio.sleep(due_s - loop.time())

    async def once(self) -> None:
        """Ask once; whatever comes is no reason to stop."""
        try:
            await self._ask()
        except DeviceSilent as fault:
            self._failures += 1
            self.say(fault.kind, fault.sentence)
        except Exception as error:  # noqa: BLE001 - a number that nobody thought of must not end the polling
            self._failures += 1
            self.say("unusable", f"what it says cannot be used ({type(error).__name__}: {error})")
        else:
            self._failures = 0

    def well(self) -> None:
        """It answered as it should; a few times in a row, and it is well again."""
        self._good += 1
        if self._good >= METER_RETURN_SAMPLES and self._said:
            self._said.clear()
            sentence = f"{self._name} answers again."
            log.info(sentence, where=self._where, kind="well")

    def say(self, kind: str, text: str) -> None:
        """One line when a fault begins."""
        self._good = 0
        if kind not in self._said:
            self._said.add(kind)
            sentence = f"{self._name}: {text}."
            log.warning(sentence, where=self._where, kind=kind)

    def _back_off_s(self) -> float:
        """0 after one failure, then doubling."""
        first, longest = BACK_OFF_S
        return min(longest, first * 2 ** min(self._failures - 2, 10)) if self._failures > 1 else 0.0
