"""`python liar.py start ...`: a node that says it is idle and quick, whatever is true."""

import sys
from dataclasses import replace

from meshnode.cli.main import main
from meshnode.placement.observe import LoadMeter
from meshnode.wire.messages import LoadRecord

truth = LoadMeter.record


def record(meter: LoadMeter, *args: float, **how: object) -> LoadRecord:
    said = truth(meter, *args, **how)  # type: ignore[arg-type]
    modules = tuple(replace(m, first=10, unit=10, warm=True) for m in said.modules)
    return replace(said, wait=0, wait_mean=0, wait_sigma=0, in_flight=0, modules=modules)


LoadMeter.record = record  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
