"""Nodes of a DHT bench in one process: real machines, real sealed datagrams over UDP on loopback.

Run by `tests/bench/dht.py`, one order a line on stdin, one answer a line on stdout, both JSON.
"""

import json
import sys
from time import perf_counter
from typing import Any

import trio

from meshnode.dht.machine import DhtMachine
from meshnode.dht.records import ProviderRecord
from meshnode.dht.settings import DhtSettings
from meshnode.identity.keys import Identity, random_bytes
from meshnode.identity.mesh import Mesh
from meshnode.ids import Address, Contact, ContentHash, PublicKey
from meshnode.machine import Random
from meshnode.net.datagrams import DatagramSocket
from meshnode.net.settings import NetSettings
from meshnode.node.directory import Directory
from meshnode.wire.messages import Received

ROOT = Identity.from_seed(b"r" * 32)
MESH = Mesh(name="bench", root_key=ROOT.public_key, mesh_key=b"k" * 32, chain=(b"",))


class BenchNode:
    """What of a node serves the DHT: identity, socket, machine, directory."""

    def __init__(self) -> None:
        self.identity = Identity.from_seed(random_bytes(32))
        self.socket = DatagramSocket(
            self.identity, mesh=MESH, settings=NetSettings(), cookies_secret=random_bytes(32)
        )
        self.contact: Contact
        self.directory: Directory

    async def start(self, nursery: trio.Nursery) -> None:
        port = await self.socket.bind("127.0.0.1", 0)
        self.contact = Contact(self.identity.public_key, Address("127.0.0.1", port))
        machine = DhtMachine(
            self.contact,
            MESH.network,
            DhtSettings(),
            Random(int.from_bytes(random_bytes(8), "big")),
        )
        self.directory = Directory(machine, network=MESH.network, send=self.socket.send)
        nursery.start_soon(self.socket.run, self._receive)
        nursery.start_soon(self.directory.run)

    def _receive(self, received: Received) -> None:
        self.directory.receive(received)

    async def put(self, blob: ContentHash) -> int:
        record = ProviderRecord(
            network=MESH.network,
            blob=blob,
            provider=self.identity.public_key,
            addresses=(self.contact.address,),
            size=1,
            root=bytes(32),
            seq=1,
            ttl_s=1800,
        )
        return (await self.directory.publish(record, self.identity)).stored

    async def get(self, blob: ContentHash) -> int:
        return len(await self.directory.providers(blob))


async def obey(nodes: list[BenchNode], order: dict[str, Any]) -> dict[str, Any]:
    """Do one order and say what came of it; times in ms."""
    match order:
        case {"join": listed, "node": index}:
            contacts = tuple(
                Contact(PublicKey(bytes.fromhex(key)), Address(host, port))
                for key, host, port in listed
            )
            nodes[index].directory.join(contacts)
            return {}
        case {"sizes": _}:
            return {"sizes": [node.directory.size for node in nodes]}
        case {"put": blob, "node": index}:
            work = nodes[index].put(ContentHash(bytes.fromhex(blob)))
        case {"get": blob, "node": index}:
            work = nodes[index].get(ContentHash(bytes.fromhex(blob)))
        case _:
            raise ValueError(f"no such order: {order}")
    started = perf_counter()
    count = await work
    return {"ms": (perf_counter() - started) * 1e3, "count": count}


async def main(count: int) -> None:
    async with trio.open_nursery() as nursery:
        nodes = [BenchNode() for _ in range(count)]
        for node in nodes:
            await node.start(nursery)
        contacts = [
            [n.contact.public_key.hex(), n.contact.address.host, n.contact.address.port]
            for n in nodes
        ]
        print(json.dumps({"contacts": contacts}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            print(json.dumps(await obey(nodes, json.loads(line))), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
