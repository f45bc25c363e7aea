"""Failures to find a place or an answer: 5xx placement."""

from meshnode.errors.base import MeshnodeError


class NoCandidate(MeshnodeError):
    """No live node can run this module; the reason of each is listed."""

    code = "MN-501"
    exit_status = 5
    http_status = 503


class Overloaded(MeshnodeError):
    """Every queue that could take this request is full. Try again after a short wait."""

    code = "MN-502"
    exit_status = 5
    http_status = 503
    retry_elsewhere = True


class DeadlineExceeded(MeshnodeError):
    """The request's time ran out before an answer was ready."""

    code = "MN-503"
    exit_status = 6
    http_status = 504


class NodeStopping(MeshnodeError):
    """The node is draining and takes no new work."""

    code = "MN-504"
    exit_status = 5
    http_status = 503
    retry_elsewhere = True


class CannotRunHere(MeshnodeError):
    """This node cannot run the module: a capability, budget or policy stands against it."""

    code = "MN-505"
    exit_status = 5
    http_status = 503
    retry_elsewhere = True


class Overpriced(MeshnodeError):
    """The request would be answered sooner elsewhere; its sender is told, and sends it there."""

    code = "MN-506"
    exit_status = 5
    http_status = 503
    retry_elsewhere = True


class ColdHere(MeshnodeError):
    """The module is not loaded at this node, which has work or has just loaded another one."""

    code = "MN-507"
    exit_status = 5
    http_status = 503
    retry_elsewhere = True


class GivenUp(MeshnodeError):
    """The request waited here when an idle node asked for work; its sender sends it there."""

    code = "MN-508"
    exit_status = 5
    http_status = 503
    retry_elsewhere = True


class TooLate(Overloaded):
    """The request waited here until it could not be done in time any more. It was not run."""

    code = "MN-509"


class OverShare(Overloaded):
    """This source asks for more than its share, and others ask too. Ask less, or after a wait."""

    code = "MN-515"
    http_status = 429


class AnsweredBefore(MeshnodeError):
    """A request with this id was answered here before; it is not run again."""

    code = "MN-512"
    exit_status = 5
    http_status = 409


class NotTakenHere(MeshnodeError):
    """This node may not be given the input: its labels or the data policy stand against it."""

    code = "MN-514"
    exit_status = 5
    http_status = 503
    retry_elsewhere = True


class ModuleNotFound(MeshnodeError):
    """No such module is known in the mesh."""

    code = "MN-510"
    exit_status = 4
    http_status = 404


class BlobNotFound(MeshnodeError):
    """No live node provides these bytes."""

    code = "MN-511"
    exit_status = 4
    http_status = 404
    retry_elsewhere = True


class PromiseBroken(MeshnodeError):
    """A node lives but takes far longer than it said; the request is sent to another."""

    code = "MN-513"
    exit_status = 5
    http_status = 503
    retry_elsewhere = True
