"""A node with its doors open: what `meshnode start` runs, from ready to drained."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import trio

from meshnode import __version__
from meshnode.cli.errors import INTERRUPTED
from meshnode.cli.notify import sd_notify
from meshnode.cli.output import print_json
from meshnode.cli.signals import Stopping, stop_on_signals
from meshnode.client.control import command
from meshnode.config.home import Home
from meshnode.config.settings import ApiSettings, Config, MeshSettings
from meshnode.config.units import size_text
from meshnode.errors import MeshFound
from meshnode.gateway.access import Access
from meshnode.gateway.control import refuse_second, serve_control
from meshnode.gateway.server import serve_http
from meshnode.ids import Address
from meshnode.node.discovery import meshes_here
from meshnode.node.node import Node
from meshnode.node.opening import open_node
from meshnode.node.reach_building import is_loopback_only

DRAIN_S = 10.0
PORT_TRIES = 20
"""The default HTTP port may be taken by another node of this user: the next free one is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `meshnode start` was asked to do."""

    config: Config
    home: Home
    access: Access | None
    """Who may speak HTTP; None if HTTP is off."""
    new_mesh: str | None
    as_json: bool
    quiet: bool
    started: float
    """`perf_counter` when the command began."""


async def run_node(plan: Plan) -> int:
    """Run a node and its doors until a signal or `meshnode stop`; return the exit status."""
    home, config = plan.home, plan.config
    refuse_second(home.control_socket)
    new = tuple(
        what
        for what, path in (("identity", home.identity_key), ("mesh", home.mesh_file))
        if not path.exists()
    )
    probe = config.mesh.listen == MeshSettings().listen
    if plan.new_mesh is None and "mesh" in new:
        await refuse_beside_another(config, home)
    async with (
        stop_on_signals() as stopping,
        open_node(config, home, new_mesh=plan.new_mesh, probe_port=probe) as node,
        trio.open_nursery() as doors,
    ):
        http = await _open_doors(doors, plan, node, stopping)
        _say_ready(plan, node, http, new)
        sd_notify("READY=1", f"STATUS=node {node.name} is ready")
        await stopping.wait()
        sd_notify("STOPPING=1")
        await node.drain(DRAIN_S)
        doors.cancel_scope.cancel()
    return INTERRUPTED if stopping.hurried else 0


async def refuse_beside_another(config: Config, home: Home) -> None:
    """Raise MeshFound if a mesh is on this LAN: a second one beside it is seldom what is wanted."""
    if not config.mesh.lan or is_loopback_only(config.mesh):
        return
    found = await meshes_here()
    if found:
        names = [f'"{b.mesh_name}" (mesh {b.network.hex()[:12]})' for b in found]
        raise MeshFound(
            f"found mesh {names[0]} on this LAN, and this device belongs to none",
            because=[f"also here: {name}" for name in names[1:]],
            try_=f"on a node of it: meshnode accept   and here: {command(home)} join --lan\n"
            f"or a mesh of your own: {command(home)} start --new-mesh NAME",
        )


async def _open_doors(
    doors: trio.Nursery, plan: Plan, node: Node, stopping: Stopping
) -> Address | None:
    async def control(task_status: trio.TaskStatus[None]) -> None:
        path = plan.home.control_socket
        await serve_control(node, path, stop=stopping.ask, task_status=task_status)

    await doors.start(control)
    listen, access = plan.config.api.listen, plan.access
    if listen is None or access is None:
        return None
    tries = PORT_TRIES if listen == ApiSettings().listen else 1

    async def http(task_status: trio.TaskStatus[Address]) -> None:
        await serve_http(node, listen, access, tries=tries, task_status=task_status)

    bound: Address = await doors.start(http)
    return bound


def _say_ready(plan: Plan, node: Node, http: Address | None, new: tuple[str, ...]) -> None:
    took_s = round(perf_counter() - plan.started, 2)
    status = node.status() | {"http": str(http) if http else None}
    if plan.as_json:
        control = str(plan.home.control_socket)
        print_json({"ready": {**status, "control": control, "took_s": took_s, "new": list(new)}})
    elif not plan.quiet:
        print("\n".join(ready_lines(status, plan.config, new)))
        neighbours = status["neighbours"].get("alive", 0)
        held = status["modules"]["held"]
        print(f"ready in {took_s:.1f} s — {neighbours} neighbours, {held} modules held here")
        if "mesh" in new:
            print(f"to add another device:  {command(plan.home)} invite")
    # Whoever started us by a pipe is waiting for these lines.
    print(end="", flush=True)


def ready_lines(status: dict[str, Any], config: Config, new: tuple[str, ...]) -> Iterator[str]:
    """Yield who this node is and where it can be reached."""
    mesh, budget = status["mesh"], config.budget
    created = f" · new {' and '.join(new)} created" if new else ""
    yield (
        f"meshnode {__version__} · node {status['name']} ({status['short']})"
        f' · mesh "{mesh["name"]}" ({mesh["id"]}){created}'
    )
    yield f"  caps      {' '.join(status['caps'])}"
    yield (
        f"  budget    {budget.instances} instances · {size_text(budget.memory_bytes)} module memory"
        f" · {size_text(budget.store_bytes)} store"
    )
    yield f"  mesh      tcp+udp {status['address']}"
    if status["http"]:
        yield f"  api       http://{status['http']}  (/predict /healthz /api/v1)"
    if config.simulate.slowdown > 1:
        yield f"  SIMULATED runs take {config.simulate.slowdown:g} times as long as they need"
    if config.simulate.run_ms:
        yield f"  SIMULATED runs take at least {config.simulate.run_ms} ms"
