"""What a request meets first, made from a node that is being built: whom it sees, and itself."""

from typing import TYPE_CHECKING

from meshnode.node.constraints import Bounds
from meshnode.node.local import Local
from meshnode.node.view import View

if TYPE_CHECKING:
    from meshnode.node.building import Building


def build_places(node: "Building") -> tuple[View, Local]:
    """Return the view of the candidates, and the place on this node."""
    bounds = Bounds(node.caps, node.traits, node.membership.labels_of)
    view = View(
        own=node.contact,
        name=node.config.node.name,
        membership=node.membership,
        board=node.board,
        library=node.library,
        load=node.load,
        unfit=node.unfit,
        bounds=bounds,
    )
    return view, Local(node.contact.node_id, node.library, node.lanes, node.load, bounds)
