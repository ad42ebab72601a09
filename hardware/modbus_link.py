"""A device on Modbus TCP: one connection made when needed, one question at a time, and patience.

Whatever the device does (refuses, is silent, answers late, with an exception or with garbage), a question
ends in time. After a time-out the connection is closed, so that a late answer has nowhere to arrive. Every
call of pymodbus in the box stands here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import structlog
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse

from controller.defaults import METER_RETURN_SAMPLES
from hardware.links import ModbusAddress

BACK_OFF_S = (0.25, 10.0)

log = structlog.get_logger("edge")
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # every fault is reported here, once

_EXCEPTIONS = {
    1: "it does not know the function",
    2: "it has no such address",
    3: "it does not take the value",
    4: "it failed inside",
    6: "it is busy",
    10: "the gateway has no path to it",
    11: "the gateway heard nothing from it",
}


class DeviceSilent(Exception):
    """No usable answer; `kind` names the fault for the log, `sentence` says what came instead."""

    def __init__(self, kind: str, sentence: str, *, broken: bool, refused: bool = False) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence
        self.broken = broken
        """The connection is of no more use."""
        self.refused = refused
        """It answered, and said no."""


class ModbusLink:
    """The questions that can be asked; each raises DeviceSilent."""

    def __init__(self, address: ModbusAddress) -> None:
        self.address = address
        self._client: AsyncModbusTcpClient | None = None
        self._turn = asyncio.Lock()

    async def words(self, function: Literal[3, 4], start: int, count: int) -> list[int]:
        """Holding (3) or input (4) registers."""
        name = "read_input_registers" if function == 4 else "read_holding_registers"
        registers = (await self._ask(name, start, count=count)).registers
        if len(registers) != count:
            self.close()
            text = f"{len(registers)} words instead of {count}"
            raise DeviceSilent("garbage", text, broken=True)
        return list(registers)

    async def bit(self, function: Literal[1, 2], address: int) -> bool:
        """A coil (1) or a discrete input (2)."""
        name = "read_discrete_inputs" if function == 2 else "read_coils"
        bits = (await self._ask(name, address, count=1)).bits
        if not bits:
            self.close()
            raise DeviceSilent("garbage", "no bit instead of one", broken=True)
        return bool(bits[0])

    async def write(self, start: int, words: Sequence[int]) -> None:
        """Holding registers, all at once."""
        await self._ask("write_registers", start, list(words))

    def close(self) -> None:
        """Drop the connection; the next question makes a new one."""
        if self._client:
            self._client.close()
        self._client = None

    async def _ask(self, name: str, *arguments: Any, **more: Any) -> Any:
        async with self._turn:
            return await self._asked(name, *arguments, **more)

    async def _asked(self, name: str, *arguments: Any, **more: Any) -> Any:
        try:
            client = await self._connected()
            answer = await getattr(client, name)(*arguments, **more, device_id=self.address.device_id)
        except DeviceSilent:
            raise
        except ModbusException as error:
            self.close()
            kind = "mixed up" if "received" in str(error) and "but" in str(error) else "silent"
            text = "an answer to another question" if kind == "mixed up" else self._silence()
            raise DeviceSilent(kind, text, broken=True) from None
        except Exception as error:  # whatever a peer made the library stumble over
            self.close()
            text = f"an answer that cannot be read ({type(error).__name__}: {error})"
            raise DeviceSilent("garbage", text, broken=True) from error
        if isinstance(answer, ExceptionResponse):
            why = _EXCEPTIONS.get(answer.exception_code, "for a reason of its own")
            text = f"exception {answer.exception_code}: {why}"
            raise DeviceSilent(f"exception {answer.exception_code}", text, broken=False, refused=True)
        if answer.isError():
            self.close()
            raise DeviceSilent("garbage", "an error without a number", broken=True)
        return answer

    async def _connected(self) -> AsyncModbusTcpClient:
        if self._client and self._client.connected:
            return self._client
        self.close()
        to = self.address
        client = AsyncModbusTcpClient(
            to.host, port=to.port, timeout=to.timeout_ms / 1000, retries=0, reconnect_delay=0
        )
        if not await client.connect():
            client.close()
            raise DeviceSilent("no connection", f"no connection to {to.host}:{to.port}", broken=True)
        self._client = client
        return client

    def _silence(self) -> str:
        to = self.address
        return f"no answer from {to.host}:{to.port} device {to.device_id} in {to.timeout_ms} ms"


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
