"""A wire between everybody and the broker that can keep one message back, and deliver it late.

So a relay is caught in the middle of a send for certain: its bytes have left it, the broker has not
seen them, and whoever takes over cannot know of them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from deploy.native.kafka import Kafka

PRODUCE: Final = 0
PIECE_BYTES: Final = 1 << 16
# Days without a word to that topic come and go.
CATCH_SECONDS: Final = 400.0
# How long a message is kept at most, should nobody ask for it any more.
KEEP_SECONDS: Final = 60.0


class WiredKafka(Kafka):
    """A broker that tells everybody to come by the wire."""

    def __init__(self, folder: Path, wire: SlowWire) -> None:
        super().__init__(folder)
        self._wire = wire

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._wire.port}"

    def _write_properties(self) -> None:
        super()._write_properties()
        self._wire.broker_port = self.port or 0
        own, told = f"127.0.0.1:{self.port}", self.bootstrap
        said = self._properties.read_text()
        advertised = "advertised.listeners=PLAINTEXT://"
        self._properties.write_text(said.replace(advertised + own, advertised + told))


class SlowWire:
    """Passes everything on, in a thread of its own; `keep` holds the next send to a topic back."""

    def __init__(self) -> None:
        self.broker_port = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._wanted = b""
        self._caught = asyncio.Event()
        self._released = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Cut the wire."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._socket.close()

    async def keep(self, topic: str) -> None:
        """Until the next send to this topic is on the wire, where it stays."""
        await self._in_thread(self._keep(topic))

    async def deliver(self) -> None:
        """Let the broker have what was kept."""
        await self._in_thread(self._deliver())

    async def _in_thread(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _keep(self, topic: str) -> None:
        self._caught.clear()
        self._released.clear()
        self._wanted = topic.encode()
        try:
            async with asyncio.timeout(CATCH_SECONDS):
                await self._caught.wait()
        finally:
            self._wanted = b""

    async def _deliver(self) -> None:
        self._released.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = asyncio.start_server(self._connect, sock=self._socket)
        self._loop.run_until_complete(server)
        self._loop.run_forever()

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            broker, to_broker = await asyncio.open_connection("127.0.0.1", self.broker_port)
        except OSError:
            to_client.close()
            return
        there = asyncio.create_task(self._requests(client, to_broker))
        back = asyncio.create_task(_pass_on(broker, to_client))
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        if not there.done() and self._caught.is_set() and not self._released.is_set():
            # What is kept is delivered although its sender may be gone.
            await asyncio.wait({there}, timeout=KEEP_SECONDS)
        for task in (there, back):
            task.cancel()
        for writer in (to_broker, to_client):
            writer.close()

    async def _requests(self, client: asyncio.StreamReader, broker: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size = await client.readexactly(4)
                request = await client.readexactly(struct.unpack(">i", size)[0])
                [kind] = struct.unpack(">h", request[:2])
                if self._wanted and kind == PRODUCE and self._wanted in request:
                    self._wanted = b""
                    self._caught.set()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(KEEP_SECONDS):
                            await self._released.wait()
                broker.write(size + request)
                await broker.drain()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(PIECE_BYTES):
            target.write(piece)
            await target.drain()
