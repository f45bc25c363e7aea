"""Attack 15 of network.md: relay abuse and dial-backs as a scanner, each with its defence.

Every attack is run twice: as the code is, where it must fail, and with its one defence switched
off, where it must succeed; so none of these tests passes for another reason than its defence.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import trio

from meshnode.config import home_dir
from meshnode.config.load import load
from meshnode.errors import MeshnodeError
from meshnode.identity.certificates import MEMBER, Certificate, read
from meshnode.identity.keys import Identity
from meshnode.ids import Address, Contact
from meshnode.net import pool as pool_module
from meshnode.net import seed_channel
from meshnode.net.connection import Peer
from meshnode.net.handshaking import initiate
from meshnode.net.tokens import Tokens
from meshnode.net.transport import Transport
from meshnode.node import reach as reach_module
from meshnode.node.opening import open_node
from meshnode.node.rendezvous import Rendezvous
from meshnode.reach.places import Places, PlaceSettings
from meshnode.reach.rate import AskRate
from meshnode.wire.limits import MIB
from meshnode.wire.messages import AskHeld
from meshnode.wire.reach import CallBack, Circuit, DialBack, Examine, OpenCircuit
from tests.integration.rendezvous import NET, Member, field, refused
from tests.unit.net.mesh import BLOB

pytestmark = pytest.mark.integration
FLOOD_BYTES = 4 * MIB
DEFENDED = pytest.mark.parametrize("defended", [True, False], ids=["defended", "switched-off"])


def switch_off(patch: pytest.MonkeyPatch, owner: object, name: str, instead: Callable) -> None:
    patch.setattr(owner, name, instead)


async def test_members_speak_through_a_relay(tmp_path: Path) -> None:
    async with field(tmp_path) as place, trio.open_nursery() as nursery:
        a, b = await place.member(), await place.member()
        await b.reserve()
        connection = await a.through(b.contact)
        nursery.start_soon(connection.run, a.answer)
        assert connection.peer.relayed
        assert (await connection.call(AskHeld(blobs=(BLOB,)))).held == (True,)
        connection.close("done")


@DEFENDED
async def test_no_circuit_leads_into_another_mesh(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not defended:
        find = Places.find

        def anywhere(self: Places, network: bytes, node_id: bytes, now: float) -> Contact:
            return find(self, self._places[node_id].network, node_id, now)

        switch_off(monkeypatch, Places, "find", anywhere)
        switch_off(monkeypatch, Rendezvous, "_check_connected", lambda *_: None)
    async with field(tmp_path) as place:
        victim, attacker = await place.member("home"), await place.member("elsewhere")
        await victim.reserve()
        opened = not await refused(attacker.ask(OpenCircuit(target=victim.identity.node_id)))
        assert opened is not defended


@DEFENDED
async def test_no_call_back_leads_into_another_mesh(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not defended:
        switch_off(monkeypatch, Rendezvous, "_check_connected", lambda *_: None)
    async with field(tmp_path) as place:
        victim, attacker = await place.member("home"), await place.member("elsewhere")
        await victim.reserve()
        request = CallBack(target=victim.identity.node_id, port=22)
        assert await refused(attacker.ask(request)) is defended
        assert (victim.asked == []) is defended


@DEFENDED
async def test_only_those_with_a_place_are_led_to(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with field(tmp_path) as place:
        a, b = await place.member(), await place.member()
        await b.ask(Examine(port=1, token=bytes(32)))  # connected, and no more
        if not defended:
            switch_off(monkeypatch, Places, "find", lambda *_: b.contact)
        assert await refused(a.ask(OpenCircuit(target=b.identity.node_id))) is defended


@DEFENDED
async def test_a_stranger_without_a_membership_is_not_served(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows the certificate of somebody else: the chain is good, but the key is another."""
    if not defended:
        verify = seed_channel.verify_member

        def whoever(chain, *, subject, **rest):
            return verify(chain, subject=read(chain[-1]).subject, **rest)

        switch_off(monkeypatch, seed_channel, "verify_member", whoever)
    async with field(tmp_path) as place:
        victim, stranger = await place.member(), await place.member()
        await victim.reserve()
        stranger.to_seed._channel.identity = Identity.generate()
        request = OpenCircuit(target=victim.identity.node_id)
        assert await refused(stranger.ask(request)) is defended


@DEFENDED
async def test_a_circuit_ends_with_its_bytes(tmp_path: Path, defended: bool) -> None:
    over = {"mesh.relay_circuit": "1MiB" if defended else "1GiB"}
    async with field(tmp_path, **over) as place:
        a, b = await place.member(), await place.member()
        b.sinks = True
        await b.reserve()
        reply = await a.ask(OpenCircuit(target=b.identity.node_id))
        assert isinstance(reply, Circuit)
        near = await a.enter(reply.token)
        try:
            with trio.fail_after(30):
                for _ in range(64):
                    await near.send_all(bytes(64 * 1024))
                while b.sunk < FLOOD_BYTES:  # noqa: ASYNC110 - a count has no event
                    await trio.sleep(0.01)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError):
            assert b.sunk <= MIB
        finally:
            near.close()
        assert (b.sunk == FLOOD_BYTES) is not defended


@DEFENDED
async def test_one_peer_cannot_take_every_circuit(tmp_path: Path, defended: bool) -> None:
    async with field(tmp_path) as place:
        peer_max = 3 if defended else 1000
        place.seed.rendezvous.places.settings = PlaceSettings(circuits_per_peer_max=peer_max)
        a, b = await place.member(), await place.member()
        await b.reserve()
        request = OpenCircuit(target=b.identity.node_id)
        outcomes = [await refused(a.ask(request)) for _ in range(5)]
        assert outcomes == ([False] * 3 + [True] * 2 if defended else [False] * 5)


