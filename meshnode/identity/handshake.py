"""The handshake of a channel without a socket: Noise XXpsk0, and in it each side's identity.

Feed it what arrives, send what it returns, until `established`; then `keys()` are the two
transport keys. With the psk mixed first, a stranger's message 1 does not open and the responder
says nothing. Messages 2 and 3 carry the sender's Ed25519 key and its signature over the Noise
static key (as libp2p does), then the caller's payload.
"""

from collections.abc import Sequence

from meshnode.errors import LocalProtocolError, RemoteProtocolError
from meshnode.identity.keys import SIGNATURE_BYTES, Identity
from meshnode.identity.noise import DH_BYTES, PSK_BYTES, TAG_BYTES, NoiseXX
from meshnode.identity.static_keys import STATIC_DOMAIN as STATIC_DOMAIN
from meshnode.identity.static_keys import StaticKeys, signed
from meshnode.ids import PublicKey
from meshnode.wire.limits import HANDSHAKE_BYTES_MAX

PROOF_BYTES = 32 + SIGNATURE_BYTES
PAYLOAD_BYTES_MAX = HANDSHAKE_BYTES_MAX - 2 * DH_BYTES - 2 * TAG_BYTES - PROOF_BYTES
"""What is left of message 2 for the caller's payload."""
MESSAGE_1_BYTES = DH_BYTES + TAG_BYTES
MESSAGE_2_BYTES_MIN = 2 * DH_BYTES + 2 * TAG_BYTES
MESSAGE_3_BYTES_MIN = DH_BYTES + 2 * TAG_BYTES


