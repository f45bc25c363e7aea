"""From the node's values to JSON objects, the same ones on the control socket and over HTTP."""

from meshnode.gateway.facade import Facts, ModuleInfo, Outcome
from meshnode.ids import short, to_text
from meshnode.modules.manifest import TensorSpec
from meshnode.wire.tensor import TensorHeader


def module_facts(info: ModuleInfo) -> Facts:
    """Return what a client needs to build an input and to trust an answer."""
    manifest = info.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "sha256": info.module.hex(),
        "publisher": to_text(info.publisher),
        "size": info.size,
        "abi": manifest.abi,
        "inputs": [_spec(s) for s in manifest.inputs],
        "outputs": [_spec(s) for s in manifest.outputs],
        "required": manifest.required.names(),
        "batch": manifest.batch,
        "licence": manifest.licence,
        "labels": dict(manifest.labels),
        "affinity": manifest.affinity,
        "require": dict(manifest.constraints.labels),
        "data": manifest.constraints.data.word,
    }


def answer_facts(outcome: Outcome) -> Facts:
    """Return everything about an answer except its tensors; times in ms."""
    prediction = outcome.prediction
    served = outcome.attempts[-1] if outcome.attempts else {}
    return {
        "module": {
            "name": outcome.name,
            "version": outcome.version,
            "sha256": prediction.module.hex(),
        },
        "node": {
            "name": str(served.get("name") or short(prediction.served_by)),
            "id": to_text(prediction.served_by),
        },
        "timing": timing_facts(outcome),
        "batch": prediction.batch,
        "attempts": list(outcome.attempts),
        "explain": outcome.explain,
    }


def timing_facts(outcome: Outcome) -> dict[str, float]:
    """Return where the time went. `net_ms` is what no stage accounts for, retries included."""
    there = outcome.prediction.timing
    stages = {
        "route_ms": outcome.route_ms,
        "queue_ms": there.queue_us / 1000,
        "cold_ms": there.cold_us / 1000,
        "run_ms": there.run_us / 1000,
    }
    return {
        "total_ms": round(outcome.total_ms, 3),
        "net_ms": round(max(0.0, outcome.total_ms - sum(stages.values())), 3),
        "model_ms": round(there.model_us / 1000, 3),
        **{stage: round(value, 3) for stage, value in stages.items()},
    }


def header_facts(header: TensorHeader) -> Facts:
    """Return a tensor's header as JSON."""
    return {"name": header.name, "dtype": header.dtype, "shape": list(header.shape)}


def _spec(spec: TensorSpec) -> Facts:
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": list(spec.shape),
        "layout": spec.layout,
    }
