"""A predict at a warm node here and at a warm remote node, against onnxruntime in this process."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial

import numpy as np

from meshnode.bench.rows import Row, Work, interleaved, rates
from meshnode.client.client import Client
from meshnode.demo.processes import Playground, Proc
from tests.bench import models
from tests.bench.meshes import found, joined, packed, playground
from tests.bench.sessions import guarded_run

ROUNDS, BUDGET_S, RATE_S, CROWD = 1500, 6.0, 1.6, 8
Inputs = Mapping[str, np.ndarray]


def rows() -> Iterator[Row]:
    """Yield latencies at one caller and throughput at one and at eight."""
    with playground() as play:
        worker = found(play, "worker")
        # It lacks the capability, so that it must place every request at the worker.
        asker = joined(play, worker, "asker", "--caps", "cpu")
        for name, make in (("digits", models.digits), ("600KB", models.wide)):
            model, inputs = make()
            path = packed(play, worker, model, name.lower())
            with play.client(worker) as client:
                client.publish(path, replicas=1)
            plain = partial(guarded_run(model, play.root / "empty"), inputs)
            nodes = {"local": worker, "remote": asker}
            yield from _latency(play, name, plain, nodes, inputs)
            yield from _throughput(play, name, plain, nodes, inputs)


def _latency(
    play: Playground, name: str, plain: Work, nodes: Mapping[str, Proc], inputs: Inputs
) -> Iterator[Row]:
    with ExitStack() as held:
        works: dict[str, Work] = {"session.run": plain}
        clients: dict[str, Client] = {}
        for where, proc in nodes.items():
            clients[where] = held.enter_context(play.client(proc))
            works[where] = partial(clients[where].predict, name.lower(), inputs)
        times = interleaved(works, rounds=ROUNDS, budget_s=BUDGET_S, warm_up=20)
        base = Row(what=f"{name} session.run, c=1", unit="ms", samples=times["session.run"])
        yield base
        for where, client in clients.items():
            result = client.predict(name.lower(), inputs)
            if result.node.name != "worker":
                raise RuntimeError(f"served by {result.node}, not by the worker")
            yield Row(
                what=f"{name} predict at the {where} node, c=1",
                unit="ms",
                samples=times[where],
                baseline=base,
            )


def _throughput(
    play: Playground, name: str, plain: Work, nodes: Mapping[str, Proc], inputs: Inputs
) -> Iterator[Row]:
    for crowd in (1, CROWD):
        base = Row(
            what=f"{name} session.run, c={crowd}",
            unit="/s",
            samples=rates([plain] * crowd, seconds=RATE_S),
        )
        yield base
        for where, proc in nodes.items():
            batches: list[int] = []
            with ExitStack() as held:
                clients = [held.enter_context(play.client(proc)) for _ in range(crowd)]
                works = [partial(_noted, c, name.lower(), inputs, batches) for c in clients]
                for work in works:
                    work()
                samples = rates(works, seconds=RATE_S)
            yield Row(
                what=f"{name} predict at the {where} node, c={crowd}",
                unit="/s",
                samples=samples,
                baseline=base,
                note=f"mean batch {np.mean(batches):.1f}; the callers share one Python process",
            )


def _noted(client: Client, module: str, inputs: Inputs, batches: list[int]) -> None:
    batches.append(client.predict(module, inputs).batch)
