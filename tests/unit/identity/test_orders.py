"""Orders about mesh keys: an admin's, for this mesh, about this key, or nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.errors import NotAMember, RemoteProtocolError, Revoked, RoleMissing
from meshnode.identity.certificates import ALL_ROLES, MEMBER
from meshnode.identity.cose import sign1
from meshnode.identity.keyring import RingKey, Stage, catch_up_of, key_id_of
from meshnode.identity.keys import Identity
from meshnode.identity.orders import AAD, MeshRules, sign_order, verify_order
from meshnode.wire import cbor
from tests.unit.identity.page import vector
from tests.unit.identity.test_certificates import NETWORK, NODES, NOW, ROOT, line

RULES = MeshRules(root_key=ROOT.public_key, network=NETWORK, now_unix=NOW)
ADMIN, OTHER = NODES[0], NODES[1]
CHAIN = tuple(line(ALL_ROLES))
KEY = RingKey(epoch=1, key=b"k" * 32, stage=Stage.ACCEPT)
ORDERED = sign_order(ADMIN, CHAIN, NETWORK, KEY)


def test_an_admins_order_is_followed() -> None:
    found = verify_order(ORDERED.order, KEY.key, CHAIN, RULES)
    assert found == ORDERED
    assert KEY.key not in ORDERED.order, "an order does not give the key away"


def test_only_an_admin_orders() -> None:
    chain = tuple(line(ALL_ROLES, MEMBER))
    with pytest.raises(RoleMissing):
        sign_order(OTHER, chain, NETWORK, KEY)
    payload = cbor.dumps([NETWORK, 1, KEY.key_id, 1])
    with pytest.raises(NotAMember, match="no admin"):
        verify_order(sign1(OTHER, payload, aad=AAD), KEY.key, chain, RULES)


def test_a_revoked_admin_orders_nothing() -> None:
    with pytest.raises(Revoked):
        verify_order(ORDERED.order, KEY.key, CHAIN, replace(RULES, revoked={ADMIN.public_key}))


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ([b"x" * 16, 1, KEY.key_id, 1], KEY.key),
        ([NETWORK, 0, KEY.key_id, 1], KEY.key),
        ([NETWORK, 2**40, KEY.key_id, 1], KEY.key),
        ([NETWORK, 1, KEY.key_id, 4], KEY.key),
        ([NETWORK, 1, KEY.key_id, 1], b"x" * 32),
        ([NETWORK, 1, KEY.key_id], KEY.key),
        ([NETWORK, True, KEY.key_id, 1], b"x" * 32),
        ([NETWORK, 1, KEY.key_id, 1], b"short"),
    ],
)
def test_an_order_of_another_form_is_refused(fields: list[object], key: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        verify_order(sign1(ADMIN, cbor.dumps(fields), aad=AAD), key, CHAIN, RULES)


def test_a_changed_order_and_a_foreign_signature_are_refused() -> None:
    changed = bytearray(ORDERED.order)
    changed[-1] ^= 1
    with pytest.raises(RemoteProtocolError):
        verify_order(bytes(changed), KEY.key, CHAIN, RULES)
    as_revocation = sign1(ADMIN, cbor.dumps([NETWORK, 1, KEY.key_id, 1]), aad=b"other")
    with pytest.raises(RemoteProtocolError):
        verify_order(as_revocation, KEY.key, CHAIN, RULES)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_order_or_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        verify_order(data, KEY.key, CHAIN, RULES)


def test_the_vector_on_the_page() -> None:
    page = vector("key-order")
    admin, key = Identity.from_seed(page["admin seed"]), page["mesh key"]
    assert key_id_of(key) == page["key id"]
    assert catch_up_of(key) == page["catch-up key"]
    payload = cbor.dumps([page["network id"], 7, page["key id"], 2])
    assert sign1(admin, payload, aad=AAD) == page["order of epoch 7 USE"]
