"""Sealed calls between two hosts: `calls.py serve HOST`, and `calls.py measure HOST` prints JSON.

Measured on one warm connection: 600 KB requests alone, then small calls, alone and while others
send without end.
"""

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a file, from anywhere

import trio

from meshnode.ids import Address, Contact, PublicKey
from meshnode.net.listener import Listener
from meshnode.net.pool import ConnectionPool
from tests.bench import net_bench

PORT = 6174
LARGE_BYTES = 600_000
BULK_BYTES = 5_000_000
LARGE_CALLS, SMALL_CALLS, BULK_AT_ONCE = 60, 300, 2


async def serve(host: str) -> None:
    """Answer every call until the process ends."""
    async with trio.open_nursery() as nursery:
        channel = net_bench.channel_of(net_bench.SERVER)
        pool = ConnectionPool(channel, net_bench.SETTINGS, nursery)
        listener = Listener(channel, net_bench.SETTINGS, net_bench.answer, pool=pool)
        await listener.bind(host, PORT)
        print("ready", flush=True)
        nursery.start_soon(listener.run)


async def measure(host: str) -> None:
    """Print the seconds that each call took, by kind."""
    contact = Contact(PublicKey(net_bench.SERVER.public_key), Address(host, PORT))
    async with trio.open_nursery() as nursery:
        channel = net_bench.channel_of(net_bench.CLIENT)
        pool = ConnectionPool(channel, net_bench.SETTINGS, nursery)
        large = partial(pool.call, contact, net_bench.predict(LARGE_BYTES), timeout_s=60)
        small = partial(pool.call, contact, net_bench.SMALL, timeout_s=60)
        bulk = partial(pool.call, contact, net_bench.predict(BULK_BYTES), timeout_s=60)
        await net_bench.timed(5, large)
        took = {
            "large": await net_bench.timed(LARGE_CALLS, large),
            "small": await net_bench.timed(SMALL_CALLS, small),
        }

        async def endlessly() -> None:
            while True:
                await bulk()

        for _ in range(BULK_AT_ONCE):
            nursery.start_soon(endlessly)
        await net_bench.timed(20, small)
        took["beside bulk"] = await net_bench.timed(SMALL_CALLS, small)
        print(json.dumps(took), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run({"serve": serve, "measure": measure}[sys.argv[1]], sys.argv[2])
