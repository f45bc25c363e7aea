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


class PairingRefused(MeshnodeError):
    """Nobody let this device in by its code, or the code was wrong. Try again, or use an invite."""

    code = "MN-131"
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


class OneWay(MeshnodeError):
    """Of two nodes only one can connect to the other. A firewall or a NAT lets nobody in."""

    code = "MN-119"
    exit_status = 21


class NotReachable(MeshnodeError):
    """Other nodes cannot connect to a node. They reach it by being called back, or by a relay."""

    code = "MN-120"
    exit_status = 21


class UdpBlocked(MeshnodeError):
    """Datagrams do not get through between two nodes. They travel over a connection instead."""

    code = "MN-121"
    exit_status = 20


class SmallPackets(MeshnodeError):
    """Full datagrams are lost between two nodes, small ones are not: an MTU is too small."""

    code = "MN-122"
    exit_status = 20


class ClockApart(MeshnodeError):
    """The clocks of two nodes differ. Certificates and expiry depend on them."""

    code = "MN-123"
    exit_status = 20


class VersionsApart(MeshnodeError):
    """Two nodes run different versions of meshnode."""

    code = "MN-124"
    exit_status = 20


class PeerUnknown(MeshnodeError):
    """No member has this name, or this beginning of an id; or more than one has."""

    code = "MN-125"
    exit_status = 4
    http_status = 404


class SeedUnreachable(MeshnodeError):
    """A seed does not answer. Nodes that are far apart cannot be led to each other by it."""

    code = "MN-126"
    exit_status = 20


class MeshFound(MeshnodeError):
    """A mesh is on this LAN already. Join it, or say that you want one of your own."""

    code = "MN-127"
    exit_status = 8
