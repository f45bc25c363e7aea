"""The simulated DHT, under the names that these tests know."""

from meshnode.sim import dht_mesh
from meshnode.sim.dht_mesh import FAR as FAR
from meshnode.sim.dht_mesh import LOSSY as LOSSY
from meshnode.sim.dht_mesh import NETWORK as NETWORK
from meshnode.sim.dht_mesh import SETTINGS as SETTINGS
from meshnode.sim.dht_mesh import Mesh as Mesh
from meshnode.sim.dht_mesh import beset as beset
from meshnode.sim.dht_mesh import fits as fits
from meshnode.sim.dht_mesh import formed as formed
from meshnode.sim.hostile import Hostile as Hostile


class Report(dht_mesh.Report):
    """What lookups took, printed."""

    def show(self, title: str) -> None:
        print(self.line(title))
