"""Bad input from every side: each is refused by name, nothing is stored, and the node serves on.

A refusal is one message (what, because, try) with its code and the exit status of its class; a
traceback, a second line on stderr or a changed store fails these tests.
"""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from meshnode.assets import asset
from meshnode.demo.hostile import gallery
from meshnode.demo.processes import Playground, Proc, until
from meshnode.errors import MeshnodeError
from meshnode.identity.invites import Invite, encode, new_secret, parse
from meshnode.ids import Address
from tests.integration.place import ANY_PORT, Place, refused, start, stored

pytestmark = pytest.mark.integration

SECRETS_OF_A_MESH = ("mesh.cbor", "root.key", "state.cbor", "invites.cbor", "trust.cbor")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Playground() as play:
        yield Place(play)


# ---------------------------------------------------------------------- inputs and references


def test_an_input_that_does_not_fit_is_refused_before_it_leaves(place: Place) -> None:
    x, good = place.image, Path(place.good).read_bytes()
    huge_shape = b"{'descr': '<f4', 'fortran_order': True, 'shape': (99999999, 99999999)}"
    turned = np.asfortranarray(np.zeros((3, 1, 8, 8), np.float32))
    with (place.root / "huge").open("wb") as huge:
        huge.truncate(300 << 20)
    for code, given in (
        ("MN-301", place.npy("f64.npy", x.astype(np.float64))),
        ("MN-302", place.npy("three-axes.npy", x[0])),
        ("MN-302", place.npy("no-rows.npy", x[:0])),
        ("MN-303", f"nope={place.good}"),
        ("MN-303", place.file("empty.json", b"{}")),
        ("MN-304", place.npy("objects.npy", np.array([{}], object), allow_pickle=True)),
        ("MN-304", place.npy("texts.npy", np.array(["a"]))),
        ("MN-304", place.file("cut.npy", good[:-5])),
        ("MN-304", place.file("cut-header.npy", good[:50])),
        ("MN-304", place.file("shape.npy", good[:8] + b"v\0" + huge_shape.ljust(117) + b"\n")),
        ("MN-304", place.file("f.npy", Path(place.npy("f.npy", turned)).read_bytes()[:-7])),
        ("MN-304", place.file("ragged.json", b'{"images": [[1, 2], [3]]}')),
        ("MN-304", place.file("deep.json", b"[" * 100_000)),
        ("MN-304", place.file("junk", b"\xff\x00junk")),
        ("MN-304", str(place.root / "no-such-file")),
        ("MN-304", str(place.root)),
        ("MN-307", str(place.root / "huge")),
    ):
        refused(place.predict("digits", "--input", given), code)
    named = refused(place.predict("digits", "--input", str(place.root / "f64.npy")), "MN-301")
    assert "images" in str(named["message"])


def test_a_reference_that_means_nothing_is_answered_with_the_nearest(place: Place) -> None:
    error = refused(place.predict("digit", "--input", place.good), "MN-510")
    assert "digits" in str(error["try"])
    error = refused(place.predict("digits@9.9.9", "--input", place.good), "MN-510")
    assert "1.0.0" in str(error["because"])
    refused(place.predict("digits@sha256:" + "0" * 64, "--input", place.good), "MN-511")
    for bad in ("Digits", "digits@", "digits@1.0", "../x", "digits:stable", ""):
        refused(place.predict(bad, "--input", place.good), "MN-005")


def test_flags_that_make_no_sense_are_named(place: Place) -> None:
    for words in (
        ("predict", "digits", "--input", place.good, "--deadline", "soon"),
        ("predict", "digits", "--input", place.good, "--source", "s" * 100),
        ("publish", str(place.module), "--replicas", "0"),
        ("invite", "--uses", "0"),
        ("invite", "--role", "king"),
        ("trust", "add", "", "--name", "x"),
        ("statsu",),
    ):
        refused(place.verb(place.a, *words), "MN-005")


# ---------------------------------------------------------------------- modules


def test_a_module_that_was_touched_is_refused_and_not_stored(place: Place) -> None:
    data = place.module.read_bytes()
    middle, before = len(data) // 2, stored(place.a)
    cases = {
        "first": b"\x01" + data[1:],
        "header": data[:40] + bytes([data[40] ^ 1]) + data[41:],
        "middle": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "last": data[:-1] + bytes([data[-1] ^ 1]),
        "cut": data[:-1],
        "halved": data[:middle],
        "appended": data + b"\0",
        "section": data + b"\0\x03\x01aX",
        "onnx": asset("digits.onnx").read_bytes(),
        "nothing": b"",
    }
    with place.play.client(place.a) as client:
        for name, changed in cases.items():
            path = place.file(f"{name}.wasm", changed)
            refused(place.verb(place.a, "publish", path), "MN-202", "MN-206")
            with pytest.raises(MeshnodeError) as at_the_node:  # past the client's own check
                client.publish_parts([changed])
            assert at_the_node.value.code in ("MN-202", "MN-206"), name
    assert stored(place.a) == before


