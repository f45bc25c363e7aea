"""The simulator's time, under the name that these tests know."""

from meshnode.sim.world import World as World
