"""`meshnode demo`: a real mesh of six processes on this machine, checking itself act by act."""

import argparse
import json
import sys
from time import perf_counter
from typing import Any


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "demo",
        description="Start a seed and five nodes on this machine, loopback only, and check act by "
        "act that they do what meshnode promises. Exit 0 only if every act holds.",
    )
    parser.add_argument("--fast", action="store_true", help="smaller streams, for CI")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play every act; exit 0 only if all hold, else 1 with the promise that did not."""
    from meshnode.demo.acts import FAST, FULL, Stage
    from meshnode.demo.processes import DemoFailed, Playground

    started = perf_counter()
    say = _Say(as_json=args.json)
    say.line("meshnode demo — 6 processes on this machine, loopback only, no network needed")
    with Playground() as playground:
        stage = Stage(playground, FAST if args.fast else FULL)
        acts = [
            ("mesh", stage.mesh),
            ("publish", stage.publish),
            ("spread", stage.spread),
            ("infer", stage.infer),
            ("kill", stage.kill),
            ("seed gone", stage.seed_gone),
            ("hostile", stage.hostile),
        ]
        for number, (name, act) in enumerate(acts, 1):
            act_started = perf_counter()
            try:
                evidence = act()
            except DemoFailed as failure:
                promise = (act.__doc__ or "").strip()
                say.failed(number, name, promise, str(failure), str(playground.root))
                playground.keep = True
                return 1
            say.act(number, name, evidence, perf_counter() - act_started)
    say.end(len(acts), perf_counter() - started)
    return 0


class _Say:
    """Prints the acts as they end, or one JSON object at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._acts: list[dict[str, Any]] = []

    def line(self, text: str) -> None:
        if not self._as_json:
            print(text, flush=True)

    def act(self, number: int, name: str, evidence: list[str], took_s: float) -> None:
        self._acts.append(
            {"act": number, "name": name, "evidence": evidence, "s": round(took_s, 2)}
        )
        for index, fact in enumerate(evidence):
            head = f"{number:2} {name:<10}" if index == 0 else " " * 13
            self.line(f"{head} ✓ {fact}")

    def failed(self, number: int, name: str, promise: str, seen: str, logs: str) -> None:
        facts = {"act": number, "name": name, "promise": promise, "seen": seen, "logs": logs}
        if self._as_json:
            print(json.dumps({"v": 1, "ok": False, "acts": self._acts, "failed": facts}))
            return
        print(f"{number:2} {name:<10} FAILED: {promise}", file=sys.stderr)
        print(f"{'':13} seen  {seen}\n{'':13} logs  {logs}", file=sys.stderr)

    def end(self, count: int, took_s: float) -> None:
        if self._as_json:
            print(json.dumps({"v": 1, "ok": True, "acts": self._acts, "s": round(took_s, 2)}))
            return
        print(f"{count}/{count} acts passed in {took_s:.1f} s; nothing is left running")
        print("next: meshnode start   (then: meshnode invite)      docs/first-mesh.md")
