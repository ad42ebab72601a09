"""One socket of one chargepoint: frames in, frames out, one outstanding CALL; nothing a peer does breaks it.

What is sent next is decided by the chargepoint when the line is free (`next_call`), so that a newer order
replaces an older one and a lowering goes before everything that has not left. An answer that does not come in
time means *unknown*, never *accepted*; when it comes late it is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from itertools import count
from typing import Final, NamedTuple

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from hardware.notices import Notices, quoted
from hardware.ocpp import frames
from hardware.ocpp.frames import Payload

MESSAGES_PER_S: Final = 50
BURST: Final = 100
HURRY_S: Final = 2.0  # a call that a lowering waits for is given up after this long
NO_ANSWER, LINK_LOST, NONSENSE = "no answer", "link lost", "nonsense"

_ids = count(1)


class Outcome(NamedTuple):
    """How a CALL ended: with a payload, or with the code of a CALLERROR or one of the words above."""

    payload: Payload | None
    error: str = ""

    @property
    def status(self) -> str:
        """The status an answer carries; empty without answer."""
        return str(self.payload.get("status", "")) if self.payload is not None else ""


class Outgoing(NamedTuple):
    """A CALL that may leave now."""

    action: str
    payload: Payload
    timeout_s: float
    done: Callable[[Outcome], None]


class Refused(Exception):
    """A CALL of the peer that is answered by a CALLERROR."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Reply(NamedTuple):
    """The answer to a CALL of the peer, and what to do once it has been sent."""

    payload: Payload
    then: Callable[[], None] | None = None


@dataclass
class _Pending:
    id: str
    outgoing: Outgoing
    answered: asyncio.Future[Outcome]
    deadline: asyncio.Timeout | None = None


