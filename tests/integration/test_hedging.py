"""A request that is hedged runs at a second node too, and nothing of it stays in flight."""

from pathlib import Path

import pytest

from meshnode.errors import DeadlineExceeded
from meshnode.wire.urgency import Haste
from tests.integration.test_mesh import ask, mesh_of, until
from tests.integration.test_overload import IMAGE, with_module

pytestmark = pytest.mark.integration
HEDGE_MS = 50


async def test_the_quicker_copy_answers_and_the_other_is_taken_back(tmp_path: Path) -> None:
    async with mesh_of(tmp_path) as mesh:
        await mesh.add("door", **{"placement.hedge": f"{HEDGE_MS}ms"})
        await mesh.add("other", **{"simulate.run": "400ms"})
        await mesh.see_each_other()
        await with_module(tmp_path, mesh)
        door, other = mesh.nodes

        # Whoever is asked first holds what it is given, as a machine does that just swaps.
        info = await door.describe("digits")
        lane, _ = await door.parts.lanes.get(info.module)
        lane._parts.turns.ask = lambda *_: None  # type: ignore[method-assign]
        outcome = await ask(door, "digits", {"images": IMAGE}, deadline_ms=60_000)
        assert outcome.prediction.served_by == other.contact.node_id
        assert [a["outcome"] for a in outcome.attempts] == ["no answer yet", "ok"]
        board = door.parts.board
        await until(lambda: not any(s.sent for s in board._standings.values()))

        # A request may say that it is not to be hedged.
        never = Haste(hedge_ms=0)
        with pytest.raises(DeadlineExceeded):
            await ask(door, "digits", {"images": IMAGE}, deadline_ms=4 * HEDGE_MS, haste=never)
