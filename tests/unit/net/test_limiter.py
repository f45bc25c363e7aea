"""The token bucket of each prefix."""

from meshnode.net.limiter import PREFIXES_MAX, PrefixLimiter


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
