"""The switch: makes the hosts, then carries their packets until its standard input ends.

    python -m tests.netns.switch        one JSON line of hosts and sites in, then one a command

It answers each line with one. The namespaces have no names: they live as long as the switch, or a
process in them, so that a run that is killed leaves nothing behind.
"""

import ctypes
import fcntl
import heapq
import json
import os
import selectors
import struct
import subprocess
import sys
import time
from itertools import count
from random import Random
from typing import Any

from tests.netns.enter import CLONE_NEWNET, enter, libc
from tests.netns.fabric import Delivery, Fabric, Host, Link, Site
from tests.netns.gateway import Kind

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
DEVICE = "mesh0"
DRAIN_MAX = 64
EARLY_S = 0.001
"""epoll waits in whole milliseconds, so the last one is spent looking again and again."""


def new_host(address: str, mtu: int) -> tuple[int, int]:
    """Return the file descriptors of a new namespace and of the TUN device in it."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
        for words in (
            "link set lo up",
            f"addr add {address}/32 dev {DEVICE}",
            f"link set {DEVICE} mtu {mtu} txqueuelen 1000 multicast on up",
            f"route add default dev {DEVICE}",
        ):
            subprocess.run(["ip", *words.split()], check=True)
    finally:
        enter(home)
        os.close(home)
    return namespace, tun


class Switch:
    """Reads what hosts send, holds it as long as the fabric says, writes it to its receiver."""

    def __init__(self, fabric: Fabric, tuns: list[int]) -> None:
        self.fabric = fabric
        self.tuns = tuns
        self._waiting: list[tuple[float, int, Delivery]] = []
        self._order = count()

    def run(self) -> None:
        """Serve until standard input ends."""
        selector = selectors.DefaultSelector()
        for index, tun in enumerate(self.tuns):
            selector.register(tun, selectors.EVENT_READ, index)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select(self._wait_s()):
                if key.data is not None:
                    self._read(key.data)
                    continue
                line = sys.stdin.buffer.readline()
                if not line:
                    return
                say(self._obey(json.loads(line)))
            self._write()

    def _wait_s(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, self._waiting[0][0] - time.monotonic() - EARLY_S)

    def _read(self, index: int) -> None:
        for _ in range(DRAIN_MAX):
            try:
                packet = os.read(self.tuns[index], 65_536)
            except BlockingIOError:
                return
            for delivery in self.fabric.carry(index, packet, time.monotonic()):
                heapq.heappush(self._waiting, (delivery.when, next(self._order), delivery))

    def _write(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            delivery = heapq.heappop(self._waiting)[2]
            try:
                os.write(self.tuns[delivery.host], delivery.packet)
            except OSError:
                self.fabric.counts["not taken"] += 1

    def _obey(self, command: dict[str, Any]) -> dict[str, Any]:
        fabric = self.fabric
        match command.pop("do"):
            case "cut":
                fabric.cut(**command)
            case "heal":
                fabric.heal()
            case "link":
                fabric.link(command["a"], command["b"], Link(**command["terms"]))
            case "everywhere":
                fabric.everywhere(**command)
            case "rebind":
                fabric.rebind(command["site"])
            case "counts":
                pass
        return dict(fabric.counts)


def say(answer: dict[str, Any]) -> None:
    """Answer one line."""
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Make the hosts and serve."""
    spec = json.loads(sys.stdin.buffer.readline())
    hosts = [Host(**h) for h in spec["hosts"]]
    sites = [Site(**s | {"kind": Kind(s["kind"])}) for s in spec["sites"]]
    made = [new_host(h.address, spec["mtu"]) for h in hosts]
    fabric = Fabric(hosts, Random(spec["seed"]), sites)
    say({"namespaces": [namespace for namespace, _ in made]})
    Switch(fabric, [tun for _, tun in made]).run()


if __name__ == "__main__":
    main()
