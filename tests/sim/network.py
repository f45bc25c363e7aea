"""The simulator's network, under the names that these tests know."""

from meshnode.sim.links import Link as Link
from meshnode.sim.network import Network as Network
from meshnode.sim.network import contact_of as contact_of
