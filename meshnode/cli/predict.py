"""`meshnode predict`: run a module on an input, at the best node, and print the answer."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshnode.cli.explain import explain_lines
from meshnode.cli.output import ms, print_json, say
from meshnode.client.client import connect
from meshnode.config.units import parse_duration
from meshnode.constraints import SCOPES
from meshnode.errors import UsageError
from meshnode.wire.limits import HEDGE_MS_MAX
from meshnode.wire.tensor import Buffer, TensorHeader
from meshnode.wire.urgency import PRIORITIES

if TYPE_CHECKING:
    from meshnode.client.answer import Answer
    from meshnode.client.description import Description

VALUES_SHOWN = 8


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "predict", description="Run a module on an input, at the node that will answer first."
    )
    parser.add_argument("module", metavar="MODULE", help="name, name@1.2.0 or name@sha256:…")
    parser.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="[NAME=]FILE",
        help=".npy, .json or - for standard input; once for each of the module's inputs",
    )
    parser.add_argument("--dtype", default="", help="of a raw input file, with --shape")
    parser.add_argument("--shape", default="", metavar="1,3,96,96", help="of a raw input file")
    parser.add_argument("--source", default="", help="who made the input, for example cam-07")
    parser.add_argument(
        "--priority", choices=PRIORITIES, default="", help="its place among what waits (normal)"
    )
    parser.add_argument(
        "--hedge",
        metavar="20ms",
        help="ask a second node too if there is no answer after this; 0ms, never",
    )
    parser.add_argument("--deadline", metavar="100ms", help="give up after this (default 30s)")
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only at nodes with this label, for example site=hall-3; may be repeated",
    )
    parser.add_argument("--tier", default="", help="short for --require tier=TIER")
    parser.add_argument(
        "--data",
        choices=SCOPES,
        default="",
        help="how far the input may travel; the node's and the module's own policies hold too",
    )
    parser.add_argument("--explain", action="store_true", help="show every candidate's score")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the scores and run nothing (with --explain)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.npy|DIR", help="write outputs as .npy")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read and check the inputs, ask the local node, print the outputs."""
    deadline = _deadline(args.deadline)
    asked = {"require": args.require, "tier": args.tier, "data": args.data}
    if args.hedge is not None:
        asked["hedge_ms"] = round(_hedge(args.hedge) * 1000)
    with connect(args.home) as client:
        known = client.describe(args.module)
        headers, buffers = _read_inputs(args, known)
        if args.dry_run:
            facts = client.explain(args.module, headers, source=args.source, asked=asked)
            if args.json:
                print_json({"explain": facts})
            else:
                print("\n".join(explain_lines(facts)))
            return 0
        answer = client.predict_tensors(
            args.module,
            headers,
            buffers,
            source=args.source,
            deadline=deadline,
            explain=args.explain,
            priority=args.priority,
            asked=asked,
        )
    if args.out is not None:
        _write(args.out, answer)
    if args.json:
        print_json(answer_json(answer))
        return 0
    if answer.explain is not None:
        print("\n".join(explain_lines(answer.explain)))
    for head, data in zip(answer.headers, answer.tensors, strict=True):
        print(tensor_line(head, data))
    say(args, served_line(answer))
    return 0


