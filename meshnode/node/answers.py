"""The p2p door: one incoming call to the part that answers it."""

from collections.abc import Awaitable, Callable

from meshnode.errors import NotAMember
from meshnode.ids import Contact
from meshnode.net.connection import Peer
from meshnode.node.admission import Admissions
from meshnode.node.idling import Idling
from meshnode.node.library import Library
from meshnode.node.requests import Requests
from meshnode.wire.messages import (
    AskHeld,
    Describe,
    GetPiece,
    GetPieceHashes,
    Hold,
    Holding,
    IdleCall,
    Intent,
    Join,
    ListModules,
    LoadPing,
    Predict,
    Reconcile,
    Reconciled,
    Reply,
    Request,
)
from meshnode.wire.reach import ReachRequest


class Answers:
    """Answers what peers ask. Errors are raised; the connection turns them into Failures."""

    def __init__(
        self,
        *,
        requests: Requests,
        library: Library,
        admissions: Admissions,
        members: Callable[[], tuple[Contact, ...]],
        hold: Callable[[Hold], Awaitable[Holding]],
        reconcile: Callable[[Peer, Reconcile], Reconciled],
        reach: Callable[[Peer, ReachRequest], Awaitable[Reply]],
        idling: Idling,
    ) -> None:
        self._requests = requests
        self._library = library
        self._admissions = admissions
        self._members = members
        self._hold = hold
        self._reconcile = reconcile
        self._reach = reach
        self._idling = idling

    async def answer(self, peer: Peer, request: Request) -> Reply:
        """Answer one call from an authenticated peer, or raise MeshnodeError."""
        if isinstance(request, Join):
            return self._admissions.redeem(peer, request, self._members())
        if isinstance(request, Reconcile):
            return self._reconcile(peer, request)
        if peer.certificate is None:
            raise NotAMember("only a member may ask this")
        if isinstance(request, ReachRequest):
            return await self._reach(peer, request)
        if isinstance(request, Predict | Intent | IdleCall | LoadPing):
            return await self._answer_about_work(peer, request)
        return await self._answer_about_modules(request)

    async def _answer_about_work(
        self, peer: Peer, request: Predict | Intent | IdleCall | LoadPing
    ) -> Reply:
        match request:
            case Predict():
                return await self._requests.serve(peer.node_id, request)
            case Intent():
                return await self._requests.consider(peer.node_id, request)
            case IdleCall():
                return self._idling.answer(peer.node_id, request)
            case LoadPing():
                return self._requests.answer(request)

    async def _answer_about_modules(
        self, request: Describe | AskHeld | GetPieceHashes | GetPiece | Hold | ListModules
    ) -> Reply:
        match request:
            case Describe():
                return await self._library.describe(request)
            case AskHeld():
                return self._library.held(request)
            case GetPieceHashes():
                return await self._library.piece_hashes(request)
            case GetPiece():
                return await self._library.piece(request)
            case Hold():
                return await self._hold(request)
            case ListModules():
                return self._library.catalog()
