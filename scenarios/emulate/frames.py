"""The conversation of an emulated chargepoint: OCPP-J frames in and out, one call outstanding, no socket.

Written from OCPP-J 1.6 and nothing else; the central system has its own. A call is held as a function that
writes its payload when the frame leaves, because a queued message may need what an earlier answer brings.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

CALL, RESULT, ERROR = 2, 3, 4
ATTEMPTS = 3
"""How often a message that must not be lost is sent while it is answered with an error."""

Message = dict[str, Any]
Answered = Callable[[Message | None], None]
"""Called with the payload of the answer; None when there was none or an error."""


class CallRefused(Exception):
    """A call that is answered by CALLERROR."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


def nothing(_answer: Message | None) -> None:
    """For calls whose answer does not matter."""


@dataclass(slots=True)
class _Call:
    action: str
    payload: Callable[[], str]
    answered: Answered
    keep: bool
    urgent: bool
    attempts: int = 0
    id: str = field(default="")


class Conversation:
    """Both directions of one chargepoint's OCPP; time is `now_ms`, the link whatever `open` is given."""

    def __init__(
        self,
        answer: Callable[[str, Message], Message],
        now_ms: Callable[[], int],
        late_ms: Callable[[], int] = lambda: 0,
        timeout_ms: int = 30_000,
        loses: Callable[[Message], bool] = lambda _: False,
    ) -> None:
        self._answer = answer
        self._now_ms = now_ms
        self._late_ms = late_ms
        self._late: deque[tuple[int, str]] = deque()
        self._later: list[tuple[int, _Call]] = []
        self._loses = loses
        self._timeout_ms = timeout_ms
        self._send: Callable[[str], None] | None = None
        self._queue: deque[_Call] = deque()
        self._pending: _Call | None = None
        self._sent_ms = 0
        self._numbers = 0
        self._answering = False
        self.held = True
        """Only an urgent call may leave: the central system has not accepted this chargepoint yet."""

    @property
    def online(self) -> bool:
        """The link is up."""
        return self._send is not None

    @property
    def quiet(self) -> bool:
        """Nothing is waiting for an answer, and nothing could be sent."""
        return self._pending is None and (not self._queue or self.held)

    @property
    def due_ms(self) -> int | None:
        """When `expire` has something to do: a late answer leaves, the outstanding call is given up."""
        dues = [self._sent_ms + self._timeout_ms] if self._pending else []
        return min([*dues, *(due for due, _ in [*self._late, *self._later])], default=None)

    def open(self, send: Callable[[str], None]) -> None:
        """The link is up; `send` takes frames and never blocks."""
        self._send = send
        self._pump()

    def close(self) -> None:
        """The link is gone: what must not be lost waits for the next one, the rest is dropped."""
        self._send = None
        self._late.clear()
        later = [call for _, call in self._later]
        waiting = [*([self._pending] if self._pending else []), *self._queue, *later]
        self._pending, self._later = None, []
        self._queue = deque(call for call in waiting if call.keep)
        for call in waiting:
            if not call.keep:
                call.answered(None)

    def call(
        self,
        action: str,
        payload: Callable[[], str],
        answered: Answered = nothing,
        *,
        keep: bool = False,
        urgent: bool = False,
        after_ms: int = 0,
    ) -> None:
        """Say something as soon as possible, or later; without link only what is to `keep` waits for one."""
        if not self.online and not keep:
            answered(None)
            return
        call = _Call(action, payload, answered, keep, urgent)
        if after_ms:
            self._later.append((self._now_ms() + after_ms, call))
            return
        if urgent:
            self._queue.appendleft(call)
        else:
            self._queue.append(call)
        self._pump()

    def waiting(self, action: str) -> int:
        """How many calls of this kind wait."""
        return sum(call.action == action for call in self._queue)

    def forget_oldest(self, action: str) -> None:
        """Drop the oldest waiting call of this kind: the store of a box is not endless."""
        self._queue.remove(next(call for call in self._queue if call.action == action))

    def release(self) -> None:
        """The central system has accepted this chargepoint."""
        self.held = False
        self._pump()

    def receive(self, text: str) -> None:
        """Take a frame. A malformed one is answered where it can be, and never stops anything."""
        try:
            frame = json.loads(text)
        except ValueError:
            return
        match frame:
            case [2, str(number), str(action), dict(payload)]:
                self._called(number, action, payload)
            case [3, str(number), dict(payload)]:
                self._settle(number, payload)
            case [4, str(number), *_]:
                self._settle(number, None)
            case [2, str(number), *_]:
                self._error(number, "FormationViolation", "a CALL is [2, id, action, payload]")

    def expire(self) -> None:
        """Say what was to be said later; give up the outstanding call when its time has passed."""
        now = self._now_ms()
        due = [call for at_ms, call in self._later if at_ms <= now]
        if due:
            self._later = [(at_ms, call) for at_ms, call in self._later if at_ms > now]
            self._queue.extend(due)
            self._pump()
        while self._late and self._late[0][0] <= now:
            self._transmit(self._late.popleft()[1])
        if self._pending is not None and now >= self._sent_ms + self._timeout_ms:
            self._settle(self._pending.id, None)

    def _called(self, number: str, action: str, payload: Message) -> None:
        if self._loses(payload):
            return
        self._answering = True  # what an answer sets off comes after it on the wire
        try:
            _check(action, payload)
            result = self._answer(action, payload)
            if not self._loses(payload):
                self._reply(json.dumps([RESULT, number, result], separators=(",", ":")))
        except CallRefused as refusal:
            self._error(number, refusal.code, str(refusal))
        finally:
            self._answering = False
            self._pump()

    def _reply(self, text: str) -> None:
        late_ms = self._late_ms()
        if late_ms:
            self._late.append((self._now_ms() + late_ms, text))
        else:
            self._transmit(text)

    def _error(self, number: str, code: str, description: str) -> None:
        self._transmit(json.dumps([ERROR, number, code, description, {}]))

    def _settle(self, number: str, payload: Message | None) -> None:
        call = self._pending
        if call is None or call.id != number:
            return  # late or nobody's
        self._pending = None
        if payload is None and call.keep and call.attempts < ATTEMPTS:
            self._queue.appendleft(call)
        else:
            call.answered(payload)
        self._pump()

    def _pump(self) -> None:
        if self._pending or self._answering or not self._queue or not self.online:
            return
        if self.held and not self._queue[0].urgent:
            return
        call = self._pending = self._queue.popleft()
        self._numbers += 1
        call.id = str(self._numbers)
        call.attempts += 1
        self._sent_ms = self._now_ms()
        self._transmit(f'[{CALL},"{call.id}","{call.action}",{call.payload()}]')

    def _transmit(self, text: str) -> None:
        if self._send is not None:
            self._send(text)


def _check(action: str, payload: Message) -> None:
    """Refuse what does not satisfy the schema of the standard. Raises CallRefused."""
    validator = _validator(action)
    if validator is None:
        raise CallRefused("NotImplemented", f"{action} is not known here")
    fault = next(validator.iter_errors(payload), None)
    if fault is not None:
        missing = fault.kind.name == "required"
        code = "ProtocolError" if missing else "TypeConstraintViolation"
        raise CallRefused(code, fault.message[:255])


@cache
def _validator(action: str) -> jsonschema_rs.Draft4Validator | None:
    sheet = files("ocpp.v16.schemas").joinpath(f"{action}.json") if action.isalpha() else None
    if sheet is None or not sheet.is_file():
        return None
    return jsonschema_rs.Draft4Validator(json.loads(sheet.read_text("utf-8-sig")))
