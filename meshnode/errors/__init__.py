"""Every failure a caller may want to tell apart, in one small tree.

Floor 0. A class carries its code (`docs/errors.md` has an entry for each), the exit status of
the command line, the HTTP status, and whether another node may succeed. Its docstring is the
sentence an operator reads: what happened and what to do. The message adds the particulars.
Bugs are not in this tree: they are assertions, ValueError and TypeError.

Code ranges: 0xx environment, 1xx network and join, 2xx trust, 3xx input, 4xx module run,
5xx placement, 6xx store, 7xx configuration.
"""

from collections.abc import Sequence

from meshnode.errors.base import MeshnodeError as MeshnodeError
from meshnode.errors.device import AlreadyRunning as AlreadyRunning
from meshnode.errors.device import ConfigError as ConfigError
from meshnode.errors.device import CorruptBlob as CorruptBlob
from meshnode.errors.device import DiskFull as DiskFull
from meshnode.errors.device import IdentityError as IdentityError
from meshnode.errors.device import MissingPart as MissingPart
from meshnode.errors.device import NoNodeRunning as NoNodeRunning
from meshnode.errors.device import PortTaken as PortTaken
from meshnode.errors.device import StoreError as StoreError
from meshnode.errors.device import StoreFull as StoreFull
from meshnode.errors.device import UsageError as UsageError
from meshnode.errors.modules import BadMetadata as BadMetadata
from meshnode.errors.modules import BadSignature as BadSignature
from meshnode.errors.modules import CompileLimit as CompileLimit
from meshnode.errors.modules import GuestStatus as GuestStatus
from meshnode.errors.modules import HashMismatch as HashMismatch
from meshnode.errors.modules import InputError as InputError
from meshnode.errors.modules import MalformedModule as MalformedModule
from meshnode.errors.modules import MemoryLimit as MemoryLimit
from meshnode.errors.modules import ModelFailed as ModelFailed
from meshnode.errors.modules import ModuleFailed as ModuleFailed
from meshnode.errors.modules import OutputLimit as OutputLimit
from meshnode.errors.modules import SelfTestFailed as SelfTestFailed
from meshnode.errors.modules import TimeLimit as TimeLimit
from meshnode.errors.modules import TooLarge as TooLarge
from meshnode.errors.modules import Trapped as Trapped
from meshnode.errors.modules import TrustError as TrustError
from meshnode.errors.modules import UndeclaredImport as UndeclaredImport
from meshnode.errors.modules import UnreadableInput as UnreadableInput
from meshnode.errors.modules import UnreadableModel as UnreadableModel
from meshnode.errors.modules import Unsigned as Unsigned
from meshnode.errors.modules import UntrustedPublisher as UntrustedPublisher
from meshnode.errors.modules import WrongDtype as WrongDtype
from meshnode.errors.modules import WrongShape as WrongShape
from meshnode.errors.modules import WrongTensors as WrongTensors
from meshnode.errors.network import ClockApart as ClockApart
from meshnode.errors.network import InviteExpired as InviteExpired
from meshnode.errors.network import InviteForeign as InviteForeign
from meshnode.errors.network import InviteUsed as InviteUsed
from meshnode.errors.network import InviteWrong as InviteWrong
from meshnode.errors.network import JoinUnreachable as JoinUnreachable
from meshnode.errors.network import LocalProtocolError as LocalProtocolError
from meshnode.errors.network import MeshFound as MeshFound
from meshnode.errors.network import NotAMember as NotAMember
from meshnode.errors.network import NotReachable as NotReachable
from meshnode.errors.network import OneWay as OneWay
from meshnode.errors.network import PairingRefused as PairingRefused
from meshnode.errors.network import PeerUnknown as PeerUnknown
from meshnode.errors.network import PeerUnreachable as PeerUnreachable
from meshnode.errors.network import ProtocolError as ProtocolError
from meshnode.errors.network import RemoteProtocolError as RemoteProtocolError
from meshnode.errors.network import Revoked as Revoked
from meshnode.errors.network import RoleMissing as RoleMissing
from meshnode.errors.network import SeedUnreachable as SeedUnreachable
from meshnode.errors.network import SmallPackets as SmallPackets
from meshnode.errors.network import TooManyInvites as TooManyInvites
from meshnode.errors.network import UdpBlocked as UdpBlocked
from meshnode.errors.network import VersionsApart as VersionsApart
from meshnode.errors.placement import AnsweredBefore as AnsweredBefore
from meshnode.errors.placement import BlobNotFound as BlobNotFound
from meshnode.errors.placement import CannotRunHere as CannotRunHere
from meshnode.errors.placement import ColdHere as ColdHere
from meshnode.errors.placement import DeadlineExceeded as DeadlineExceeded
from meshnode.errors.placement import GivenUp as GivenUp
from meshnode.errors.placement import ModuleNotFound as ModuleNotFound
from meshnode.errors.placement import NoCandidate as NoCandidate
from meshnode.errors.placement import NodeStopping as NodeStopping
from meshnode.errors.placement import NotTakenHere as NotTakenHere
from meshnode.errors.placement import Overloaded as Overloaded
from meshnode.errors.placement import Overpriced as Overpriced
from meshnode.errors.placement import OverShare as OverShare
from meshnode.errors.placement import PromiseBroken as PromiseBroken
from meshnode.errors.placement import TooLate as TooLate


def _tree(root: type[MeshnodeError]) -> dict[str, type[MeshnodeError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


BY_CODE: dict[str, type[MeshnodeError]] = _tree(MeshnodeError)
"""Every error class by its code; how a failure that crossed the wire becomes itself again."""


def from_wire(
    code: str, message: str, because: Sequence[str] = (), try_: str = ""
) -> MeshnodeError:
    """Return the error a peer reported; an unknown code becomes a plain MeshnodeError."""
    return BY_CODE.get(code, MeshnodeError)(message, because=because, try_=try_)
