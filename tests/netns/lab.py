"""A lab: hosts joined by a switch process, and a playground whose nodes run on them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from meshnode.demo.processes import Playground, Proc
from tests.netns.fabric import Host, Link, Site

ROOT = Path(__file__).parents[2]


def why_not() -> str:
    """Return why no lab can be set up on this machine; empty if one can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun to open"
    with Lab([Host(address="10.0.0.1")]) as lab:
        return lab.failure


class Lab:
    """Hosts made by a switch that runs while this context does."""

    def __init__(
        self, hosts: Sequence[Host], sites: Iterable[Site] = (), *, mtu: int = 1500, seed: int = 1
    ) -> None:
        self.hosts = hosts
        self.failure = ""
        self._spec = {
            "hosts": [asdict(h) for h in hosts],
            "sites": [asdict(s) | {"kind": s.kind.value} for s in sites],
            "mtu": mtu,
            "seed": seed,
        }
        self._namespaces: list[int] = []

    def __enter__(self) -> "Lab":
        """Start the switch and wait until every host exists; on refusal `failure` says why."""
        self._switch = subprocess.Popen(
            [sys.executable, "-m", "tests.netns.switch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            self._namespaces = self._ask(self._spec)["namespaces"]
        except (BrokenPipeError, ValueError):
            assert self._switch.stderr is not None
            said = self._switch.stderr.read().strip().splitlines()
            self.failure = f"no hosts could be made: {said[-1] if said else 'no reason given'}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the switch: its input closes."""
        self._switch.communicate(timeout=10)

    def cut(self, some: Iterable[int], others: Iterable[int], *, one_way: bool = False) -> None:
        """Let nothing pass between two groups of hosts."""
        self._ask({"do": "cut", "some": list(some), "others": list(others), "one_way": one_way})

    def heal(self) -> None:
        """Undo every cut."""
        self._ask({"do": "heal"})

    def link(self, a: int, b: int, terms: Link) -> None:
        """Set both directions between two hosts."""
        self._ask({"do": "link", "a": a, "b": b, "terms": asdict(terms)})

    def everywhere(self, **terms: float) -> None:
        """Change these terms of every link."""
        self._ask({"do": "everywhere"} | terms)

    def rebind(self, site: str) -> None:
        """Restart a site's gateway."""
        self._ask({"do": "rebind", "site": site})

    def counts(self) -> dict[str, int]:
        """Return how many packets met which fate."""
        return self._ask({"do": "counts"})

    def on(self, host: int) -> list[str]:
        """Return the words that run the command after them on a host."""
        namespace = f"/proc/{self._switch.pid}/fd/{self._namespaces[host]}"
        return [sys.executable, str(ROOT / "tests/netns/enter.py"), namespace]

    def _ask(self, line: dict[str, Any]) -> dict[str, Any]:
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        self._switch.stdin.write(json.dumps(line) + "\n")
        self._switch.stdin.flush()
        answer: dict[str, Any] = json.loads(self._switch.stdout.readline())
        return answer


class LabPlayground(Playground):
    """A playground whose processes run on the hosts of a lab, each on the one it was given."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.lab = lab
        self.host_of: dict[str, int] = {}

    def place(self, host: int, name: str, verb: str, *arguments: str) -> Proc:
        """Prepare a process on a host."""
        self.host_of[name] = host
        return self.add(name, verb, *arguments)

    def command(self, proc: Proc) -> list[str]:
        """Return the words before those of meshnode itself."""
        return self.lab.on(self.host_of[proc.name]) + super().command(proc)
