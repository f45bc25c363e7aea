"""The layout of what a request asks of whoever runs it."""

from meshnode.constraints import Constraints, Scope
from meshnode.wire.cbor import Plain
from meshnode.wire.membership_table import LABELS
from meshnode.wire.schema import Misfit, Record, Uint, Value


class ScopeField:
    """A data policy as its number; one that is not known here is refused, never taken as lax."""

    _number = Uint(max(Scope))

    def pack(self, value: Value) -> Plain:
        """Its number."""
        return self._number.pack(value)

    def unpack(self, plain: Plain) -> Value:
        """The policy of a number."""
        try:
            return Scope(self._number.unpack(plain))
        except ValueError as error:
            raise Misfit("is no data policy") from error


CONSTRAINTS = Record(Constraints, labels=LABELS, data=ScopeField())
