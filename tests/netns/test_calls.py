"""Sealed calls over a long and a lossy line, with BBR where the kernel has it."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import quantiles

import pytest

from tests.netns.fabric import Host
from tests.netns.lab import Lab

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hosts_allowed")]

CALLS = str(Path(__file__).parent / "calls.py")
SERVER = "20.0.0.1"
LINES: dict[str, dict[str, float]] = {
    "20 ms, 1 % loss each way": {"delay_s": 0.010, "loss": 0.01},
    "20 ms, 100 Mbit/s": {"delay_s": 0.010, "rate_bps": 100e6},
}


def congestion_control() -> str:
    available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    return "bbr" if "bbr" in available else available[0]


@pytest.mark.parametrize("line", LINES)
def test_calls_over_a_bad_line_are_all_answered(line: str) -> None:
    with Lab([Host(address=SERVER), Host(address="20.0.1.1")]) as lab:
        lab.everywhere(**LINES[line])
        server = subprocess.Popen(
            [*lab.on(0), sys.executable, CALLS, "serve", SERVER], stdout=subprocess.PIPE, text=True
        )
        with server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            client = subprocess.run(
                [*lab.on(1), sys.executable, CALLS, "measure", SERVER],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            server.terminate()
    print(f"{line} ({congestion_control()}):")
    for kind, took in json.loads(client.stdout).items():
        cuts = quantiles(took, n=100)
        print(f"  {kind}: p50 {1e3 * cuts[49]:.0f} ms, p99 {1e3 * cuts[98]:.0f} ms")
