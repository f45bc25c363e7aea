"""The token bucket of each prefix."""

import pytest

from meshnode.ids import PublicKey
from meshnode.net import vouched as vouched_module
from meshnode.net.addresses import prefix_of
from meshnode.net.limiter import PREFIXES_MAX, PrefixLimiter
from meshnode.net.vouched import LASTS_S, Vouched


def limiter() -> PrefixLimiter:
    return PrefixLimiter(per_second=8, private_per_second=1024)


def test_a_prefix_gets_a_burst_and_then_its_rate() -> None:
    bucket = limiter()
    assert sum(bucket.allows("8.8.8.8", 0.0) for _ in range(100)) == 8
    assert sum(bucket.allows("8.8.8.9", 0.5) for _ in range(100)) == 4, "the same /24"
    assert bucket.allows("8.8.9.8", 0.5), "another /24"


def test_ipv6_is_counted_by_48_bits() -> None:
    bucket = limiter()
    assert sum(bucket.allows(f"2600:1:1:{n}::1", 0.0) for n in range(100)) == 8
    assert bucket.allows("2600:1:2::1", 0.0)


def test_private_networks_get_a_generous_bucket() -> None:
    bucket = limiter()
    for host in ("127.0.0.1", "192.168.1.4", "fd00::1", "::1"):
        assert sum(bucket.allows(host, 0.0) for _ in range(2000)) == 1024


def test_the_table_is_bounded() -> None:
    bucket = limiter()
    for n in range(PREFIXES_MAX + 100):
        bucket.allows(f"9.{n >> 8}.{n & 255}.1", 0.0)
    assert len(bucket) == PREFIXES_MAX


def site(members: int) -> tuple[PrefixLimiter, Vouched]:
    """A public /24 of which so many members were met, all behind one address."""
    vouched = Vouched()
    for number in range(members):
        vouched.note("8.8.8.8", key(number), 0.0)
    made = PrefixLimiter(per_second=8, private_per_second=1024, vouched=vouched, per_member_s=2)
    return made, vouched


def key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


def test_a_prefix_may_have_more_for_each_member_that_was_met_there() -> None:
    bucket, vouched = site(members=300)
    assert sum(bucket.allows("8.8.8.8", 0.0) for _ in range(2000)) == 608
    assert sum(bucket.allows("8.8.9.8", 0.0) for _ in range(2000)) == 8, "another site"
    later = LASTS_S + 1
    assert sum(bucket.allows("8.8.8.8", later) for _ in range(2000)) == 8
    assert len(vouched) == 0


def test_a_member_is_charged_to_itself_and_heard_when_its_prefix_has_nothing_left() -> None:
    bucket, _ = site(members=1)
    while bucket.allows("8.8.8.8", 0.0, key=key(7)):
        pass
    assert sum(bucket.allows("8.8.8.8", 0.0, key=key(0)) for _ in range(100)) == 2
    assert not bucket.allows("8.8.8.8", 0.0, key=key(0)), "and at its own rate only"
    assert sum(bucket.allows("8.8.9.9", 0.0, key=key(0)) for _ in range(100)) == 8, "met elsewhere"


def test_made_up_keys_raise_no_budget() -> None:
    bucket, vouched = site(members=0)
    assert sum(bucket.allows("8.8.8.8", 0.0, key=key(n)) for n in range(1000)) == 8
    assert len(vouched) == 0


def test_who_is_expelled_counts_no_more() -> None:
    bucket, vouched = site(members=5)
    vouched.forget({key(0)})
    assert sum(bucket.allows("8.8.8.8", 0.0) for _ in range(100)) == 16


def test_the_members_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vouched_module, "MEMBERS_MAX", 4)
    _, vouched = site(members=10)
    assert len(vouched) == 4
    assert vouched.members(prefix_of("8.8.8.8"), 0.0) == 4
