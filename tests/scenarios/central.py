"""A central system for tests, written by hand: it shares no code with either end."""

import asyncio
import contextlib
import json

import websockets

ACCEPT = {"status": "Accepted"}


class Central:
    """Answers like a friendly central system, keeps what it heard, and calls what the test wants."""

    def __init__(self):
        self.heard = []
        self.sockets = {}
        self.answers = {
            "BootNotification": {
                "status": "Accepted",
                "currentTime": "2027-01-15T08:00:00Z",
                "interval": 300,
            },
            "Heartbeat": {"currentTime": "2027-01-15T08:00:00Z"},
            "Authorize": {"idTagInfo": ACCEPT},
            "StopTransaction": {},
        }
        self._transactions = 100
        self._results = {}
        self._calls = 0
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def listening(self):
        server = await websockets.serve(self._serve, "127.0.0.1", 0, subprotocols=["ocpp1.6"])
        async with server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ocpp"
            yield self

    async def _serve(self, socket):
        identity = socket.request.path.rsplit("/", 1)[1]
        self.sockets[identity] = socket
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in socket:
                await self._take(identity, socket, json.loads(text))

    async def _take(self, identity, socket, frame):
        if frame[0] != 2:
            self._results[frame[1]].set_result(frame)
            return
        _, number, action, payload = frame
        self.heard.append((identity, action, payload))
        answer = self.answers.get(action, {})
        if action == "StartTransaction":
            self._transactions += 1
            answer = answer or {"transactionId": self._transactions, "idTagInfo": ACCEPT}
        if answer is not None:
            await socket.send(json.dumps([3, number, answer]))
        self._news.set()

    async def raw(self, identity, text):
        await self.sockets[identity].send(text)

    async def ask(self, identity, action, **payload):
        """The whole answer frame: [3, id, payload] or [4, id, code, ...]."""
        self._calls += 1
        number = f"c{self._calls}"
        self._results[number] = asyncio.get_running_loop().create_future()
        await self.raw(identity, json.dumps([2, number, action, payload]))
        return await asyncio.wait_for(self._results[number], 5)

    async def call(self, identity, action, **payload):
        return (await self.ask(identity, action, **payload))[2]

    def all(self, action, identity=None):
        return [p for i, a, p in self.heard if a == action and identity in (None, i)]

    async def until(self, condition, timeout=5):
        """Wait until something heard makes `condition()` true."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.05)