@DEFENDED
async def test_the_token_of_another_opens_nothing(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not defended:
        switch_off(monkeypatch, Tokens, "is_for", lambda *_: True)
    async with field(tmp_path) as place:
        a, b, thief = await place.member(), await place.member(), await place.member()
        await b.reserve()
        reply = await a.ask(OpenCircuit(target=b.identity.node_id))
        assert isinstance(reply, Circuit)
        assert await heard_at_all(thief, reply.token) is not defended


async def heard_at_all(thief: Member, token: bytes) -> bool:
    """Whether who comes with a token gets the end of a pipe, in which the other end speaks to it.

    Message 1 of a handshake is answered through the pipe, and by nobody else.
    """
    try:
        with trio.fail_after(10):
            transport = await thief.enter(token)
    except (MeshnodeError, OSError, trio.BrokenResourceError, trio.TooSlowError):
        return False
    try:
        with trio.fail_after(10):
            await initiate(transport, thief.channel, expect=None)
    except (MeshnodeError, OSError, trio.BrokenResourceError, trio.TooSlowError):
        return False
    finally:
        transport.close()
    return True


@DEFENDED
async def test_a_relay_cannot_put_another_node_at_the_end(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay leads to a member of its choice, who has a good certificate but another key."""
    if not defended:

        async def trusting(transport, channel, *, expect, psk):
            return await initiate(transport, channel, expect=None, psk=psk)

        switch_off(monkeypatch, pool_module, "initiate", trusting)
    async with field(tmp_path) as place:
        a, wanted, impostor = await place.member(), await place.member(), await place.member()
        await impostor.reserve()
        reply = await a.ask(OpenCircuit(target=impostor.identity.node_id))
        assert isinstance(reply, Circuit)
        pipe = await a.enter(reply.token)
        expected = replace(wanted.contact, address=impostor.contact.address)
        assert await refused(pool_module.secure(pipe, expected, a.channel, NET)) is defended
        pipe.close()


# ---------------------------------------------------------------- scanners


@DEFENDED
async def test_a_dial_back_reaches_no_internal_address_elsewhere(
    tmp_path: Path, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service listens on another block of loopback, as on another LAN; is it connected to?"""
    if not defended:
        switch_off(monkeypatch, reach_module, "may_dial", lambda *_, **__: True)
    home = home_dir(tmp_path / "a")
    config = load(home, {"mesh.listen": "127.0.0.1:0", "api.listen": "off"})
    async with open_node(config, home, probe_port=False) as node, trio.open_nursery() as nursery:
        visited = trio.Event()
        (service,) = await trio.open_tcp_listeners(0, host="127.77.0.1")

        async def accept() -> None:
            await (await service.accept()).aclose()
            visited.set()

        nursery.start_soon(accept)
        port = service.socket.getsockname()[1]
        inside = Contact(Identity.generate().public_key, Address("127.77.0.1", port))
        said = await refused(
            node.parts.reach.answer(asker("198.51.100.4"), DialBack(contact=inside))
        )
        assert said is defended
        if not defended:
            with trio.fail_after(20):
                await visited.wait()
        assert visited.is_set() is not defended
        nursery.cancel_scope.cancel()
        await service.aclose()


def asker(host: str) -> Peer:
    """A member that asks from this host."""
    identity = Identity.generate()
    certificate = Certificate(
        network=bytes(16),
        subject=identity.public_key,
        issuer=identity.public_key,
        roles=MEMBER,
        name="asker",
        not_before=0,
        not_after=1,
    )
    return Peer(
        public_key=identity.public_key,
        node_id=identity.node_id,
        certificate=certificate,
        invite=None,
        address=Address(host, 5),
    )


async def let_go(transport: Transport) -> None:
    """A connection that came with a token has shown what it should."""


async def test_an_examination_leads_nowhere_but_back_to_the_asker(tmp_path: Path) -> None:
    """There is no field for a host, so that nothing can be examined but one's own."""
    assert [f.name for f in fields(Examine)] == ["port", "token"]
    async with field(tmp_path) as place:
        a = await place.member()
        token = a.tokens.make(place.seed.contact.public_key, let_go)
        found = await a.ask(Examine(port=a.contact.address.port, token=token))
        assert (found.reached, found.host, found.because) == (True, "127.0.0.1", "")
        closed = await a.ask(Examine(port=1, token=bytes(32)))
        assert not closed.reached
        assert "refused" in closed.because


@DEFENDED
async def test_an_examination_needs_the_asker_and_not_anybody_at_its_address(
    tmp_path: Path, defended: bool
) -> None:
    """Another member listens at the port: it does not have the token, so it proves nothing."""
    async with field(tmp_path) as place:
        a, other = await place.member(), await place.member()
        holder = other if defended else a
        token = a.tokens.make(place.seed.contact.public_key, let_go)
        found = await a.ask(Examine(port=holder.contact.address.port, token=token))
        assert found.reached is not defended


@DEFENDED
async def test_asking_has_a_rate(tmp_path: Path, defended: bool) -> None:
    async with field(tmp_path) as place:
        if not defended:
            place.seed.rendezvous._asks = AskRate(every_s=1e-9, burst=10**9)
        a, b = await place.member(), await place.member()
        await b.reserve()
        request = CallBack(target=b.identity.node_id, port=a.contact.address.port)
        outcomes = [await refused(a.ask(request)) for _ in range(40)]
        assert any(outcomes) is defended
