"""Failures between devices: 1xx network and join."""

from meshnode.errors.base import MeshnodeError


class ProtocolError(MeshnodeError):
    """Base of the two protocol errors; never raised itself."""

    code = "MN-100"


class LocalProtocolError(ProtocolError):
    """We tried to do something the protocol forbids. This is a bug in meshnode or its caller."""

    code = "MN-101"


class RemoteProtocolError(ProtocolError):
    """A peer sent something the protocol forbids. The connection is dropped."""

    code = "MN-102"


class JoinUnreachable(MeshnodeError):
    """No address in the invite answered. Is the sponsor running and reachable from here?"""

    code = "MN-103"
    exit_status = 4


class InviteWrong(MeshnodeError):
    """The invite is mistyped or unknown to its sponsor. Ask for a new one."""

    code = "MN-104"
    exit_status = 8


class InviteExpired(MeshnodeError):
    """The invite was good but its time has passed. Ask for a new one."""

    code = "MN-105"
    exit_status = 8


class InviteUsed(MeshnodeError):
    """The invite has been used as often as it allows. Ask for a new one."""

    code = "MN-106"
    exit_status = 8


class InviteForeign(MeshnodeError):
    """The invite belongs to another mesh than the one at hand."""

    code = "MN-107"
    exit_status = 8


class NotAMember(MeshnodeError):
    """This node belongs to no mesh yet, so it cannot do this."""

    code = "MN-108"
    exit_status = 8


class RoleMissing(MeshnodeError):
    """This node's membership does not include the role that this needs."""

    code = "MN-109"
    exit_status = 8
    http_status = 403


class PeerUnreachable(MeshnodeError):
    """A peer could not be reached, or the connection to it broke."""

    code = "MN-110"
    exit_status = 5
    http_status = 503
    retry_elsewhere = True


class TooManyInvites(MeshnodeError):
    """This node has as many invites out as it may keep. Wait until one is used or expires."""

    code = "MN-111"
    exit_status = 8
    http_status = 429


class Revoked(NotAMember):
    """An admin of the mesh has revoked this device, or one that its membership comes from."""

    code = "MN-112"
    http_status = 403