def test_hostile_modules_end_with_their_own_code(place: Place) -> None:
    x = place.npy("x.npy", np.zeros((1, 4), np.float32))
    for case in gallery(place.a.home / "publisher.key", place.root):
        published = place.verb(place.a, "publish", str(case.path), "--replicas", "1")
        if case.runs:
            assert published.exit_status == 0, published
            refused(place.predict(case.module, "--input", x), case.code)
        else:
            refused(published, case.code)
    late = refused(place.predict("hostile-spin", "--input", x, "--deadline", "100ms"), "MN-503")
    assert "no answer yet" in str(late["because"])
    assert place.predict("digits", "--input", place.good).exit_status == 0


def test_what_is_no_model_is_not_packed(place: Place) -> None:
    onnx = asset("digits.onnx").read_bytes()
    for code, path in (
        ("MN-305", place.file("cut.onnx", onnx[: len(onnx) // 2])),
        ("MN-305", place.file("page.onnx", b"<!doctype html><title>404</title>")),
        ("MN-305", place.file("empty.onnx", b"")),
        ("MN-005", str(place.module)),
        ("MN-005", str(place.root / "none.onnx")),
    ):
        words = ("pack", path, "--name", "q", "--version", "1.0.0")
        refused(place.play.verb(place.a, *words), code)
    assert not list(place.root.glob("q-*"))


# ---------------------------------------------------------------------- starting


def test_a_port_that_is_taken_leaves_no_mesh_behind(place: Place) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as taken:
            taken.bind(("127.0.0.1", 0))
            if kind == socket.SOCK_STREAM:
                taken.listen()
            proc = place.stranger()
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            refused(start(place, proc, "--listen", listen, "--api", "off"), "MN-002")
            assert not [name for name in SECRETS_OF_A_MESH if (proc.home / name).exists()]
    refused(start(place, place.a), "MN-003")


def test_a_bad_configuration_names_the_key_and_the_nearest(place: Place) -> None:
    for toml, named in (
        ('[mesh]\nlistn = "x"', "mesh.listen"),
        ("[batch]\nmax = 0", "batch.max"),
        ("[mesh\n", "not TOML"),
        ('[modules]\npin = ["Bad Name"]', "modules.pin"),
    ):
        proc = place.stranger()
        (proc.home / "node.toml").write_text(toml)
        error = refused(start(place, proc), "MN-701")
        assert named in f"{error['message']} {error['try']}"
        assert [p.name for p in proc.home.iterdir()] == ["node.toml"]
    not_ours = place.stranger()
    not_ours.home.rmdir()
    not_ours.home.write_text("a file")
    refused(start(place, not_ours), "MN-701")


def test_secrets_that_cannot_be_used_are_named_and_damaged_state_is_not_missed(
    place: Place,
) -> None:
    proc = place.founder
    place.up(proc)
    with place.play.client(proc) as client:
        client.invite()
    assert place.play.stop(proc) == 0
    key, mesh = proc.home / "identity.key", proc.home / "mesh.cbor"
    good_key, good_mesh = key.read_bytes(), mesh.read_bytes()
    for file, bad in ((key, good_key[:20]), (key, os.urandom(32)), (mesh, good_mesh[:-3])):
        file.write_bytes(bad)
        refused(start(place, proc), "MN-006")
        key.write_bytes(good_key)
        mesh.write_bytes(good_mesh)
    key.chmod(0o644)
    assert "chmod 600" in str(refused(start(place, proc), "MN-006")["try"])
    key.unlink()
    refused(start(place, proc), "MN-006")
    assert not key.exists(), "a lost key is not replaced behind its owner's back"
    key.write_bytes(good_key)
    key.chmod(0o600)
    for name in ("state.cbor", "trust.cbor", "invites.cbor", "modules.cbor"):
        (proc.home / name).write_bytes(b"\xa1\x66format")
        (proc.home / name).chmod(0o600)
    place.up(proc)
    assert place.play.stop(proc) == 0


def test_every_client_verb_says_that_no_node_runs(place: Place) -> None:
    proc = place.stranger()
    for words in (
        ("status",),
        ("modules",),
        ("stop",),
        ("invite",),
        ("predict", "digits", "--input", place.good),
        ("publish", str(place.module)),
    ):
        refused(place.verb(proc, *words), "MN-001")
    assert list(proc.home.iterdir()) == []


# ---------------------------------------------------------------------- invites


def test_each_bad_invite_has_its_own_error_and_admits_nobody(place: Place) -> None:
    good = place.invite()
    known = parse(good)
    later = int(time.time()) + 600
    short_lived = parse(place.invite(ttl=1.0))
    secret, closed = new_secret(), Address("127.0.0.1", 1)
    mistyped = good[:30] + ("a" if good[30] != "a" else "b") + good[31:]
    assert place.verb(place.stranger(), "join", good, "--name", "x").exit_status == 0
    until(lambda: time.time() > short_lived.expires_at + 1, "it has expired", 5)
    for code, text in (
        ("MN-104", mistyped),
        ("MN-104", good[:-9]),
        ("MN-104", encode(Invite(known.network, secret, known.addresses, later, 1))),
        ("MN-105", encode(short_lived)),
        (
            "MN-105",
            encode(Invite(known.network, short_lived.secret, known.addresses, later, 1)),
        ),
        ("MN-106", good),
        ("MN-103", encode(Invite(known.network, known.secret, (closed,), later, 1))),
    ):
        proc = place.stranger()
        refused(place.verb(proc, "join", text, "--name", "x"), code)
        assert not [name for name in SECRETS_OF_A_MESH if (proc.home / name).exists()]
    founder = place.founder
    if not (founder.home / "mesh.cbor").exists():
        place.up(founder)
        place.play.stop(founder)
    before = (founder.home / "mesh.cbor").read_bytes()
    refused(place.verb(founder, "join", place.invite(), "--name", "x"), "MN-107")
    assert (founder.home / "mesh.cbor").read_bytes() == before


# ---------------------------------------------------------------------- the disk


def blob(place: Place, proc: Proc) -> Path:
    return proc.home / "store" / "sha256" / place.sha256[:2] / place.sha256


def test_a_rotten_file_is_fetched_again_and_never_served(place: Place) -> None:
    for victim in (place.a, place.b):
        assert place.play.stop(victim) == 0
        data = bytearray(blob(place, victim).read_bytes())
        data[-100] ^= 0xFF
        blob(place, victim).write_bytes(data)
        place.up(victim)
        place.see_each_other()
        assert place.predict("digits", "--input", place.good, at=victim).exit_status == 0
        done = place.verb(place.a, "publish", str(place.module), "--replicas", "2").result
        assert [r["ok"] for r in done["published"]["replicas"]] == [True], done
        assert sha256(blob(place, victim).read_bytes()).hexdigest() == place.sha256
        quarantined = victim.home / "store" / "quarantine" / place.sha256
        assert quarantined.read_bytes() == data


def test_a_full_disk_stores_nothing_and_the_node_serves_on(place: Place) -> None:
    """A limit on file sizes stands for the full disk: it meets this process only, without root."""
    proc = place.play.add("full", "start", *ANY_PORT, "--name", "full")
    place.verb(proc, "join", place.invite(), "--name", "full").result  # noqa: B018
    place.up(proc)
    assert proc.process is not None
    with place.play.client(proc) as client:
        until(lambda: len(client.peers()) >= 2, "full sees the others")
    resource.prlimit(proc.process.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    refused(place.verb(proc, "publish", str(place.module)), "MN-602", "MN-203")
    publish = ("publish", str(place.module), "--replicas", "3")
    copies = place.verb(place.a, *publish).result["published"]["replicas"]
    assert {r["name"]: r["detail"].split()[0] for r in copies if not r["ok"]} == {"full": "MN-602"}
    assert stored(proc) == set()
    assert place.predict("digits", "--input", place.good, at=proc).exit_status == 0
    assert place.play.stop(proc) == 0


def test_a_store_that_is_too_small_says_so(place: Place) -> None:
    """Two files of 843 KiB, the first one pinned, and a budget of 1 MiB."""
    second = place.root / "second.wasm"
    proc = place.play.add("small", "start", *ANY_PORT, "--set", "budget.store=1MiB")
    for path, version in ((place.root / "first.wasm", "1.0.0"), (second, "2.0.0")):
        words = ("pack", str(asset("digits.onnx")), "--name", "digits", "--version", version)
        place.verb(proc, *words, "--out", str(path)).result  # noqa: B018
    first = sha256((place.root / "first.wasm").read_bytes()).hexdigest()
    kept = proc.home / "store" / "sha256" / first[:2]
    kept.mkdir(parents=True)
    (kept / first).write_bytes((place.root / "first.wasm").read_bytes())
    (kept / f"{first}.pin").touch()
    place.up(proc)
    before = stored(proc)
    error = refused(place.verb(proc, "publish", str(second)), "MN-601")
    assert "budget.store" in str(error["try"])
    assert stored(proc) == before
    assert place.play.stop(proc) == 0


def test_no_eligible_node_lists_every_reason(place: Place) -> None:
    """Last, because it stops the one node that could."""
    with place.play.client(place.b) as client:
        client.describe("digits")
    assert place.play.stop(place.a) == 0
    error = refused(place.predict("digits", "--input", place.good), "MN-501")
    assert "b: lacks cap nn" in str(error["because"])
    assert "a: " in str(error["because"])


def test_people_are_told_the_same_without_json(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meshnode", "status", "--home", str(place.root / "nobody")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.endswith("MN-001")
    assert [line.split()[0] for line in rest] == ["because", "try"]
