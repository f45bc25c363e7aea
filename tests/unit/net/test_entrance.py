"""Who may shake hands, and who loses a place."""

from meshnode.net.entrance import FIRST_MESSAGES_MAX, Entrance, HalfOpen
from meshnode.net.settings import NetSettings

SETTINGS = NetSettings(half_open_max=4, half_open_per_ip_max=2)


class Guests:
    """An entrance, and the hosts that were asked to give up."""

    def __init__(self, settings: NetSettings = SETTINGS) -> None:
        self.entrance = Entrance(settings)
        self.gone: list[str] = []

    def enter(self, host: str) -> HalfOpen | None:
        return self.entrance.enter(host, lambda: self.gone.append(host))


def test_one_address_has_a_few_places_and_loopback_more() -> None:
    guests = Guests()
    first = guests.enter("8.8.8.8")
    assert first is not None
    assert guests.enter("8.8.8.8")
    assert guests.enter("8.8.8.8") is None
    guests.entrance.leave(first)
    guests.entrance.leave(first)
    assert guests.enter("8.8.8.8")
    assert all(Guests().enter("127.0.0.1") for _ in range(3))


def test_a_full_entrance_gives_the_place_of_the_largest_crowd_to_a_newcomer() -> None:
    guests = Guests()
    for host in ("9.0.0.1", "8.8.8.1", "8.8.8.2", "9.0.1.1"):
        assert guests.enter(host)
    assert guests.enter("1.1.1.1")
    assert guests.gone == ["8.8.8.1"], "the oldest of the /24 that has most"
    assert len(guests.entrance) == 4


def test_who_has_spoken_keeps_the_place() -> None:
    guests = Guests()
    for number in range(4):
        entry = guests.enter(f"9.0.{number}.1")
        assert entry is not None
        assert guests.entrance.knocked(entry, bytes([number]), 0.0)
    assert guests.enter("1.1.1.1") is None
    assert guests.gone == []


def test_a_first_message_opens_the_door_once() -> None:
    guests = Guests(NetSettings())
    one, two = guests.enter("9.0.0.1"), guests.enter("9.1.1.1")
    assert one is not None
    assert two is not None
    assert guests.entrance.knocked(one, b"m", 0.0)
    assert not guests.entrance.knocked(two, b"m", 0.0)


def test_the_first_messages_that_are_remembered_are_bounded() -> None:
    guests = Guests(NetSettings())
    entry = guests.enter("127.0.0.1")
    assert entry is not None
    for number in range(FIRST_MESSAGES_MAX + 50):
        assert guests.entrance.knocked(entry, number.to_bytes(4, "big"), 0.0)
    assert len(guests.entrance._seen) == FIRST_MESSAGES_MAX


def test_a_network_has_so_many_answers_a_second() -> None:
    guests = Guests(NetSettings(handshakes_per_prefix_s=4, handshakes_private_s=16))

    def answered(host: str, now: float) -> int:
        count = 0
        for number in range(50):
            entry = guests.enter(host)
            assert entry is not None
            first = f"{host}/{now}/{number}".encode()
            count += guests.entrance.knocked(entry, first, now)
            guests.entrance.leave(entry)
        return count

    assert answered("8.8.8.8", 0.0) == 4
    assert answered("8.8.8.9", 0.0) == 0, "the same /24"
    assert answered("8.8.8.9", 0.5) == 2
    assert answered("192.168.1.1", 0.0) == 16
    assert answered("127.0.0.1", 0.0) == 50
