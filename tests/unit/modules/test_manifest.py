from meshnode.modules.manifest import ITEM_BYTES, TensorSpec, describe, item_bytes


def test_a_tensor_reads_as_people_write_it() -> None:
    spec = TensorSpec(name="images", dtype="float32", shape=(-1, 3, 96, 96))
    assert str(spec) == "images float32[?,3,96,96]"
    assert describe("int64", ()) == "int64[]"


def test_every_dtype_has_its_size() -> None:
    assert len(ITEM_BYTES) == 12
    assert item_bytes("float16") == 2
    assert item_bytes("bool") == 1
