import re
from pathlib import Path

from meshnode.runtime.abi import IMPORTS, RECORD, TENSOR_TYPES, Errno
from meshnode.wire.arrays import DTYPES

HEADER = (Path(__file__).parents[3] / "guests" / "abi" / "meshnode_guest.h").read_text()


def test_the_c_header_has_the_same_numbers() -> None:
    numbers = {k: int(v) for k, v in re.findall(r"MN_(\w+) = (\d+)", HEADER)}
    for errno in Errno:
        assert numbers[errno.name] == errno
    for dtype, number in TENSOR_TYPES.items():
        assert numbers[dtype.upper()] == number


def test_the_c_header_declares_every_import() -> None:
    declared = set(re.findall(r'MN_IMPORT\("(\w+)", "(\w+)"\)', HEADER))
    assert declared == {key for key in IMPORTS if key[0] == "meshnode"}


def test_every_dtype_of_the_wire_has_a_number_and_no_two_the_same() -> None:
    assert set(TENSOR_TYPES) == set(DTYPES)
    assert len(set(TENSOR_TYPES.values())) == len(DTYPES)


def test_a_record_is_wasi_nns_tensor() -> None:
    assert RECORD.size == 20
    assert RECORD.unpack(bytes(range(8)) + b"\5\xaa\xbb\xcc" + bytes(8))[2] == 5
