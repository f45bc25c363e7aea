"""What runs modules, made from a Config: the runtime and the lanes in front of it."""

from pathlib import Path

import trio

from meshnode.batching.settings import BatchingSettings
from meshnode.caps import Caps
from meshnode.config.settings import Config
from meshnode.node.lanes import Lanes, LanesBudget
from meshnode.node.library import Library
from meshnode.node.pretence import Pretence
from meshnode.node.unfit import Unfit
from meshnode.placement.observe import LoadMeter
from meshnode.runtime.runtime import Runtime
from meshnode.runtime.settings import RuntimeSettings


def build_runtime(config: Config, *, aot_cache: Path, mac_key: bytes, caps: Caps) -> Runtime:
    """Return the runtime, with the limits that policy sets for every module."""
    policy = config.policy
    settings = RuntimeSettings(
        memory_bytes_max=policy.max_memory_bytes,
        run_ms_max=policy.max_run_ms,
        output_bytes_max=policy.max_output_bytes,
        caps_allowed=policy.caps,
        binding=config.runtime.binding,
    )
    return Runtime(settings, cache_dir=aot_cache, mac_key=mac_key, caps=caps)


def build_lanes(
    config: Config,
    library: Library,
    runtime: Runtime,
    meter: LoadMeter,
    *,
    nursery: trio.Nursery,
    unfit: Unfit,
) -> Lanes:
    """Return the lanes, with what the budget gives them."""
    budget, batch, simulate = config.budget, config.batch, config.simulate
    return Lanes(
        library,
        runtime,
        meter,
        nursery=nursery,
        settings=BatchingSettings(
            batch_max=batch.max, window_ms_max=float(batch.window_ms), queue_max=batch.queue
        ),
        budget=LanesBudget(
            instances_max=budget.instances,
            memory_bytes_max=budget.memory_bytes,
            linear_bytes_max=config.policy.max_memory_bytes,
            idle_s_max=budget.idle_ms / 1000,
        ),
        unfit=unfit,
        pretence=Pretence(slowdown=simulate.slowdown, run_s=simulate.run_ms / 1000),
    )
