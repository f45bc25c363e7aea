"""Values of the node as JSON-able dictionaries: the one place that names their keys.

Doors add the schema version and print or send them. Times are in ms, sizes in bytes.
"""

from typing import Any

from meshnode.dht.proofs import Equivocation
from meshnode.gossip.member import Member
from meshnode.ids import short, to_text
from meshnode.labels import MEMORY_PAGE_BYTES
from meshnode.node.attempts import Attempt
from meshnode.node.catalog import Named
from meshnode.node.library import ModuleInfo
from meshnode.node.publishing import Published
from meshnode.placement.accuracy import Accuracy
from meshnode.placement.choose import Decision
from meshnode.reach.diagnosis import Diagnosis
from meshnode.wire.messages import LoadRecord


def load(record: LoadRecord) -> dict[str, Any]:
    """Return a load record; its units of 0.1 ms become ms."""
    return {
        "wait_ms": record.wait / 10,
        "in_flight": record.in_flight,
        "draining": record.draining,
        "held": len(record.modules),
        "warm": sum(m.warm for m in record.modules),
    }


def peer(member: Member, record: LoadRecord | None, age_s: float, now: float) -> dict[str, Any]:
    """Return one row of `meshnode peers`."""
    return {
        "name": member.name,
        "node_id": to_text(member.contact.node_id),
        "short": short(member.contact.node_id),
        "address": str(member.contact.address),
        "state": member.state.name.lower(),
        "state_for_s": round(now - member.changed_at, 1),
        "rtt_ms": None if member.rtt_ms is None else round(member.rtt_ms, 3),
        "caps": member.caps.names(),
        "labels": dict(member.traits.labels),
        "memory_mib": member.traits.memory_mib,
        "instance_memory_kib": member.traits.memory_pages * MEMORY_PAGE_BYTES >> 10,
        "load": None if record is None else load(record),
        "load_age_s": None if record is None else round(age_s, 2),
    }


def diagnosis(found: Diagnosis) -> dict[str, Any]:
    """Return what `meshnode doctor` tells."""
    return {
        "findings": [
            {
                "area": f.area,
                "level": f.level.value,
                "text": f.text,
                "code": f.code,
                "because": list(f.because),
                "likely": f.likely,
                "try": f.try_,
            }
            for f in found.findings
        ],
        "failures": found.failures,
        "warnings": found.warnings,
    }


def attempt(made: Attempt) -> dict[str, Any]:
    """Return one try at one node."""
    return {
        "name": made.name,
        "short": short(made.node),
        "predicted_ms": round(made.predicted_ms, 2),
        "took_ms": round(made.took_ms, 2),
        "outcome": made.outcome,
    }


def accuracy(known: Accuracy) -> dict[str, Any]:
    """Return how near the last predictions of warm requests came to what those took."""
    return {
        "counted": len(known),
        "within_30_percent": None if known.near is None else round(known.near, 3),
        "median_error": None if known.error is None else round(known.error, 3),
    }


def module(named: Named, publisher: str) -> dict[str, Any]:
    """Return one row of `meshnode modules`."""
    return {
        "name": named.name,
        "version": named.version,
        "module": named.module.hex(),
        "publisher": publisher,
        "size": named.size,
        "held_by": list(named.holders),
        "warm_at": list(named.warm_at),
    }


def decision(made: Decision, info: ModuleInfo) -> dict[str, Any]:
    """Return every candidate with the parts of its score in ms, the best first."""
    return {
        "module": info.label,
        "sha256": info.module.hex(),
        "affinity": info.manifest.affinity,
        "candidates": [
            {
                "name": scored.candidate.name,
                "short": short(scored.candidate.contact.node_id),
                "local": scored.candidate.is_self,
                "chosen": index == 0,
                "score_ms": round(scored.score.total_ms, 2),
                "parts": {part: round(ms, 3) for part, ms in scored.score.as_dict().items()},
                "estimated": scored.score.estimated,
            }
            for index, scored in enumerate(made.ranked)
        ],
        "excluded": [
            {"name": c.name, "short": short(c.contact.node_id), "reason": reason}
            for c, reason in made.excluded
        ],
    }


def contradiction(proof: Equivocation) -> dict[str, Any]:
    """Return the proof that somebody signed two records with one sequence number."""
    return {
        "signer": to_text(proof.signer),
        "sequence": proof.seq,
        "records": [proof.first.hex(), proof.second.hex()],
    }


def published(result: Published) -> dict[str, Any]:
    """Return what `meshnode publish` says."""
    info = result.info
    return {
        "name": info.manifest.name,
        "version": info.manifest.version,
        "module": info.module.hex(),
        "size": info.size,
        "publisher": result.publisher_name,
        "publisher_key": to_text(info.publisher),
        "name_record_kept_by": result.names_kept,
        "tried_here": result.tried_here,
        "replicas": [
            {
                "name": r.name,
                "ok": r.ok,
                "detail": r.detail,
                "sources": [{"name": name, "bytes": count} for name, count in r.sources],
            }
            for r in result.replicas
        ],
    }
