"""Failures of this device: 0xx environment, 6xx store, 7xx configuration."""

from meshnode.errors.base import MeshnodeError


class NoNodeRunning(MeshnodeError):
    """No node runs here. Client verbs speak to the local node: start one."""

    code = "MN-001"
    exit_status = 3


class PortTaken(MeshnodeError):
    """Another program listens on the port this node was told to use."""

    code = "MN-002"
    exit_status = 78


class AlreadyRunning(MeshnodeError):
    """A node already runs from this home directory."""

    code = "MN-003"
    exit_status = 78


class MissingPart(MeshnodeError):
    """This verb needs a package that is not installed here."""

    code = "MN-004"
    exit_status = 78


class UsageError(MeshnodeError):
    """The command cannot be understood as written."""

    code = "MN-005"
    exit_status = 2
    http_status = 400


class IdentityError(MeshnodeError):
    """A secret on disk cannot be used: unreadable, damaged, or readable by others."""

    code = "MN-006"
    exit_status = 78


class StoreError(MeshnodeError):
    """The store cannot keep or read a file."""

    code = "MN-600"
    exit_status = 11
    retry_elsewhere = True


class StoreFull(StoreError):
    """The store's byte budget is used up by files that may not be evicted."""

    code = "MN-601"


class DiskFull(StoreError):
    """The disk has no room; nothing was stored."""

    code = "MN-602"


class CorruptBlob(StoreError):
    """A stored file no longer has the bytes its name promises; it was set aside."""

    code = "MN-603"


class ConfigError(MeshnodeError):
    """The configuration cannot be used. The message names the key and the allowed values."""

    code = "MN-701"
    exit_status = 78
