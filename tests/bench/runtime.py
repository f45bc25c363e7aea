"""What the runtime adds to onnxruntime in one process, as `meshnode bench runtime` measures it."""

from collections.abc import Iterator

from meshnode.bench.rows import Row
from meshnode.bench.runtime import FULL, runtime_rows


def rows() -> Iterator[Row]:
    """Yield the overhead of each ABI, a cold start, batching and throughput."""
    yield from runtime_rows(FULL)
