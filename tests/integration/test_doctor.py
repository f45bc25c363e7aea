"""The doctor between two real processes, as a user runs it."""

import pytest

from meshnode.demo.processes import Playground, until
from tests.integration.place import ANY_PORT

pytestmark = pytest.mark.integration


def test_two_nodes_that_reach_each_other_are_well_both_ways() -> None:
    with Playground() as play:
        a = play.add("a", "start", *ANY_PORT, "--name", "a", "--new-mesh", "lab")
        b = play.add("b", "start", *ANY_PORT, "--name", "b")
        play.start(a)
        play.wait_ready(a)
        with play.client(a) as client:
            invite = client.invite()["invite"]
        assert play.verb(b, "join", invite, "--name", "b").exit_status == 0
        play.start(b)
        play.wait_ready(b)
        with play.client(a) as client:
            until(
                lambda: any(p["state"] == "alive" and p["load"] for p in client.peers()),
                "a sees b",
            )
            spare = client.invite()["invite"]
        verb = play.verb(a, "doctor", "--peer", "b")
        found = verb.result["diagnosis"]
        assert verb.exit_status == 0, found
        areas = [f["area"] for f in found["findings"]]
        assert areas == ["handshake", "tcp there", "tcp back", "udp", "mtu", "clock", "version"]
        assert {f["level"] for f in found["findings"]} == {"ok"}
        unknown = play.verb(b, "doctor", "--peer", "nobody")
        assert (unknown.exit_status, unknown.error["code"]) == (4, "MN-125")
        until(
            lambda: play.verb(b, "doctor").exit_status == 0,
            "b is examined and finds itself well",
            timeout_s=60,
        )
        stranger = play.add("stranger", "start")
        for _ in range(2):  # trying it does not use it up
            tried = play.verb(stranger, "doctor", "--invite", spare)
            assert tried.exit_status == 0, tried.stdout
        wrong = play.verb(stranger, "doctor", "--invite", spare[:-1] + "x")
        assert wrong.error["code"] == "MN-104"
        play.kill(b)
        gone = play.verb(a, "doctor", "--peer", "b", timeout_s=90)
        assert gone.exit_status == 21