class Handshake:
    """One side of the handshake.

    The X25519 static key is vouched for by the identity's signature; a node that has many
    handshakes gives each its `StaticKeys`, so that neither key nor signature is made again, and
    nothing that a peer showed before is verified again. An initiator that wants to know
    whom it reached before it shows itself looks at `peer_key` and `peer_payload` after
    `receive` and sends the returned message 3 only then.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        initiator: bool,
        psks: Sequence[bytes],
        prologue: bytes,
        payload: bytes,
        statics: StaticKeys | None = None,
        static: bytes = b"",
        ephemeral: bytes = b"",
    ) -> None:
        """`psks`: the initiator uses the first, a responder finds the one that fits.

        `static` and `ephemeral` are X25519 secrets for test vectors; without `statics`, this
        handshake has a static key of its own.
        """
        if not psks or any(len(psk) != PSK_BYTES for psk in psks):
            raise LocalProtocolError("a handshake needs psks of 32 bytes")
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise LocalProtocolError(f"a handshake payload of {len(payload)} bytes is too long")
        self._identity = identity
        self._initiator = initiator
        self._psks = list(psks)
        self._prologue = prologue
        self._payload = payload
        self._statics = statics or StaticKeys()
        self._secrets = (static, ephemeral)
        self._opened: NoiseXX | None = None
        self._step = 0
        self._broken = False
        self.established = False
        self.psk_index = 0
        """Which of `psks` the initiator used; known to the responder after message 1."""
        self.peer_key = PublicKey(b"")
        self.peer_payload = b""
        """As the peer sent it, under the channel's keys; what it means is the caller's to check."""

    def start(self) -> bytes:
        """Return the initiator's message 1."""
        if not self._initiator or self._step != 0:
            raise LocalProtocolError("only an initiator starts, and once")
        self._step = 1
        self._opened = self._under(self._psks[0])
        return self._opened.write_1(b"")

    def knock(self, message: bytes) -> bytes:
        """Take message 1 and return the initiator's ephemeral key; `answer` goes on.

        Costs hashes only, so that what must be refused is refused before public-key work. Raises
        RemoteProtocolError as `receive` does.
        """
        self._take_turn(message, initiator=False, step=0)
        ephemeral = self._open_message_1(message)
        self._broken, self._step = False, 1
        return ephemeral

    def answer(self) -> bytes:
        """Return message 2, after `knock`: an X25519 key pair, a signature and two DHs."""
        if self._initiator or self._step != 1 or self._broken:
            raise LocalProtocolError("only a responder that was knocked at answers, and once")
        self._step, self._broken = 2, True
        message = self._noise.write_2(self._proof())
        self._broken = False
        return message

    def receive(self, message: bytes) -> bytes:
        """Advance with a received message; return the next one to send, or b"" if there is none.

        Raises RemoteProtocolError; then close without a word. Nothing more is accepted after it.
        """
        if not self._initiator and self._step == 0:
            self.knock(message)
            return self.answer()
        self._take_turn(message, initiator=self._initiator, step=1 if self._initiator else 2)
        answer = self._on_message_2(message) if self._initiator else self._on_message_3(message)
        self.established, self._broken = True, False
        return answer

    def keys(self) -> tuple[bytes, bytes]:
        """Return (our sending key, our receiving key), 32 bytes each."""
        if not self.established:
            raise LocalProtocolError("the handshake is not done")
        first, second = self._noise.state.split()
        return (first, second) if self._initiator else (second, first)

    @property
    def hash(self) -> bytes:
        """The transcript hash: equal on both sides, unique to this connection."""
        return self._noise.state.hash

    def _take_turn(self, message: bytes, *, initiator: bool, step: int) -> None:
        """Refuse a message out of turn; until its handler is done, every other one is."""
        in_turn = initiator == self._initiator and step == self._step
        if self._broken or self.established or not in_turn:
            raise RemoteProtocolError("a handshake message out of turn")
        self._broken = True
        if len(message) > HANDSHAKE_BYTES_MAX:
            raise RemoteProtocolError("a handshake message is too long")

    def _open_message_1(self, message: bytes) -> bytes:
        if len(message) != MESSAGE_1_BYTES:
            raise RemoteProtocolError("a first message of the wrong length")
        for index, psk in enumerate(self._psks):
            noise = self._under(psk)
            try:
                noise.read_1(message)
            except RemoteProtocolError:
                continue
            self._opened, self.psk_index = noise, index
            return noise.remote_ephemeral
        raise RemoteProtocolError("a first message under no key of ours")

    def _on_message_2(self, message: bytes) -> bytes:
        if len(message) < MESSAGE_2_BYTES_MIN:
            raise RemoteProtocolError("a second message that is too short")
        self._check_proof(self._noise.read_2(message))
        return self._noise.write_3(self._proof())

    def _on_message_3(self, message: bytes) -> bytes:
        if len(message) < MESSAGE_3_BYTES_MIN:
            raise RemoteProtocolError("a third message that is too short")
        self._check_proof(self._noise.read_3(message))
        return b""

    @property
    def _noise(self) -> NoiseXX:
        """The pattern under the psk that is used; there is none before message 1."""
        assert self._opened is not None, "nothing goes on before message 1"
        return self._opened

    def _under(self, psk: bytes) -> NoiseXX:
        static, ephemeral = self._secrets
        return NoiseXX(psk=psk, prologue=self._prologue, static=static, ephemeral=ephemeral)

    def _proof(self) -> bytes:
        """Take a static key into use; return what says whose it is, for the same message."""
        given = self._secrets[0]
        own = signed(self._identity, given) if given else self._statics.own(self._identity)
        self._noise.use_static(own.secret, own.public)
        return self._identity.public_key + own.signature + self._payload

    def _check_proof(self, proof: bytes) -> None:
        key, signature = proof[:32], proof[32:PROOF_BYTES]
        if not self._statics.vouches(key, self._noise.remote_static, signature):
            raise RemoteProtocolError("the peer's identity did not sign its channel key")
        if key == self._identity.public_key:
            raise RemoteProtocolError("the peer is this node itself")
        self.peer_key = PublicKey(key)
        self.peer_payload = proof[PROOF_BYTES:]
