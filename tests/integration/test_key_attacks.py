"""Attacks on a mesh's keys over real sockets, each with its defence and with the defence off."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import product

import pytest
import trio

from meshnode.errors import MeshnodeError, NotAMember, PeerUnreachable, RemoteProtocolError
from meshnode.identity.certificates import read
from meshnode.identity.keyring import Keyring, RingKey, Stage, catch_up_of, first_keyring
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh
from meshnode.ids import Contact, PublicKey
from meshnode.net.catching_up import LateChannel, catch_up
from meshnode.net.channel import MeshChannel, Standing, read_payload
from meshnode.net.connection import Connection, Peer
from meshnode.net.pool import connect, connect_under
from meshnode.wire.messages import (
    AskHeld,
    Failure,
    Held,
    Reconcile,
    Reconciled,
    Reply,
    Request,
)
from tests.integration.listening import QUICK, Node, node
from tests.unit.net.mesh import ALICE, BLOB, BOB, EVE, NETWORK, NOW, certificate_of, mesh_of

pytestmark = pytest.mark.integration
OLD, NEW = b"m" * 32, b"w" * 32
ASK = AskHeld(blobs=(BLOB,))
QUESTION = Reconcile(keys=bytes(16), revocations=bytes(16))
ANSWER = Reconciled(keys=bytes(16), revocations=bytes(16), body=(b"keys",))


def ring(stage: Stage | None = None) -> Keyring:
    made = first_keyring(NETWORK, OLD)
    if stage is not None:
        made.take(RingKey(epoch=1, key=NEW, stage=stage))
    return made


def channel(
    identity: Identity,
    keys: Keyring,
    *,
    revoked: Iterable[PublicKey] = (),
    mesh: Mesh | None = None,
) -> MeshChannel:
    gone = frozenset(revoked)
    return MeshChannel(
        identity,
        mesh or mesh_of(identity),
        invites=None,
        unix_now=lambda: NOW,
        keys=keys,
        revoked=lambda: gone,
    )


async def answers(peer: Peer, request: Request) -> Reply:
    """Hands out keys to whoever gets so far, and answers members."""
    return ANSWER if isinstance(request, Reconcile) else Held(held=(True,))


@asynccontextmanager
async def alice(keys: Keyring, *, revoked: Iterable[PublicKey] = ()) -> AsyncIterator[Node]:
    async with node(ALICE, answers, channel=channel(ALICE, keys, revoked=revoked)) as a:
        yield a


async def said_to(contact: Contact, caller: MeshChannel, psk: bytes) -> bytes:
    """What comes back for a first message under a psk, until the other side closes."""
    from meshnode.identity.handshake import Handshake

    shake = Handshake(
        caller.identity,
        initiator=True,
        psks=[psk],
        prologue=caller.prologue(),
        payload=caller.payload(),
    )
    first = shake.start()
    stream = await trio.open_tcp_stream(contact.address.host, contact.address.port)
    async with stream:
        await stream.send_all(len(first).to_bytes(2, "big") + first)
        return bytes(await stream.receive_some(4096))


async def call(connection: Connection, request: Request) -> Reply:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run, answers)
        try:
            return await connection.call(request)
        except MeshnodeError as error:
            return Failure(code=error.code, message=f"{error} {error.because}")
        finally:
            nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- 12: wrong and old psk


@pytest.mark.parametrize(
    ("stage", "answered"),
    [(Stage.ACCEPT, True), (Stage.USE, True), (Stage.RETIRE, False)],
    ids=["defence off: accepted", "defence off: kept", "retired"],
)
async def test_an_old_psk_is_met_with_silence_once_it_is_retired(
    stage: Stage, answered: bool
) -> None:
    async with alice(ring(stage)) as a:
        caller = channel(BOB, ring())
        assert bool(await said_to(a.contact, caller, OLD)) is answered
        assert await said_to(a.contact, caller, b"x" * 32) == b""


# ---------------------------------------------------------------- 13: half-done, merged, expelled


def _any_root_will_do(
    self: MeshChannel, peer_key: PublicKey, payload: bytes, psk: bytes
) -> Standing:
    return Standing(certificate=read(read_payload(payload)[1][-1]), invite=None)


STEPS: list[Stage | None] = [None, Stage.ACCEPT, Stage.USE, Stage.RETIRE]


@pytest.mark.parametrize(
    ("calling", "called"),
    [(a, b) for a, b in product(STEPS, STEPS) if {a, b} != {None, Stage.RETIRE}],
)
async def test_members_at_any_two_steps_of_a_replacement_reach_each_other(
    calling: Stage | None, called: Stage | None
) -> None:
    """But for one that missed both orders where the old key is retired: it catches up first."""
    async with alice(ring(called)) as a:
        connection = await connect(a.contact, channel(BOB, ring(calling)), QUICK)
        assert await call(connection, ASK) == Held(held=(True,))


@pytest.mark.parametrize("defended", [True, False])
async def test_a_replacement_that_stopped_half_way_cuts_nobody_off(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """One has heard that the new key is to be used, the other only that it is accepted."""
    if not defended:  # each holds to the one key that it speaks under
        accepted = Keyring.accepted_keys
        monkeypatch.setattr(Keyring, "accepted_keys", lambda self: accepted(self)[:1])
    for calling, called in ((Stage.ACCEPT, Stage.USE), (Stage.USE, Stage.ACCEPT)):
        async with alice(ring(called)) as a:
            try:
                connection = await connect(a.contact, channel(BOB, ring(calling)), QUICK)
                reached = await call(connection, ASK) == Held(held=(True,))
            except RemoteProtocolError:
                reached = False
        assert reached is defended


@pytest.mark.parametrize("defended", [True, False])
async def test_a_mesh_with_the_same_network_id_and_another_key_does_not_merge(
    defended: bool,
) -> None:
    theirs = first_keyring(NETWORK, b"t" * 32) if defended else ring()
    async with alice(ring()) as a:
        caller = channel(BOB, theirs)
        if defended:
            with pytest.raises(RemoteProtocolError):
                await connect(a.contact, caller, QUICK)
            assert await said_to(a.contact, caller, b"t" * 32) == b""
        else:  # one key for both
            assert await call(await connect(a.contact, caller, QUICK), ASK) == Held(held=(True,))


@pytest.mark.parametrize("defended", [True, False])
async def test_a_mesh_with_the_same_key_and_another_root_does_not_merge(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    root = Identity.generate()
    foreign = Mesh(
        name="other", root_key=root.public_key, mesh_key=OLD, chain=(certificate_of(EVE),)
    )
    async with alice(ring()) as a:
        caller = channel(EVE, ring(), mesh=foreign)
        if not defended:  # one prologue, and any root will do
            caller.prologue = lambda: channel(ALICE, ring()).prologue()  # type: ignore[method-assign]
            monkeypatch.setattr(MeshChannel, "check", _any_root_will_do)
            assert await call(await connect(a.contact, caller, QUICK), ASK) == Held(held=(True,))
            return
        with pytest.raises(RemoteProtocolError):
            await connect(a.contact, caller, QUICK)
        assert await said_to(a.contact, caller, OLD) == b""
        caller.prologue = lambda: channel(ALICE, ring()).prologue()  # type: ignore[method-assign]
        with pytest.raises(NotAMember, match="another mesh"):
            await connect(a.contact, caller, QUICK)


@pytest.mark.parametrize("defended", [True, False])
async def test_an_expelled_member_opens_no_channel_though_it_has_the_key(defended: bool) -> None:
    async with alice(ring(), revoked=[BOB.public_key] if defended else []) as a:
        reply = await call(await connect(a.contact, channel(BOB, ring()), QUICK), ASK)
        if defended:
            assert isinstance(reply, Failure)
            assert "revoked" in reply.message
        else:
            assert reply == Held(held=(True,))


@pytest.mark.parametrize("defended", [True, False])
async def test_a_member_calls_nobody_that_is_expelled(defended: bool) -> None:
    async with alice(ring()) as a:
        gone = [ALICE.public_key] if defended else []
        caller = channel(BOB, ring(), revoked=gone)
        if defended:
            with pytest.raises(NotAMember, match="revoked"):
                await connect(a.contact, caller, QUICK)
        else:
            assert await call(await connect(a.contact, caller, QUICK), ASK) == Held(held=(True,))


async def test_open_connections_of_the_expelled_are_closed() -> None:
    async with alice(ring()) as a, node(BOB, answers, channel=channel(BOB, ring())) as b:
        await b.pool.call(a.contact, ASK)
        assert a.pool.expel({EVE.public_key}) == []
        assert len(a.pool) == 1
        assert a.pool.expel({BOB.public_key}) == [BOB.public_key]
        with trio.fail_after(10):
            while len(b.pool):  # noqa: ASYNC110 - the other side's end has no event here
                await trio.sleep(0.01)


# ---------------------------------------------------------------- the door of those who slept


async def ask_late(contact: Contact, caller: MeshChannel, keys: Keyring) -> Reconciled:
    late = LateChannel(caller, keys.late_keys())
    return await catch_up(contact, late, QUESTION, QUICK, timeout_s=5)


async def test_a_member_that_slept_gets_the_keys_by_its_certificate() -> None:
    async with alice(ring(Stage.RETIRE)) as a:
        assert (await ask_late(a.contact, channel(BOB, ring()), ring())).keys == ANSWER.keys


async def test_the_door_opens_for_one_question_only() -> None:
    async with alice(ring(Stage.RETIRE)) as a:
        late = LateChannel(channel(BOB, ring()), ring().late_keys())
        reply = await call(await connect(a.contact, late, QUICK), ASK)
        assert isinstance(reply, Failure)
        assert "only" in reply.message
        assert len(a.pool) == 0, "it is no connection for own calls either"


@pytest.mark.parametrize("defended", [True, False])
async def test_the_door_is_shut_to_the_expelled(defended: bool) -> None:
    async with alice(ring(Stage.RETIRE), revoked=[BOB.public_key] if defended else []) as a:
        if defended:
            with pytest.raises(PeerUnreachable) as refused:
                await ask_late(a.contact, channel(BOB, ring()), ring())
            assert "revoked" in str(refused.value.because)
        else:
            assert await ask_late(a.contact, channel(BOB, ring()), ring())


@pytest.mark.parametrize("forged", ["no certificate", "another's", "expired"])
async def test_the_door_is_shut_to_whoever_has_an_old_key_and_no_membership(forged: str) -> None:
    """An old key that leaked is no way in."""
    async with alice(ring(Stage.RETIRE)) as a:
        caller = channel(EVE, ring())
        payload = {
            "no certificate": b"",
            "another's": channel(BOB, ring()).payload(),
            "expired": channel(EVE, ring(), mesh=mesh_of(EVE, until=NOW - 10)).payload(),
        }[forged]
        caller.payload = lambda: payload  # type: ignore[method-assign]
        with pytest.raises(MeshnodeError):
            await ask_late(a.contact, caller, ring())
        assert await ask_late(a.contact, channel(BOB, ring()), ring())


async def test_the_present_key_does_not_open_the_door_of_the_retired() -> None:
    async with alice(ring(Stage.RETIRE)) as a:
        caller = channel(BOB, ring(Stage.RETIRE))
        with pytest.raises(RemoteProtocolError):
            await connect_under(catch_up_of(NEW), a.contact, caller, QUICK)
