"""Failures of modules and inputs: 2xx trust, 3xx input, 4xx module run."""

from meshnode.errors.base import MeshnodeError


class TrustError(MeshnodeError):
    """A module is refused before any of it runs."""

    code = "MN-200"
    exit_status = 8
    http_status = 403


class Unsigned(TrustError):
    """The module carries no signature; nodes run only what a trusted publisher signed."""

    code = "MN-201"


class BadSignature(TrustError):
    """The module's signature does not match its bytes: it was changed after signing."""

    code = "MN-202"


class UntrustedPublisher(TrustError):
    """The module is signed, but by a publisher this node does not trust."""

    code = "MN-203"


class HashMismatch(TrustError):
    """The bytes are not the ones their SHA-256 promises. They were thrown away."""

    code = "MN-204"
    retry_elsewhere = True


class UndeclaredImport(TrustError):
    """The module imports something its metadata does not declare, or policy does not allow."""

    code = "MN-205"


class MalformedModule(TrustError):
    """The file is not a Wasm module that this node accepts."""

    code = "MN-206"
    http_status = 422


class InputError(MeshnodeError):
    """An input does not fit the module's schema. Nothing was sent."""

    code = "MN-300"
    exit_status = 2
    http_status = 400


class WrongDtype(InputError):
    """A tensor has another element type than the module declares."""

    code = "MN-301"


class WrongShape(InputError):
    """A tensor has another shape than the module declares."""

    code = "MN-302"


class WrongTensors(InputError):
    """A tensor is missing, or one was given that the module does not know."""

    code = "MN-303"


class UnreadableInput(InputError):
    """An input file cannot be read as a tensor."""

    code = "MN-304"


class UnreadableModel(InputError):
    """The model file cannot be packed."""

    code = "MN-305"


class BadMetadata(InputError):
    """The module's metadata is missing or wrong."""

    code = "MN-306"
    http_status = 422


class TooLarge(InputError):
    """A request or a file is larger than a limit."""

    code = "MN-307"
    http_status = 413


class ModuleFailed(MeshnodeError):
    """The module itself failed. The same input fails the same way on every node: no retry."""

    code = "MN-400"
    exit_status = 7
    http_status = 422


class GuestStatus(ModuleFailed):
    """The guest returned an error status of its own."""

    code = "MN-401"


class MemoryLimit(ModuleFailed):
    """The guest asked for more memory than its limit."""

    code = "MN-402"


class TimeLimit(ModuleFailed):
    """The guest ran longer than its limit and was stopped."""

    code = "MN-403"


class Trapped(ModuleFailed):
    """The guest executed an instruction that traps."""

    code = "MN-404"


class OutputLimit(ModuleFailed):
    """The guest's output is larger than its limit."""

    code = "MN-405"


class SelfTestFailed(ModuleFailed):
    """The module's own test vectors do not give the answers it promises on that node."""

    code = "MN-406"
    exit_status = 9
    retry_elsewhere = True


class ModelFailed(ModuleFailed):
    """The model could not be loaded or run by onnxruntime."""

    code = "MN-407"


class CompileLimit(ModuleFailed):
    """Compiling the module took more time or memory than allowed."""

    code = "MN-408"
