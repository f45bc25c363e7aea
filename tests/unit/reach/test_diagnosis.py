"""From measurements to what is wrong."""

from dataclasses import replace
from itertools import product

import pytest

from meshnode.ids import Address
from meshnode.reach.diagnosis import Diagnosis, Level, PairFacts, diagnose

WELL = PairFacts(
    name="nas",
    address=Address("10.0.0.2", 6174),
    own_port=6175,
    own_version="1",
    path="directly at 10.0.0.2:6174",
    connect_ms=2.0,
    back_known=True,
    seen_at="10.0.0.1",
    udp_ms=0.4,
    udp_full_ms=0.5,
    udp_heard=True,
    clock_ms=12.0,
    version="1",
)


def codes(**changes: object) -> list[str]:
    return [f.code for f in diagnose(replace(WELL, **changes)) if f.level is not Level.OK]  # type: ignore[arg-type]


def test_a_good_way_has_no_complaint() -> None:
    diagnosis = Diagnosis(diagnose(WELL))
    assert (diagnosis.failures, diagnosis.warnings) == (0, 0)
    areas = [f.area for f in diagnosis.findings]
    assert areas == ["handshake", "tcp there", "tcp back", "udp", "mtu", "clock", "version"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"there": "timed out", "path": "called back"}, ["MN-119"]),
        ({"back": "timed out"}, ["MN-119"]),
        ({"there": "timed out", "back": "timed out", "path": "relayed"}, ["MN-120", "MN-120"]),
        ({"back_known": False, "there": "timed out", "path": "relayed"}, ["MN-120", "MN-120"]),
        ({"udp_ms": None, "udp_full_ms": None}, ["MN-121"]),
        ({"udp_full_ms": None}, ["MN-122"]),
        ({"clock_ms": -90_000.0}, ["MN-123"]),
        ({"version": "2"}, ["MN-124"]),
    ],
)
def test_each_fault_has_its_code(changes: dict[str, object], expected: list[str]) -> None:
    assert codes(**changes) == expected


def test_nobody_there_is_one_failure_after_another() -> None:
    gone = replace(
        WELL, path="", connect_errors=("refused",), there="refused", udp_ms=None, back_known=False
    )
    found = diagnose(gone)
    assert [f.code for f in found] == ["MN-110", "MN-120", "MN-121"]
    assert found[0].because == ("refused",)


def test_answers_that_are_lost_are_told_from_questions_that_are() -> None:
    lost = diagnose(replace(WELL, udp_ms=None, udp_heard=True))[3]
    assert "its answers are lost" in lost.text
    assert lost.try_.startswith("here:")
    unheard = diagnose(replace(WELL, udp_ms=None, udp_heard=False))[3]
    assert unheard.try_.startswith("on nas:")


def test_whatever_was_measured_every_complaint_says_what_it_is() -> None:
    for path, there, back, known, udp in product(
        ("", "relayed"), ("", "x"), ("", "x"), (True, False), (None, 1.0)
    ):
        facts = replace(WELL, path=path, there=there, back=back, back_known=known, udp_ms=udp)
        for finding in diagnose(facts):
            assert (finding.level is Level.OK) == (finding.code == "")
            assert finding.level is Level.OK or finding.because or finding.try_
