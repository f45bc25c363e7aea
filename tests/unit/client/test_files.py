"""Input files in every form, and outputs as .npy."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from meshnode.client.files import read_input, split_name, write_npy
from meshnode.errors import InputError, UnreadableInput, UsageError
from meshnode.wire import arrays

ONE = {"x": "float32"}
TWO = {"x": "float32", "in/n=1:0": "int64"}
ROW = np.array([[1, 2, 3]], np.float32)


def test_an_npy_file_is_the_only_input_or_the_named_one(tmp_path: Path) -> None:
    file = tmp_path / "a=b.npy"
    np.save(file, ROW)
    ((head, data),) = read_input(str(file), ONE)
    assert (head.name, head.dtype, head.shape, bytes(data)) == (
        "x",
        "float32",
        (1, 3),
        ROW.tobytes(),
    )
    assert read_input(f"x={file}", TWO)[0][0].name == "x"
    with pytest.raises(UsageError, match="for which input"):
        read_input(str(file), TWO)


def test_names_may_contain_what_tools_put_there() -> None:
    assert split_name("in/n=1:0=f.npy", TWO) == ("in/n=1:0", "f.npy")
    assert split_name("z=f.npy", TWO) == ("z", "f.npy")
    assert split_name("f.npy", TWO) == ("", "f.npy")


@pytest.mark.parametrize(
    "array", [ROW.T.copy().T, ROW.astype(">f4"), np.asfortranarray(np.ones((2, 3)))]
)
def test_any_order_of_bytes_and_axes_is_read(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array)
    ((head, data),) = read_input(str(tmp_path / "x.npy"), ONE)
    again = np.frombuffer(data, head.dtype).reshape(head.shape)
    np.testing.assert_array_equal(again, array)


def test_json_is_one_tensor_or_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text("[[1, 2, 3]]")
    assert bytes(read_input(str(file), ONE)[0][1]) == ROW.tobytes()
    file.write_text(json.dumps({"x": [[1, 2, 3]], "in/n=1:0": [7]}))
    assert [head.dtype for head, _ in read_input(str(file), TWO)] == ["float32", "int64"]
    file.write_text(json.dumps({"dtype": "int8", "shape": [2], "data": [1, 2]}))
    assert read_input(str(file), ONE)[0][0].dtype == "int8"


def test_raw_bytes_need_their_type(tmp_path: Path) -> None:
    file = tmp_path / "frame.raw"
    file.write_bytes(ROW.tobytes())
    assert read_input(str(file), ONE, dtype="float32", shape=(1, 3))[0][0].shape == (1, 3)
    with pytest.raises(UnreadableInput, match="12 bytes"):
        read_input(str(file), ONE, dtype="float32", shape=(4,))
    with pytest.raises(UnreadableInput, match=r"neither \.npy nor JSON"):
        read_input(str(file), ONE)


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1.5]")))
    assert read_input("-", ONE)[0][0].shape == (1,)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npy cannot be read"):
        read_input(str(tmp_path / "none.npy"), ONE)
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UnreadableInput, match="elements of type"):
        read_input(str(tmp_path / "o.npy"), ONE)


def test_an_output_is_written_as_numpy_reads_it(tmp_path: Path) -> None:
    write_npy(tmp_path / "y.npy", arrays.header("y", "float32", (1, 3)), ROW.tobytes())
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), ROW)
    with pytest.raises(UsageError, match="cannot be written"):
        write_npy(tmp_path / "no" / "y.npy", arrays.header("y", "float32", (1, 3)), ROW.tobytes())


def test_a_turned_array_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "turned.npy"
    np.save(file, np.asfortranarray(np.zeros((3, 4), np.float32)))
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(UnreadableInput, match="cannot be read as"):
        read_input(str(file), ONE)
