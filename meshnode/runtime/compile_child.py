"""`python -m meshnode.runtime.compile_child`: compiles one module from stdin to stdout, and ends.

A process of its own, because a compilation cannot be interrupted, and because the compiler is the
largest piece of foreign code that a stranger's bytes ever reach: it runs with rlimits, without the
node's secrets, environment or open files, and is killed when its time is up.
Arguments: address space in bytes, CPU seconds. Exit status 0, or 3 with the reason on stderr.
"""

import sys

from meshnode.runtime.rlimits import lower

EXIT_REFUSED = 3


def main(arguments: list[str]) -> int:
    """Compile stdin; see above."""
    memory_bytes, cpu_s = map(int, arguments)
    lower({"AS": memory_bytes, "CPU": cpu_s, "CORE": 0, "FSIZE": 0, "NOFILE": 64})
    from wasmtime import Module, WasmtimeError

    from meshnode.runtime.engine import make_engine

    wasm = sys.stdin.buffer.read()
    try:
        artifact = Module(make_engine(), wasm).serialize()
    except WasmtimeError as error:
        sys.stderr.write(str(error))
        return EXIT_REFUSED
    sys.stdout.buffer.write(artifact)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
