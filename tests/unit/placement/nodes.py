"""Candidates, records and decisions for the tests of this room. Times in ms."""

from dataclasses import replace

from meshnode.caps import Caps
from meshnode.ids import Address, Contact, ContentHash, NodeId, PublicKey, RequestId, tag_of
from meshnode.placement.board import Scoreboard
from meshnode.placement.candidate import Candidate
from meshnode.placement.choose import Decision, choose
from meshnode.placement.settings import PlacementSettings
from meshnode.wire.messages import LoadRecord, ModuleLoad

MODULE = ContentHash(b"m" * 32)
OTHER = ContentHash(b"o" * 32)
NOW = 1000.0
PLAIN = PlacementSettings(sticky_ms=0.0)


def contact(name: str) -> Contact:
    return Contact(PublicKey(name.encode().ljust(32, b"\0")), Address("10.0.0.1", 6174))


def node_id(name: str) -> NodeId:
    return contact(name).node_id


def request(number: int) -> RequestId:
    return RequestId(number.to_bytes(16, "big"))


def record(
    name: str,
    *,
    wait: float = 0.0,
    mean: float | None = None,
    sigma: float = 0.0,
    run: float = 10.0,
    unit: float | None = None,
    each: int = 0,
    warm: bool = True,
    speed: int = 100,
    sequence: int = 1,
    draining: bool = False,
    holds: bool = True,
) -> LoadRecord:
    module = ModuleLoad(
        module=tag_of(MODULE),
        warm=warm,
        first=round(run * 10),
        unit=round((run if unit is None else unit) * 10),
        each=each,
    )
    return LoadRecord(
        node=tag_of(node_id(name)),
        sequence=sequence,
        age_ms=0,
        wait=round(wait * 10),
        wait_mean=round((wait if mean is None else mean) * 10),
        wait_sigma=round(sigma * 10),
        in_flight=0,
        draining=draining,
        speed=speed,
        modules=(module,) if holds else (),
    )


def node(
    name: str,
    load: LoadRecord | None = None,
    *,
    rtt: float | None = 1.0,
    age_s: float = 0.0,
    caps: Caps = Caps.CPU,
    is_self: bool = False,
    unfit: str = "",
    policy: str = "",
    heard: bool = True,
) -> Candidate:
    load = load or (record(name) if heard else None)
    return Candidate(
        contact=contact(name),
        name=name,
        caps=caps,
        rtt_ms=rtt,
        load=load,
        load_age_s=age_s,
        holds=load is not None and bool(load.modules),
        is_self=is_self,
        unfit=unfit,
        policy=policy,
    )


def decide(
    *nodes: Candidate,
    board: Scoreboard | None = None,
    required: Caps = Caps.CPU,
    payload_bytes: int = 0,
    source: str = "",
    now: float = NOW,
    module_bytes: int = 0,
) -> Decision:
    return choose(
        nodes,
        board=board or Scoreboard(PLAIN),
        module=MODULE,
        required=required,
        payload_bytes=payload_bytes,
        source=source,
        now=now,
        module_bytes=module_bytes,
    )


def order(made: Decision) -> list[str]:
    return [scored.candidate.name for scored in made.ranked]


def total(made: Decision, name: str) -> float:
    (found,) = [s.score.total_ms for s in made.ranked if s.candidate.name == name]
    return found


def reasons(made: Decision) -> dict[str, str]:
    return {c.name: reason for c, reason in made.excluded}


def aged(candidate: Candidate, age_s: float) -> Candidate:
    return replace(candidate, load_age_s=age_s)
