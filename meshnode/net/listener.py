"""The TCP listener: accepts, shakes hands, and gives each connection's calls to one handler.

Strangers cost a bounded number of half-open handshakes for a few seconds, and hear nothing.
"""

import errno
import logging
import socket
from dataclasses import dataclass

import trio

from meshnode.errors import MeshnodeError
from meshnode.net.binding import bind_both as bind_both
from meshnode.net.binding import bind_socket
from meshnode.net.channel import ChannelKeys
from meshnode.net.connection import Connection, Handler
from meshnode.net.entrance import Entrance, HalfOpen
from meshnode.net.handshaking import Secured, respond
from meshnode.net.pool import ConnectionPool
from meshnode.net.settings import NetSettings
from meshnode.net.tcp import INHERITED, tune
from meshnode.net.tokens import TokenChannel, Tokens
from meshnode.net.transport import SocketTransport, Transport
from meshnode.net.vouched import Vouched

_log = logging.getLogger(__name__)
BACKLOG = 128
ACCEPTED_PER_WAKE_MAX = 16
"""Then the handshakes under way get their turn."""
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
NO_ROOM_PAUSE_S = 0.1


@dataclass(slots=True)
class ListenerStats:
    """What came in, as plain counters."""

    accepted: int = 0
    crowded: int = 0
    """Closed at once: too many half-open or established."""
    displaced: int = 0
    """Closed while silent, because a newcomer needed the place."""
    silent: int = 0
    """Closed without a word: no valid handshake in time."""
    turned_away: int = 0
    """Knew a key of ours but not its certificate; told why."""
    secured: int = 0


class Listener:
    """One listening socket."""

    def __init__(
        self,
        channel: ChannelKeys,
        settings: NetSettings,
        handler: Handler,
        *,
        pool: ConnectionPool | None = None,
        tokens: Tokens | None = None,
        vouched: Vouched | None = None,
    ) -> None:
        """With a pool, members' connections serve for own calls too, and `handler` for its own.

        With `tokens`, connections that come with one are given to who made it; the networks of
        `vouched` members may shake hands more often.
        """
        self._channel = channel if tokens is None else TokenChannel(channel, tokens)
        self._tokens = tokens
        self._settings = settings
        self._handler = handler
        self._pool = pool
        if pool is not None:
            pool.answer_with(handler)
        self._socket: socket.socket | None = None
        self._entrance = Entrance(settings, vouched)
        self._established = 0
        self.stats = ListenerStats()

    async def bind(self, host: str, port: int) -> int:
        """Listen, and return the port (of the kernel's choice for 0).

        Raises PortTaken, or ConfigError if this host has no such address or may not use the port.
        """
        sock = await bind_socket(host, port, socket.SOCK_STREAM)
        tune(sock, self._settings.unacknowledged_ms)
        sock.listen(BACKLOG)
        self._socket = sock
        return int(sock.getsockname()[1])

    def close(self) -> None:
        """Stop listening; connections that are open stay."""
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None

    async def run(self) -> None:
        """Serve until cancelled; then the connections end too, and the socket is closed."""
        assert self._socket is not None, "bind first"
        try:
            async with trio.open_nursery() as nursery:
                while self._socket is not None:
                    try:
                        await trio.lowlevel.wait_readable(self._socket)
                        self._accept(self._socket, nursery)
                    except trio.ClosedResourceError:
                        break
                    except OSError as error:
                        if error.errno in NO_ROOM:
                            _log.warning("cannot accept a connection: %s", error.strerror)
                            await trio.sleep(NO_ROOM_PAUSE_S)
        finally:
            self.close()

    def _accept(self, listening: socket.socket, nursery: trio.Nursery) -> None:
        """Take some of the connections that wait; raises OSError when one cannot be taken."""
        for _ in range(ACCEPTED_PER_WAKE_MAX):
            try:
                sock, _ = listening.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            self.stats.accepted += 1
            nursery.start_soon(self._serve, sock)

    async def _serve(self, sock: socket.socket) -> None:
        try:
            transport = SocketTransport(
                sock, unacknowledged_ms=self._settings.unacknowledged_ms, tuned=INHERITED
            )
        except OSError:  # it was gone before we looked
            sock.close()
            return
        await self.serve(transport)

    async def serve(self, transport: Transport) -> None:
        """Shake hands with whoever opened a stream to us, and carry the connection to its end."""
        scope = trio.CancelScope(deadline=trio.current_time() + self._settings.handshake_timeout_s)
        entry = self._enter(transport.address.host, scope)
        if entry is None:
            self.stats.crowded += 1
            transport.close()
            return
        secured: Secured | None = None
        try:
            with scope:
                secured = await respond(
                    transport,
                    self._channel,
                    admit=lambda first: self._entrance.knocked(entry, first, trio.current_time()),
                )
        except (MeshnodeError, OSError, trio.BrokenResourceError) as error:
            _log.debug("no handshake with %s: %s", transport.address, error)
        except Exception:  # whatever a stranger sends, the listener goes on
            _log.exception("a handshake failed inside this node")
        finally:
            self._entrance.leave(entry)
            if secured is None:
                self.stats.silent += 1
                transport.close()
        if secured is None:
            return
        if secured.standing.token is not None:
            await self._hand_over(transport, secured.standing.token)
        else:
            await self._carry(Connection(transport, secured, self._settings), secured)

    async def _hand_over(self, transport: Transport, token: bytes) -> None:
        take = self._tokens.take(token) if self._tokens is not None else None
        self._established += 1
        try:
            if take is not None:
                await take(transport)
        finally:
            self._established -= 1
            transport.close()

    async def _carry(self, connection: Connection, secured: Secured) -> None:
        if secured.refusal:
            self.stats.turned_away += 1
            await connection.turn_away(secured.refusal)
            return
        self.stats.secured += 1
        self._established += 1
        try:
            if self._pool is None or connection.peer.certificate is None:
                await connection.run(self._handler)
            else:
                await self._pool.carry(connection, self._handler)
        finally:
            self._established -= 1

    def _enter(self, host: str, scope: trio.CancelScope) -> HalfOpen | None:
        if self._established >= self._settings.connections_max:
            return None
        return self._entrance.enter(host, lambda: self._displace(scope))

    def _displace(self, scope: trio.CancelScope) -> None:
        self.stats.displaced += 1
        scope.cancel()
