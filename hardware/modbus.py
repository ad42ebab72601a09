"""Meters on Modbus TCP: one poll task each, which keeps the meter's row of the image fresh.

Whatever the meter does (refuses, is silent, answers late, with an exception or with garbage), its row just
gets older and the loop goes on. After a time-out the connection is closed, so that a late answer has nowhere
to arrive. Every call of pymodbus in the box stands here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import structlog
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse

from controller.defaults import METER_RETURN_SAMPLES, UNKNOWN
from controller.table import Table
from controller.topology import Topology
from hardware.clock import Clock
from hardware.links import ModbusTcp
from hardware.registers import Reading, load_map

BACK_OFF_S = (0.25, 10.0)

log = structlog.get_logger("edge")
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # every fault is reported here, once

OnReading = Callable[[int, bool], None]
"""Called with the row of the meter and whether a phase of its grid is above the fuse."""

_EXCEPTIONS = {
    1: "it does not know the function",
    2: "it has no such address",
    3: "it does not take the value",
    4: "it failed inside",
    6: "it is busy",
    10: "the gateway has no path to it",
    11: "the gateway heard nothing from it",
}


class MeterSilent(Exception):
    """No usable reading; `kind` names the fault for the log, `sentence` says what came instead."""

    def __init__(self, kind: str, sentence: str, *, broken: bool) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence
        self.broken = broken
        """The connection is of no more use."""


class ModbusMeter:
    """One meter: a connection made when needed, and block reads on it."""

    def __init__(self, name: str, link: ModbusTcp) -> None:
        self.name = name
        self.link = link
        self.sheet = load_map(link.map)
        self._client: AsyncModbusTcpClient | None = None

    async def read(self) -> Reading:
        """One block. Raises MeterSilent."""
        words = await self._words(self.sheet.start, self.sheet.count)
        try:
            return self.sheet.decode(words)
        except ValueError as error:
            raise MeterSilent("garbage", f"an answer that makes no sense: {error}", broken=False) from None

    async def read_energy_wh(self) -> int:
        """The import counter, UNKNOWN where the map has none. Raises MeterSilent."""
        quantity = self.sheet.energy_import
        if quantity is None:
            return UNKNOWN
        start = quantity.address[0]
        return self.sheet.decode_energy_wh(await self._words(start, quantity.last - start))

    def close(self) -> None:
        """Drop the connection; the next read makes a new one."""
        if self._client:
            self._client.close()
        self._client = None

    async def _words(self, start: int, count: int) -> list[int]:
        try:
            client = await self._connected()
            ask = client.read_input_registers if self.sheet.function == 4 else client.read_holding_registers
            answer = await ask(start, count=count, device_id=self.link.device_id)
            if isinstance(answer, ExceptionResponse):
                why = _EXCEPTIONS.get(answer.exception_code, "for a reason of its own")
                text = f"exception {answer.exception_code}: {why}"
                raise MeterSilent(f"exception {answer.exception_code}", text, broken=False)
            if answer.isError() or len(answer.registers) != count:
                text = f"{len(answer.registers)} words instead of {count}"
                raise MeterSilent("garbage", text, broken=True)
            return list(answer.registers)
        except MeterSilent as fault:
            if fault.broken:
                self.close()
            raise
        except ModbusException as error:
            self.close()
            kind = "mixed up" if "received" in str(error) and "but" in str(error) else "silent"
            text = "an answer to another question" if kind == "mixed up" else self._silence()
            raise MeterSilent(kind, text, broken=True) from None
        except Exception as error:  # whatever a peer made the library stumble over
            self.close()
            text = f"an answer that cannot be read ({type(error).__name__}: {error})"
            raise MeterSilent("garbage", text, broken=True) from error

    async def _connected(self) -> AsyncModbusTcpClient:
        if self._client and self._client.connected:
            return self._client
        self.close()
        link = self.link
        client = AsyncModbusTcpClient(
            link.host, port=link.port, timeout=link.timeout_ms / 1000, retries=0, reconnect_delay=0
        )
        if not await client.connect():
            client.close()
            raise MeterSilent("no connection", f"no connection to {link.host}:{link.port}", broken=True)
        self._client = client
        return client

    def _silence(self) -> str:
        link = self.link
        return f"no answer from {link.host}:{link.port} device {link.device_id} in {link.timeout_ms} ms"


class MeterPoll:
    """Keeps row `row` of the image's meters at what the meter says."""

    def __init__(
        self,
        meter: ModbusMeter,
        row: int,
        meters: Table,
        topology: Topology,
        clock: Clock,
        on_reading: OnReading,
    ) -> None:
        self.meter = meter
        self._row = row
        self._meters = meters
        self._clock = clock
        self._on_reading = on_reading
        drawn = topology.meters[row]
        limits = topology.grids[drawn["grid"]]["limit_ma"]
        self._limits_ma = [int(limits[phase]) for phase in drawn["phase"]]
        self._sign = int(drawn["sign"])
        self._good = 0
        self._said: set[str] = set()
        self._failures = 0

    async def run(self) -> None:
        """Poll until cancelled."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        try:
            while True:
                await self.once()
                due_s = max(due_s + self.meter.link.poll_ms / 1000, loop.time() + self._back_off_s())
                await asyncio.sleep(due_s - loop.time())
        finally:
            self.meter.close()

    async def once(self) -> None:
        """One read; the row keeps the time at which it was asked for, so that its age is never too young."""
        asked_ms = self._clock.now_ms()
        try:
            reading = await self.meter.read()
        except MeterSilent as fault:
            self._failed(fault)
            return
        self._heard(reading, asked_ms)

    def _heard(self, reading: Reading, asked_ms: int) -> None:
        row = self._meters[self._row]
        row["current_ma"] = reading.current_ma
        row["at_ms"] = asked_ms
        self._failures = 0
        self._good += 1
        missing = [f"L{i + 1}" for i, current in enumerate(reading.current_ma) if current == UNKNOWN]
        if missing:
            self._say(f"blind {missing}", f"it does not know its current on {', '.join(missing)}")
        elif self._good >= METER_RETURN_SAMPLES and self._said:
            self._said.clear()
            sentence = f"Meter {self.meter.name} answers again."
            log.info(sentence, where=f"meter.{self.meter.name}", kind="well")
        over = any(
            current != UNKNOWN and current * self._sign > limit
            for current, limit in zip(reading.current_ma, self._limits_ma, strict=True)
        )
        self._on_reading(self._row, over)

    def _failed(self, fault: MeterSilent) -> None:
        self._failures += 1
        self._say(fault.kind, fault.sentence)

    def _say(self, kind: str, text: str) -> None:
        """One line when a fault begins; a meter is well again after three good readings in a row."""
        self._good = 0
        if kind not in self._said:
            self._said.add(kind)
            sentence = f"Meter {self.meter.name}: {text}."
            log.warning(sentence, where=f"meter.{self.meter.name}", kind=kind)

    def _back_off_s(self) -> float:
        """0 after one failure, then doubling."""
        first, longest = BACK_OFF_S
        return min(longest, first * 2 ** min(self._failures - 2, 10)) if self._failures > 1 else 0.0
