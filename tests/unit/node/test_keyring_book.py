"""The book of keys and revocations: kept over a restart, and merged with nothing that is false."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import IdentityError, NotAMember, RemoteProtocolError
from meshnode.identity.certificates import ALL_ROLES
from meshnode.identity.keyring import RingKey, Stage, next_key
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import Mesh, admit, found
from meshnode.identity.orders import sign_order
from meshnode.identity.revocations import Revocation, revoke
from meshnode.node.keyring_book import FALLEN_MAX, MeshBook
from meshnode.wire import cbor

NOW = 1_800_000_000.0
FOUNDER, ADMIN, VICTIM = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
MESH, _ = found(FOUNDER, "home", NOW)
ADMINS = admit(FOUNDER, MESH.chain, ADMIN.public_key, name="admin", roles=ALL_ROLES, now_unix=NOW)


def book(folder: Path, mesh: Mesh = MESH) -> MeshBook:
    return MeshBook(folder / "keyring.cbor", folder / "revocations.cbor", mesh, lambda: NOW)


def ordered(
    of: MeshBook, stage: Stage = Stage.ACCEPT, by: Identity = FOUNDER, fill: int = 9
) -> RingKey:
    chain = MESH.chain if by is FOUNDER else ADMINS
    made = next_key(of.ring, bytes([fill]) * 32)
    key = RingKey(epoch=made.epoch, key=made.key, stage=stage)
    return sign_order(by, chain, MESH.network, key)


def expelled(subject: Identity, by: Identity = FOUNDER) -> Revocation:
    chain = MESH.chain if by is FOUNDER else ADMINS
    key = subject.public_key
    return revoke(by, chain, MESH.network, key, name="x", reason="stolen", now_unix=NOW)


def test_what_one_has_the_other_gets_and_keeps(tmp_path: Path) -> None:
    one, other = book(tmp_path / "1"), book(tmp_path / "2")
    one.take_key(ordered(one, Stage.USE))
    one.add_revocations([expelled(VICTIM)])
    assert one.digests != other.digests
    assert other.merge(one.to_bytes())
    assert not other.merge(one.to_bytes()), "the second time it is no news"
    again = book(tmp_path / "2")
    assert again.digests == other.digests == one.digests
    assert again.ring.mesh_key == b"\x09" * 32
    assert again.expelled == {VICTIM.public_key}
    assert (tmp_path / "2" / "keyring.cbor").stat().st_mode & 0o777 == 0o600


def test_nobody_has_a_new_key_without_knowing_whom_it_was_made_against(tmp_path: Path) -> None:
    one, other = book(tmp_path / "1"), book(tmp_path / "2")
    one.add_revocations([expelled(VICTIM)])
    one.take_key(ordered(one, Stage.USE))
    known: list[bool] = []
    other.on_keys = lambda: known.append(VICTIM.public_key in other.expelled)
    other.merge(one.to_bytes())
    assert known == [True]


def test_an_order_of_an_admin_that_is_revoked_in_the_same_breath_is_not_followed(
    tmp_path: Path,
) -> None:
    one, other = book(tmp_path / "1"), book(tmp_path / "2")
    one.take_key(ordered(one, Stage.USE, by=ADMIN))
    one.add_revocations([expelled(ADMIN)])
    other.merge(one.to_bytes())
    assert other.ring.current.epoch == 0
    assert ADMIN.public_key in other.expelled
    unaware = book(tmp_path / "3")  # the defence off: without the revocation it is followed
    unaware.merge(cbor.dumps([cbor.loads(one.to_bytes(), bytes_max=10**6)[0], []]))
    assert unaware.ring.current.epoch == 1


def test_after_the_revoked_admins_key_another_one_is_followed(tmp_path: Path) -> None:
    one = book(tmp_path / "1")
    one.take_key(ordered(one, Stage.RETIRE, by=ADMIN))
    one.add_revocations([expelled(ADMIN)])
    one.take_key(ordered(one, Stage.USE, fill=7))
    assert one.ring.mesh_key == b"\x07" * 32


def test_what_is_false_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    one, other = book(tmp_path / "1"), book(tmp_path / "2")
    key = ordered(one)
    forged = bytearray(key.order)
    forged[-1] ^= 1
    stranger = Identity.generate()
    foreign, _ = found(stranger, "other", NOW)
    theirs = sign_order(stranger, foreign.chain, foreign.network, key)
    before = other.digests
    for body in (
        b"",
        cbor.dumps([[], []])[:-1],
        cbor.dumps([[[bytes(forged), key.key, list(key.chain)]], []]),
        cbor.dumps([[[key.order, b"k" * 32, list(key.chain)]], []]),
        cbor.dumps([[[key.order, key.key]], []]),
        cbor.dumps([[[key.order, key.key, [1]]], []]),
        cbor.dumps([[], [[list(MESH.chain), [b"junk"]]]]),
        cbor.dumps([[[key.order, key.key, list(key.chain)]] * 4, []]),
    ):
        with pytest.raises((RemoteProtocolError, NotAMember)):
            other.merge(body)
        assert other.digests == before
    assert not other.merge(cbor.dumps([[[theirs.order, theirs.key, list(theirs.chain)]], []]))
    assert other.digests == before


def test_an_older_state_takes_nothing_back(tmp_path: Path) -> None:
    one, other = book(tmp_path / "1"), book(tmp_path / "2")
    one.take_key(ordered(one))
    old = one.to_bytes()
    other.merge(old)
    newest = one.ring.newest
    for stage in (Stage.USE, Stage.RETIRE):
        further = RingKey(epoch=newest.epoch, key=newest.key, stage=stage)
        one.take_key(sign_order(FOUNDER, MESH.chain, MESH.network, further))
    one.add_revocations([expelled(VICTIM)])
    digests = one.digests
    assert not one.merge(old)
    assert one.digests == digests


def test_damaged_files(tmp_path: Path) -> None:
    one = book(tmp_path)
    one.take_key(ordered(one))
    one.add_revocations([expelled(VICTIM)])
    (tmp_path / "revocations.cbor").write_bytes(cbor.dumps({"format": 1}))
    assert len(book(tmp_path).revocations) == 0, "they are learnt again"
    (tmp_path / "keyring.cbor").write_bytes(b"junk")
    with pytest.raises(IdentityError, match="damaged"):
        book(tmp_path)


def test_revocations_on_disk_are_verified_like_any_others(tmp_path: Path) -> None:
    one = book(tmp_path)
    one.add_revocations([expelled(VICTIM)])
    saved = cbor.loads((tmp_path / "revocations.cbor").read_bytes(), bytes_max=10**6)
    saved["all"][0][1][0] = saved["all"][0][1][0][:-1] + b"x"
    (tmp_path / "revocations.cbor").write_bytes(cbor.dumps(saved))
    assert book(tmp_path).expelled == frozenset()


def test_the_files_of_another_mesh_are_not_used(tmp_path: Path) -> None:
    one = book(tmp_path)
    one.take_key(ordered(one, Stage.USE))
    one.add_revocations([expelled(VICTIM)])
    other, _ = found(Identity.generate(), "other", NOW)
    moved = book(tmp_path, other)
    assert moved.ring.accepted_keys() == (other.mesh_key,)
    assert moved.expelled == frozenset()


def test_one_below_a_revoked_key_may_come_back_with_another_certificate(tmp_path: Path) -> None:
    one = book(tmp_path)
    changes: list[int] = []
    one.on_revoked = lambda: changes.append(len(one.expelled))
    one.judged(VICTIM.public_key, False)
    one.judged(VICTIM.public_key, True)
    one.judged(VICTIM.public_key, True)
    one.judged(VICTIM.public_key, False)
    assert changes == [1, 0]
    for n in range(FALLEN_MAX + 5):
        one.judged(n.to_bytes(32, "big"), True)  # type: ignore[arg-type]
    assert len(one.expelled) == FALLEN_MAX


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_change_to_what_is_sent_is_refused_or_no_news(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        one, other = book(Path(folder) / "1"), book(Path(folder) / "2")
        one.take_key(ordered(one))
        one.add_revocations([expelled(VICTIM)])
        body = bytearray(one.to_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
        if data.draw(st.booleans()):
            del body[data.draw(st.integers(0, len(body) - 1)) :]
        with suppress(RemoteProtocolError, NotAMember):
            other.merge(bytes(body))
        assert other.expelled <= {VICTIM.public_key}
        assert set(other.ring.accepted_keys()) <= {MESH.mesh_key, b"\x09" * 32}
