"""Compiles every guest with the C compiler inside PyPI's `ziglang`: same source, same bytes.

    python guests/build.py            rewrite dist/*.wasm and dist/SHA256SUMS
    python guests/build.py --check    rebuild elsewhere and compare; exit 1 if anything differs

Only for those who change a guest: `dist/` is committed, and nothing else needs the 400 MB compiler
(`pip install '.[guests]'`).
"""

import argparse
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).resolve().parent
DIST = HERE / "dist"
SUMS = "SHA256SUMS"
FLAGS = (
    "-target",
    "wasm32-freestanding",
    "-mcpu=generic+simd128",
    "-std=c11",
    "-O3",
    "-g0",
    "-Wall",
    "-Werror",
    "-nostdlib",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=16384",
)


def sources() -> dict[str, Path]:
    """Return each guest's C file by the name of its Wasm file."""
    own = {path.stem: path for path in HERE.glob("*/*.c")}
    hostile = {f"hostile-{path.stem}": path for path in HERE.glob("hostile/*/*.c")}
    return dict(sorted((own | hostile).items()))


def build(into: Path) -> str:
    """Compile every guest into a folder and return the text of its SHA256SUMS."""
    lines = []
    for name, source in sources().items():
        target = into / f"{name}.wasm"
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", str(target), source.name]
        subprocess.run(command, check=True, cwd=source.parent)
        target.chmod(0o644)
        lines.append(f"{sha256(target.read_bytes()).hexdigest()}  {target.name}\n")
    return "".join(lines)


def check() -> int:
    """Rebuild in another folder and say what differs from `dist/`."""
    with tempfile.TemporaryDirectory() as folder:
        rebuilt = build(Path(folder))
    committed = (DIST / SUMS).read_text()
    stale = [
        line
        for line in committed.splitlines()
        if (name := line.split()[1]) and sha256((DIST / name).read_bytes()).hexdigest() != line[:64]
    ]
    for line in sorted(set(rebuilt.splitlines()) ^ set(committed.splitlines())) + stale:
        print(f"differs: {line}")
    if rebuilt != committed or stale:
        return 1
    print(f"{len(sources())} guests rebuilt: all equal to the committed ones")
    return 0


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description="Build the guests.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        return check()
    DIST.mkdir(exist_ok=True)
    (DIST / SUMS).write_text(build(DIST))
    print((DIST / SUMS).read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