def tensor_line(head: TensorHeader, data: Buffer) -> str:
    """Return a tensor's name, type and first values: `boxes float32[20,6]  0.91 12 33 …`."""
    from meshnode.wire import arrays

    item = arrays.DTYPES[head.dtype][2]
    count = min(VALUES_SHOWN, head.size // item)
    first = arrays.header(head.name, head.dtype, (count,))
    values = arrays.to_lists(first, memoryview(data)[: first.size])
    assert isinstance(values, list)
    shown = " ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in values)
    more = " …" if head.size > first.size else ""
    return f"{head.name} {head.dtype}[{','.join(map(str, head.shape))}]  {shown}{more}"


def served_line(answer: "Answer") -> str:
    """Return where the answer came from and where its time went."""
    t = answer.timing
    stages = [f"route {t.route_ms:.1f}", f"net {t.net_ms:.1f}", f"queue {t.queue_ms:.1f}"]
    stages += [f"cold start {t.cold_ms:.1f}"] if t.cold_ms else []
    stages += [f"run {t.run_ms:.1f}"]
    tries = len(answer.attempts)
    retried = f" · attempt {tries}" if tries > 1 else ""
    return f"  {answer.node.name} · {ms(t.total_ms)}  ({', '.join(stages)}){retried}"


def answer_json(answer: "Answer") -> dict[str, Any]:
    """Return an answer as JSON; floats that are not finite are the texts NaN and ±Infinity."""
    from dataclasses import asdict

    from meshnode.wire import arrays

    outputs = {
        head.name: {
            "dtype": head.dtype,
            "shape": list(head.shape),
            "data": arrays.to_lists(head, data),
        }
        for head, data in zip(answer.headers, answer.tensors, strict=True)
    }
    return {
        "outputs": outputs,
        "node": asdict(answer.node),
        "module": asdict(answer.module),
        "timing": asdict(answer.timing),
        "batch": answer.batch,
        "attempts": list(answer.attempts),
        "explain": answer.explain,
    }


def _read_inputs(
    args: argparse.Namespace, known: "Description"
) -> tuple[list[TensorHeader], list[Buffer]]:
    """Return the inputs as tensors that fit the module, or raise InputError; nothing is sent."""
    from meshnode.client.files import read_input
    from meshnode.modules.schema import check_inputs

    if bool(args.dtype) != bool(args.shape):
        raise UsageError("--dtype and --shape go together")
    declared = {spec.name: spec.dtype for spec in known.manifest.inputs}
    shape = _shape(args.shape)
    tensors = [
        tensor
        for text in args.input
        for tensor in read_input(text, declared, dtype=args.dtype, shape=shape)
    ]
    headers = [head for head, _ in tensors]
    check_inputs(known.manifest, headers)
    return headers, [data for _, data in tensors]


def _write(out: Path, answer: "Answer") -> None:
    from meshnode.client.files import write_npy

    pairs = list(zip(answer.headers, answer.tensors, strict=True))
    if out.suffix == ".npy" and not out.is_dir():
        if len(pairs) != 1:
            names = ", ".join(head.name for head, _ in pairs)
            raise UsageError(
                f"{out} would hold {len(pairs)} outputs",
                because=[f"the module gives {names}"],
                try_=f"--out {out.with_suffix('')}/",
            )
        write_npy(out, *pairs[0])
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out} cannot be a directory", because=[str(error)]) from error
    for name, (head, data) in zip(file_names([h.name for h, _ in pairs]), pairs, strict=True):
        write_npy(out / name, head, data)


def file_names(tensors: list[str]) -> list[str]:
    """Return a file name for each tensor; a module's author must not choose where we write."""
    names: list[str] = []
    for tensor in tensors:
        plain = re.sub(r"[^\w.-]", "_", tensor, flags=re.ASCII).lstrip(".")[:80] or "output"
        taken = sum(n == plain or n.startswith(f"{plain}-") for n in names)
        names.append(f"{plain}-{taken + 1}" if taken else plain)
    return [f"{name}.npy" for name in names]


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.strip("()[] ").split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"--shape: '{text}' is not like 1,3,96,96") from error


def _deadline(text: str | None) -> float | None:
    if text is None:
        return None
    seconds = _duration("--deadline", text)
    if not 0.001 <= seconds <= 3600:
        raise UsageError("--deadline must be from 1ms to 1h")
    return seconds


def _hedge(text: str) -> float:
    seconds = _duration("--hedge", text)
    if not 0 <= seconds <= HEDGE_MS_MAX / 1000:
        raise UsageError("--hedge must be from 0ms to 60s")
    return seconds


def _duration(option: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
