"""Nodes behind NATs and firewalls, and a seed on the internet between them: real processes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from meshnode.demo.processes import Proc, until
from tests.netns.fabric import Host, Site
from tests.netns.gateway import Kind
from tests.netns.lab import Lab, LabPlayground
from tests.netns.mesh import LabMesh

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hosts_allowed")]

SEED, LEFT, RIGHT = 0, 1, 2
HOSTS = [
    Host(address="20.0.0.1"),
    Host(address="192.168.1.2", site="left"),
    Host(address="192.168.2.2", site="right"),
]


class Divided:
    """A seed, and two members of one mesh that remember nothing of each other."""

    def __init__(self, lab: Lab, play: LabPlayground, *relay: str) -> None:
        self.play = play
        self.mesh = LabMesh(lab, play)
        address = f"{lab.hosts[SEED].address}:6174"
        self.seed = play.place(SEED, "seed", "bootstrap", "--listen", address, *relay)
        play.start(self.seed)
        play.wait_ready(self.seed)
        text = self.seed.ready["seed"]
        self.a = self._member("a", LEFT, text)
        self.b = self._member("b", RIGHT, text)
        self._become_members()
        for proc in (self.a, self.b):
            play.start(proc)
        for proc in (self.a, self.b):
            play.wait_ready(proc)

    def _member(self, name: str, host: int, seed: str) -> Proc:
        words = ("--listen", f"{HOSTS[host].address}:6174", "--api", "off", "--name", name)
        return self.play.place(host, name, "start", *words, "--seed", seed)

    def _become_members(self) -> None:
        """Let both meet on one host first, as devices do that are set up on a desk."""
        both = (self.a, self.b)
        own = {proc.name: (proc.arguments, self.play.host_of[proc.name]) for proc in both}
        desk = ("start", "--home", str(self.a.home), "--json", "--listen", "127.0.0.1:0")
        self.a.arguments = (*desk, "--api", "off", "--new-mesh", "lab")
        self.play.start(self.a)
        self.play.wait_ready(self.a)
        self.play.host_of["b"] = self.play.host_of["a"]
        with self.play.client(self.a) as client:
            invite = client.invite()["invite"]
        self.play.verb(self.b, "join", invite, "--name", "b").result  # noqa: B018
        self.play.stop(self.a)
        for proc in both:
            proc.arguments, self.play.host_of[proc.name] = own[proc.name]
            (proc.home / "state.cbor").unlink(missing_ok=True)

    def see_each_other(self) -> None:
        for proc in (self.a, self.b):
            with self.play.client(proc) as client:
                until(
                    lambda client=client: any(
                        p["state"] == "alive" and p["load"] for p in client.peers()
                    ),
                    f"{proc.name} sees the other",
                    timeout_s=90,
                )

    def diagnosis(self, proc: Proc, peer: str) -> dict[str, dict[str, object]]:
        verb = self.play.verb(proc, "doctor", "--peer", peer, timeout_s=90)
        assert verb.exit_status in (0, 20, 21), verb.stderr or verb.stdout
        found = json.loads(verb.stdout)["diagnosis"]["findings"]
        print(*(f"  {f['area']}: {f['text']} {f['code']}" for f in found), sep="\n")
        return {f["area"]: f for f in found}


@contextmanager
def divided(left: Site, right: Site, *relay: str) -> Iterator[Divided]:
    with Lab(HOSTS, [left, right]) as lab:
        lab.everywhere(delay_s=0.01)
        with LabPlayground(lab) as play:
            yield Divided(lab, play, *relay)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Kind.FULL_CONE, "met half-way at 20.0.2.1:"),
        (Kind.RESTRICTED, "met half-way at 20.0.2.1:"),
        (Kind.PORT_RESTRICTED, "met half-way at 20.0.2.1:"),
        (Kind.SYMMETRIC, "relayed by 20.0.0.1:6174"),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else "",
)
def test_two_nodes_behind_nats_predict_and_fetch(kind: Kind, path: str) -> None:
    """Where a NAT keeps one outside port for one inside port they meet half-way, else a relay."""
    sites = [
        Site(name="left", kind=kind, outside="20.0.1.1"),
        Site(name="right", kind=kind, outside="20.0.2.1"),
    ]
    relay = ("--relay", "50MB") if kind is Kind.SYMMETRIC else ()
    with divided(*sites, *relay) as field:
        field.see_each_other()
        field.mesh.nodes = {"n0": field.a, "a": field.a, "b": field.b}
        field.mesh.publish(2)
        for door in ("a", "b"):
            assert field.mesh.predict(door).size
        with field.play.client(field.b) as client:
            assert client.status()["modules"]["held"] == 1, "fetched from the other"
        found = field.diagnosis(field.a, "b")
        assert path in str(found["handshake"]["text"])
        assert found["clock"]["level"] == found["version"]["level"] == "ok"


def test_a_node_behind_a_firewall_is_called_back() -> None:
    sites = [Site(name="left"), Site(name="right", kind=Kind.FIREWALL)]
    with divided(*sites) as field:
        field.see_each_other()
        found = field.diagnosis(field.a, "b")
        assert found["tcp there"]["code"] == "MN-119"
        assert found["tcp back"]["level"] == "ok"
