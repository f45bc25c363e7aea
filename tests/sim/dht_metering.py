"""What DHT datagrams weigh on the wire: the codec's bytes, cookies, padding, sealing, IP and UDP.

The simulated network carries values. `Meter` encodes each question and answer as a node's socket
does (`net/datagrams.py`): a cookie for the other end, the other end's cookie back if we hold one,
a first question padded to what its answer may need.
"""

from collections import Counter

from meshnode.identity.sealing import PLAINTEXT_BYTES_MAX
from meshnode.ids import Contact, PublicKey
from meshnode.net.trimming import answer_bytes, is_question
from meshnode.wire.codec import Envelope, encode_datagram
from meshnode.wire.limits import SEALING_BYTES
from meshnode.wire.messages import Send
from tests.sim.network import Network

IP_UDP_BYTES = 28
"""IPv4 and UDP headers."""
COOKIE = bytes(8)


class Meter:
    """Counts the bytes that each simulated node sends, by kind of message."""

    def __init__(self, network: Network) -> None:
        self.sent: Counter[PublicKey] = Counter()
        self.by_kind: Counter[str] = Counter()
        self.packets: Counter[str] = Counter()
        self._network = network
        self._send = network.send
        network.send = self.send  # type: ignore[method-assign]  # a tap between node and network

    @property
    def total(self) -> int:
        """Bytes sent by everybody since the start."""
        return sum(self.sent.values())

    def send(self, sender: Contact, send: Send) -> None:
        size = self.weigh(sender, send)
        kind = type(send.message).__name__
        self.sent[sender.public_key] += size
        self.by_kind[kind] += size
        self.packets[kind] += 1
        self._send(sender, send)

    def weigh(self, sender: Contact, send: Send) -> int:
        # We hold the recipient's cookie if our own address would be proved by what we send now.
        proved = self._network.proved(sender, send.recipient)
        envelope = Envelope(message=send.message, issued=COOKIE, returned=COOKIE if proved else b"")
        pad = not proved and is_question(send.message)
        padded = min(PLAINTEXT_BYTES_MAX - 1, answer_bytes(send.message)) if pad else 0
        return len(encode_datagram(envelope, pad_to=padded)) + SEALING_BYTES + IP_UDP_BYTES
