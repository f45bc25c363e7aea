"""`python -m meshnode.runtime.compile_child`: compiles one module from stdin to stdout, and ends.

A process of its own, because a compilation cannot be interrupted, and because the compiler is the
largest piece of foreign code that a stranger's bytes ever reach: it runs with rlimits, without the
node's secrets, environment or open files, and is killed when its time is up.
Arguments: address space in bytes, CPU seconds. Exit status 0, or 3 with the reason on stderr.
"""

import sys

EXIT_REFUSED = 3


def main(arguments: list[str]) -> int:
    """Compile stdin; see above."""
    memory_bytes, cpu_s = map(int, arguments)
    _limit(memory_bytes, cpu_s)
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


def _limit(memory_bytes: int, cpu_s: int) -> None:
    try:
        import resource
    except ImportError:  # not POSIX: the parent's clock is the only limit
        return
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
