"""Reconciling: who is answered, and with what."""

from pathlib import Path

import pytest

from meshnode.errors import NotAMember, Revoked
from meshnode.identity.certificates import read
from meshnode.ids import Address, PublicKey, node_id_of
from meshnode.machine import Random
from meshnode.net.connection import Peer
from meshnode.node.keyring_book import MeshBook
from meshnode.node.keyring_reconciling import Reconciling
from meshnode.wire.messages import Reconcile
from tests.unit.node.test_keyring_book import ADMIN, ADMINS, VICTIM, book, expelled, ordered


def reconciling(of: MeshBook) -> Reconciling:
    return Reconciling(
        of,
        pool=None,  # type: ignore[arg-type]  # it answers; it does not call
        channel=None,  # type: ignore[arg-type]
        membership=None,  # type: ignore[arg-type]
        known=list,
        rng=Random(1),
    )


def peer(*, member: bool = True, lagging: bool = False, line: tuple[PublicKey, ...] = ()) -> Peer:
    certificate = read(ADMINS[-1])
    return Peer(
        public_key=ADMIN.public_key,
        node_id=node_id_of(ADMIN.public_key),
        certificate=certificate if member else None,
        invite=None,
        address=Address("192.0.2.1", 1),
        lagging=certificate if lagging else None,
        line=line,
    )


def asked_by(other: MeshBook, *, tells: bool = False) -> Reconcile:
    keys, revocations = other.digests
    body = (other.to_bytes(),) if tells else ()
    return Reconcile(keys=keys, revocations=revocations, body=body)


def test_the_same_digests_cost_no_body(tmp_path: Path) -> None:
    one, other = book(tmp_path / "1"), book(tmp_path / "2")
    reply = reconciling(one).answer(peer(), asked_by(other))
    assert (reply.keys, reply.revocations) == one.digests
    assert reply.body == ()


@pytest.mark.parametrize("lagging", [True, False])
def test_whoever_lacks_something_gets_it(tmp_path: Path, lagging: bool) -> None:
    one, other = book(tmp_path / "1"), book(tmp_path / "2")
    one.take_key(ordered(one))
    asking = peer(member=not lagging, lagging=lagging)
    reply = reconciling(one).answer(asking, asked_by(other))
    assert other.merge(b"".join(map(bytes, reply.body)))
    assert other.digests == one.digests == (reply.keys, reply.revocations)


def test_what_is_told_is_taken_and_confirmed(tmp_path: Path) -> None:
    one, other = book(tmp_path / "1"), book(tmp_path / "2")
    other.take_key(ordered(other))
    other.add_revocations([expelled(VICTIM)])
    reply = reconciling(one).answer(peer(), asked_by(other, tells=True))
    assert (reply.keys, reply.revocations) == other.digests
    assert reply.body == ()


def test_a_joiner_is_told_nothing(tmp_path: Path) -> None:
    one = book(tmp_path)
    with pytest.raises(NotAMember):
        reconciling(one).answer(peer(member=False), asked_by(one))


@pytest.mark.parametrize("lagging", [True, False])
def test_a_channel_that_is_older_than_the_expulsion_carries_no_new_key(
    tmp_path: Path, lagging: bool
) -> None:
    one, other = book(tmp_path / "1"), book(tmp_path / "2")
    asking = peer(member=not lagging, lagging=lagging, line=(ADMIN.public_key,))
    assert reconciling(one).answer(asking, asked_by(other))
    one.add_revocations([expelled(ADMIN)])
    one.take_key(ordered(one))
    with pytest.raises(Revoked):
        reconciling(one).answer(asking, asked_by(other))
