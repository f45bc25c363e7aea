"""Rates: any single second of any host, by its own clock, headers included."""

from meshnode.ids import Contact
from meshnode.machine import Random
from meshnode.sim.links import Link
from meshnode.sim.network import Network, contact_of
from meshnode.sim.rates import Rates
from meshnode.sim.world import World
from meshnode.wire.messages import Glimpses, Nack, Received, Send, Subscribe

ONE, OTHER = contact_of(1), contact_of(2)
SEAL, HEADERS = 88, 28


class Silent:
    """A machine that only listens."""

    def handle(self, event: Received, now: float) -> list[Send]:
        return []

    def tick(self, now: float) -> list[Send]:
        return []

    def next_timer(self) -> None:
        return None


def network() -> Network:
    made = Network(World(), Random(1), Link(), real=True)
    for contact in (ONE, OTHER):
        made.join(contact, Silent())
    return made


def say(made: Network, at: float, entries: int, sender: Contact = ONE) -> None:
    made.world.run(at)
    made.send(sender, Send(OTHER, Glimpses(entries=bytes(30 * entries))))


def test_the_worst_second_is_found_wherever_it_begins() -> None:
    made = network()
    rates = Rates(made, (Glimpses,))
    say(made, 0.9, 10)
    first = rates.worst
    assert 300 + SEAL + HEADERS < first < 300 + SEAL + HEADERS + 48
    say(made, 1.2, 10)
    assert rates.worst == 2 * first, "though a second of the clock ended between them"
    say(made, 2.3, 10)
    assert rates.worst == 2 * first
    assert rates.worst_of == str(ONE.address)


def test_other_kinds_and_other_hosts_do_not_add_up() -> None:
    made = network()
    rates = Rates(made, (Glimpses, Subscribe))
    rates.exempt.add(OTHER.public_key)
    say(made, 0.1, 1)
    one = rates.worst
    made.send(ONE, Send(OTHER, Nack(sequence=1)))
    say(made, 0.2, 30, sender=OTHER)
    assert rates.worst == one
