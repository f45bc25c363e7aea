"""The policies by name, and running one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from meshnode.sim.fleet import affine, cached, gossiped, probing, usual
from meshnode.sim.fleet.fleet import Fleet, Trial
from meshnode.sim.fleet.mesh import Mesh
from meshnode.sim.fleet.oracle import Oracle, OracleInView
from meshnode.sim.fleet.shape import Shape
from meshnode.sim.fleet.tally import Outcome

POLICIES: dict[str, Callable[[Fleet], Any]] = {
    "mesh": Mesh,
    "oracle": Oracle,
    "oracle-view": OracleInView,
    "source-hash": affine.MeshBySource,
    "round-robin": affine.MeshInTurn,
    "bandit": affine.MeshBandit,
    "random": usual.Chance,
    "weighted-random": usual.WeightedChance,
    "turns": usual.Turns,
    "hash": usual.Hash,
    "bounded-hash": usual.BoundedHash,
    "jiq": usual.JoinIdle,
    "least-request": cached.PlainLeastRequest,
    "least-request-weighted": cached.WeightedLeastRequest,
    "queue-cache": cached.QueueCache,
    "peak-ewma": cached.PeakEwma,
    "peak-ewma-weighted": cached.WeightedPeakEwma,
    "c3": cached.C3,
    "prequal": probing.Prequal,
    "prequal-weighted": probing.WeightedPrequal,
    "ask-two": probing.AskTwo,
    "gossip-least": gossiped.GossipLeast,
    "gossip-in-flight": gossiped.GossipInFlight,
}
OURS = ("mesh", "oracle")
USUAL = (
    "c3",
    "ask-two",
    "prequal-weighted",
    "peak-ewma-weighted",
    "queue-cache",
    "least-request",
    "bounded-hash",
    "hash",
    "gossip-least",
)
"""Shown beside ours by default."""


def run_trial(shape: Shape, trial: Trial, policy: str) -> Outcome:
    """Run one policy; raises KeyError for a name that is none."""
    return replace(Fleet(shape, trial, POLICIES[policy]).run(), policy=policy)