class Link:
    """`hear` answers a CALL, at once or later, and may raise Refused; `next_call` gives what to send."""

    def __init__(
        self,
        socket: ServerConnection,
        identity: str,
        notices: Notices,
        next_call: Callable[[], Outgoing | None],
        hear: Callable[[frames.Call], Reply | Awaitable[Reply]],
    ) -> None:
        self._socket = socket
        self._identity = identity
        self._notices = notices
        self._next_call = next_call
        self._hear = hear
        self._work = asyncio.Event()
        self._pending: _Pending | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._tokens = float(BURST)
        self._counted_at_s = asyncio.get_running_loop().time()
        self._sender: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """There may be something to send."""
        self._work.set()

    def hurry(self) -> None:
        """A lowering waits: do not wait long for the answer to what left before it."""
        deadline = self._pending.deadline if self._pending is not None else None
        if deadline is None or deadline.expired():
            return
        soon = asyncio.get_running_loop().time() + HURRY_S
        when = deadline.when()
        if when is None or when > soon:
            deadline.reschedule(soon)

    async def run(self) -> None:
        """Serve the socket until it is closed by either side."""
        self._sender = asyncio.create_task(self._send_calls())
        try:
            async for text in self._socket:
                await self._spend()
                await self._receive(text)
        except ConnectionClosed as closed:
            self._explain(closed)
        finally:
            self.cut()

    def cut(self) -> None:
        """End at once: what is pending is lost. Idempotent; the socket is closed by who called."""
        if self._sender is not None:
            self._sender.cancel()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.outgoing.done(Outcome(None, LINK_LOST))

    async def close(self, code: int, reason: str) -> None:
        """Close the socket with a reason."""
        self.cut()
        with suppress(AttributeError):  # see _send
            await self._socket.close(code, reason)

    # -- receiving ----------------------------------------------------------------------------------

    async def _spend(self) -> None:
        """A peer that sends too much is read more slowly; TCP makes it wait."""
        now_s = asyncio.get_running_loop().time()
        self._tokens = min(BURST, self._tokens + (now_s - self._counted_at_s) * MESSAGES_PER_S) - 1
        self._counted_at_s = now_s
        if self._tokens < 0:
            self._say("flood", f"sends more than {MESSAGES_PER_S} messages a second; it is read no faster.")
            await asyncio.sleep(-self._tokens / MESSAGES_PER_S)

    async def _receive(self, text: str | bytes) -> None:
        try:
            frame = frames.parse(text)
        except frames.Malformed as fault:
            self._say("malformed", f"sent {fault}: {quoted(text[:100])}; dropped.")
            if fault.id:
                await self._send(
                    frames.Error(fault.id[: frames.LONGEST_ID], "FormationViolation", str(fault))
                )
            return
        if isinstance(frame, frames.Call):
            await self._answer(frame)
        else:
            self._match(frame)

    async def _answer(self, call: frames.Call) -> None:
        try:
            reply = self._hear(call)
        except Refused as refusal:
            await self._refuse(call, refusal)
            return
        except Exception as error:  # noqa: BLE001 - our own fault must not cost the link
            await self._refuse(call, self._own_fault(call, error))
            return
        if isawaitable(reply):  # waits for the disk; meanwhile answers to our own calls are read
            task = asyncio.ensure_future(self._answer_later(call, reply))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            await self._reply(call, reply)

    async def _answer_later(self, call: frames.Call, coming: Awaitable[Reply]) -> None:
        try:
            reply = await coming
        except Exception as error:  # noqa: BLE001
            await self._refuse(call, self._own_fault(call, error))
            return
        await self._reply(call, reply)

    async def _reply(self, call: frames.Call, reply: Reply) -> None:
        await self._send(frames.Result(call.id, reply.payload))
        if reply.then is not None:
            self._conclude(call.action, reply.then)

    async def _refuse(self, call: frames.Call, refusal: Refused) -> None:
        self._say(f"refused_{refusal.code}", f"{quoted(call.action)}: {refusal}; answered {refusal.code}.")
        await self._send(frames.Error(call.id, refusal.code, str(refusal)[:255]))

    def _own_fault(self, call: frames.Call, error: Exception) -> Refused:
        return Refused("InternalError", f"cannot be processed ({type(error).__name__}: {error})")

    def _match(self, frame: frames.Result | frames.Error) -> None:
        pending = self._pending
        if pending is None or pending.id != frame.id or pending.answered.done():
            self._say("late_answer", f"answered {quoted(frame.id)}, which is not awaited any more; dropped.")
            return
        pending.answered.set_result(self._outcome(pending.outgoing.action, frame))

    def _outcome(self, action: str, frame: frames.Result | frames.Error) -> Outcome:
        if isinstance(frame, frames.Error):
            self._say("call_error", f"answered {action} by {quoted(frame.code)} {quoted(frame.description)}.")
            return Outcome(None, frame.code or "GenericError")
        # Boxes put keys and values of every length into their configuration; its reader expects that.
        fault = "" if action == "GetConfiguration" else frames.fault_in_result(action, frame.payload)
        if fault:
            self._say("bad_answer", f"answered {action} against its schema ({fault}); taken as no answer.")
            return Outcome(None, NONSENSE)
        return Outcome(frame.payload)

    # -- sending ------------------------------------------------------------------------------------

    async def _send_calls(self) -> None:
        while True:
            self._work.clear()
            outgoing = self._next_call()
            if outgoing is None:
                await self._work.wait()
                continue
            outcome = await self._call(outgoing)
            self._conclude(outgoing.action, partial(outgoing.done, outcome))

    def _conclude(self, action: str, step: Callable[[], None]) -> None:
        """Our own fault must not silence the link."""
        try:
            step()
        except Exception as error:  # noqa: BLE001
            self._say("own_fault", f"{action} cannot be concluded ({type(error).__name__}: {error}).")

    async def _call(self, outgoing: Outgoing) -> Outcome:
        call = frames.Call(f"edge-{next(_ids)}", outgoing.action, outgoing.payload)
        pending = _Pending(call.id, outgoing, asyncio.get_running_loop().create_future())
        self._pending = pending
        try:
            async with asyncio.timeout(outgoing.timeout_s) as pending.deadline:
                await self._send(call)
                return await pending.answered
        except TimeoutError:
            self._say("no_answer", f"did not answer {call.action} in time; whether it acts on it is unknown.")
            return Outcome(None, NO_ANSWER)
        finally:
            self._pending = None

    async def _send(self, frame: frames.Call | frames.Result | frames.Error) -> None:
        try:
            await self._socket.send(frames.dump(frame))
        except (ConnectionClosed, AttributeError):
            # The reader ends the link; a CALL stays unanswered until then. The library trips over its own
            # transport (AttributeError) when it is told to send on a socket that has just gone.
            return

    def _explain(self, closed: ConnectionClosed) -> None:
        sent = closed.sent.code if closed.sent is not None else 0
        if sent == 1009:
            self._say("too_big", "sent a frame above 1 MiB; its link is closed.")
        elif sent == 1011:
            self._say("silent", "does not answer pings; its link is closed.")
        else:
            self._say("link_lost", f"lost its link ({closed}).")

    def _say(self, kind: str, sentence: str) -> None:
        self._notices.say(self._identity, kind, f"{self._identity} {sentence}")
