"""The Python client: `with meshnode.connect() as m: m.predict("detect", {"images": frame})`.

It speaks to the node on this machine; that node finds the best one in the mesh. What only a
predict needs is imported by it, so that `meshnode status` does not wait for it.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from meshnode.client.control import ControlConnection
from meshnode.config.home import home_dir
from meshnode.errors import InputError, UsageError
from meshnode.wire.limits import HEDGE_MS_MAX
from meshnode.wire.tensor import Buffer, TensorHeader

if TYPE_CHECKING:
    from meshnode.client.answer import Answer
    from meshnode.client.description import Description
    from meshnode.client.results import Inputs, Result

DEADLINE_S = 30.0
"""A predict that names no deadline; generous, because the first one may fetch and compile."""
GRACE_S = 5.0
"""Waited beyond the deadline for the node to say that it has passed, and why."""
REPLICAS = 3


class Client:
    """One connection to the local node. Not for several threads at once: open one each."""

    def __init__(self, connection: ControlConnection) -> None:
        self._connection = connection
        self._described: dict[str, Description] = {}

    def predict(  # noqa: PLR0913 - the options of a request, each with a default
        self,
        module: str,
        inputs: "Inputs",
        *,
        source: str = "",
        deadline: float | None = None,
        explain: bool = False,
        priority: str = "",
        hedge: float | None = None,
        require: Mapping[str, str] | None = None,
        data: str = "",
    ) -> "Result":
        """Return the module's outputs as arrays by name.

        `inputs` maps tensor names to arrays (or nested lists, which take the declared dtype); a
        module with one input takes the array alone. `deadline` is in seconds, `priority` is
        "interactive", "normal" or "batch". After `hedge` seconds without an answer a second node
        is asked too: 0 never, None as the node is set; a module with an order of its own is never
        asked twice. Only nodes with the labels in `require` are asked, and `data` ("node", "site")
        bounds how far the inputs may travel. A wrong dtype or shape is raised before anything is
        sent. Of an error that says so, `retry_after_ms` is when to ask again.
        """
        from meshnode.client.results import Result, to_tensors
        from meshnode.modules.schema import check_inputs

        def prepare(known: "Description") -> tuple[tuple[TensorHeader, ...], list[Buffer]]:
            headers, buffers = to_tensors(inputs, known.manifest.inputs)
            check_inputs(known.manifest, headers)
            return headers, buffers

        try:
            headers, buffers = prepare(self._known(module))
        except InputError:
            # A name may mean a newer version by now.
            self._described.pop(module, None)
            headers, buffers = prepare(self._known(module))
        return Result(
            self.predict_tensors(
                module,
                headers,
                buffers,
                source=source,
                deadline=deadline,
                explain=explain,
                priority=priority,
                asked={
                    "hedge_ms": None if hedge is None else _hedge_ms(hedge),
                    "require": [f"{key}={value}" for key, value in (require or {}).items()],
                    "data": data,
                },
            )
        )

    def predict_tensors(
        self,
        module: str,
        headers: Sequence[TensorHeader],
        buffers: Sequence[Buffer],
        *,
        source: str = "",
        deadline: float | None = None,
        explain: bool = False,
        priority: str = "",
        asked: Mapping[str, Any] | None = None,
    ) -> "Answer":
        """Return the answer to tensors given as bytes, as bytes; needs no numpy.

        `asked` is what else the request asks: `require` ("key=value" each), `tier`, `data`,
        `hedge_ms`.
        """
        from meshnode.client.answer import read_answer
        from meshnode.wire import arrays

        args = {
            "module": module,
            "inputs": _plain(headers),
            "source": source,
            "deadline_ms": None if deadline is None else max(1, round(deadline * 1000)),
            "explain": explain,
            "priority": priority,
            **(asked or {}),
        }
        result, body = self._connection.call(
            "predict",
            args,
            arrays.join_body(headers, buffers),
            timeout_s=(DEADLINE_S * 4 if deadline is None else deadline) + GRACE_S,
        )
        return read_answer(result, body)

    def explain(
        self,
        module: str,
        headers: Sequence[TensorHeader],
        *,
        source: str = "",
        asked: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return where a request with these inputs would go and why, without running it."""
        args = {
            "module": module,
            "inputs": _plain(headers),
            "source": source,
            **(asked or {}),
        }
        return dict(self._connection.call("explain", args)[0])

    def describe(self, module: str) -> "Description":
        """Return what a reference means now, or raise ModuleNotFound with the nearest name."""
        from meshnode.client.description import read_description

        return read_description(self._connection.call("describe", {"module": module})[0])

    def pins(self) -> list[dict[str, Any]]:
        """Return the modules that the local node keeps at hand, and how each stands."""
        return list(self._connection.call("pin")[0])

    def pin(self, module: str) -> list[dict[str, Any]]:
        """Have the local node keep a module fetched and warm; return all that are."""
        return list(self._connection.call("pin", {"add": module})[0])

    def unpin(self, module: str) -> list[dict[str, Any]]:
        """End that; return all that are left."""
        return list(self._connection.call("pin", {"remove": module})[0])

    def status(self) -> dict[str, Any]:
        """Return what the local node knows of itself."""
        return dict(self._connection.call("status")[0])

    def peers(self) -> list[dict[str, Any]]:
        """Return every other member of the mesh, nearest first."""
        return list(self._connection.call("peers")[0])

    def modules(self) -> list[dict[str, Any]]:
        """Return every module known in the mesh."""
        return list(self._connection.call("modules")[0])

    def doctor(self, peer: str = "") -> dict[str, Any]:
        """Return a diagnosis of the local node, or of it and one peer in both directions."""
        return dict(self._connection.call("doctor", {"peer": peer}, timeout_s=120.0)[0])

    def publish(
        self, path: str | Path, *, weights: Sequence[Path] = (), replicas: int = REPLICAS
    ) -> dict[str, Any]:
        """Publish a packed module with its weights, which are sought beside it by their hash."""
        from meshnode.client.packages import read_package

        return self.publish_parts(read_package(Path(path), weights), replicas=replicas)

    def publish_parts(self, parts: Sequence[bytes], *, replicas: int = REPLICAS) -> dict[str, Any]:
        """Publish a module's bytes, then its weights blobs', as they are: the node checks them."""
        args = {"sizes": [len(p) for p in parts], "replicas": replicas}
        return dict(self._connection.call("publish", args, parts, timeout_s=600.0)[0])

    def invite(self, *, uses: int = 1, ttl: float = 3600.0, role: str = "member") -> dict[str, Any]:
        """Return an invite of the local node; `ttl` is in seconds."""
        args = {"uses": uses, "ttl_s": round(ttl), "role": role}
        return dict(self._connection.call("invite", args)[0])

    def publishers(self) -> list[dict[str, Any]]:
        """Return the publishers that the local node trusts."""
        return list(self._connection.call("trust")[0])

    def trust(self, key: str, name: str) -> dict[str, Any]:
        """Trust a publisher's key at the local node from now on."""
        return dict(self._connection.call("trust", {"add": key, "name": name})[0])

    def trust_log(self) -> dict[str, Any]:
        """Return who was admitted, trusted and revoked here: "entries", "head", "broken_at"."""
        return dict(self._connection.call("trust", {"log": True})[0])

    def revocations(self) -> list[dict[str, Any]]:
        """Return who is expelled from the mesh, why, when and by whom."""
        return list(self._connection.call("revocations")[0])

    def revoke(self, who: str, reason: str, *, rotate: bool = True) -> dict[str, Any]:
        """Expel a device by its name, id or key, and begin to replace the mesh's key."""
        args = {"who": who, "reason": reason, "rotate": rotate}
        return dict(self._connection.call("revoke", args)[0])

    def rotate(
        self, *, force: bool = False, wait: float = 600.0, keep: float = 86_400.0
    ) -> dict[str, Any]:
        """Begin to replace the mesh's key; `wait` and `keep` are in seconds (docs/operating.md)."""
        args = {"start": True, "force": force, "wait_s": round(wait), "keep_s": round(keep)}
        return dict(self._connection.call("rotate", args)[0])

    def rotation(self) -> dict[str, Any]:
        """Return how far the mesh's newest key is, as the local node knows it."""
        return dict(self._connection.call("rotate")[0])

    def stop(self) -> dict[str, Any]:
        """Ask the local node to drain and stop; returns at once with its name and process id."""
        return dict(self._connection.call("stop")[0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> "Client":
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def _known(self, module: str) -> "Description":
        if module not in self._described:
            self._described[module] = self.describe(module)
        return self._described[module]


def connect(home: str | Path | None = None) -> Client:
    """Return a client of the node that runs from `home` (else `MESHNODE_HOME`, else this user's).

    Raises NoNodeRunning if none does.
    """
    if isinstance(home, str) and "://" in home:
        raise UsageError(
            f"connect() speaks to the node on this machine, not to {home}",
            try_="POST /predict speaks HTTP: see docs/operating.md",
        )
    connection = ControlConnection(home_dir(home))
    connection.call("ping")
    return Client(connection)


def _hedge_ms(seconds: float) -> int:
    """Return whole milliseconds; any hedge but 0 is one."""
    if not 0.0 <= seconds <= HEDGE_MS_MAX / 1000:
        raise UsageError(f"hedge must be from 0 to {HEDGE_MS_MAX // 1000} seconds, not {seconds}")
    return ceil(seconds * 1000)


def _plain(headers: Sequence[TensorHeader]) -> list[dict[str, Any]]:
    return [{"name": h.name, "dtype": h.dtype, "shape": list(h.shape)} for h in headers]
