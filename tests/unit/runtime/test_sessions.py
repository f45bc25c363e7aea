from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from onnx import TensorProto, helper

from meshnode.caps import Caps
from meshnode.errors import HashMismatch, ModelFailed, TimeLimit, UnreadableModel
from meshnode.runtime import ort, providers, threads
from meshnode.runtime.sessions import SessionCache
from meshnode.runtime.settings import RuntimeSettings
from meshnode.runtime.ticker import Ticker
from tests.unit.runtime.support import ALL, dense, endless, external, model, ref

X = np.random.default_rng(3).standard_normal((1, 4)).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> SessionCache:
    ticker = Ticker(lambda: None, tick_ms=5)
    return SessionCache(RuntimeSettings(), ticker, caps=ALL, empty_dir=tmp_path / "empty")


def later(seconds: float = 60) -> float:
    return perf_counter() + seconds


def test_answers_are_onnxruntimes_bit_for_bit(cache: SessionCache) -> None:
    data = dense()
    session = cache.acquire(ref(data), data)
    assert [t.name for t in session.inputs] == ["x"]
    assert session.inputs[0].shape == ("N", 4)
    (y,) = session.run([X], later())
    assert y.tobytes() == ort.plain_run(data, {"x": X})["y"].tobytes()


def test_a_session_is_shared_and_goes_with_its_last_user(cache: SessionCache) -> None:
    data = dense()
    first, second = cache.acquire(ref(data), data), cache.acquire(ref(data), b"not looked at")
    assert first is second
    cache.release(ref(data).sha256)
    assert cache.acquire(ref(data), data) is first
    cache.release(ref(data).sha256)
    cache.release(ref(data).sha256)
    assert cache.acquire(ref(data), data) is not first


def test_other_bytes_than_the_manifest_names_are_refused(cache: SessionCache) -> None:
    with pytest.raises(HashMismatch):
        cache.acquire(ref(dense()), dense(out=2))


def test_an_endless_model_is_stopped_at_the_deadline(cache: SessionCache) -> None:
    data = endless()
    session = cache.acquire(ref(data), data)
    started = perf_counter()
    with pytest.raises(TimeLimit):
        session.run([X], started + 0.1)
    assert 0.1 <= perf_counter() - started < 2
    with pytest.raises(TimeLimit):
        session.run([X], perf_counter() - 1)


def test_what_onnxruntime_says_is_passed_on_in_one_line(cache: SessionCache) -> None:
    data = dense()
    session = cache.acquire(ref(data), data)
    with pytest.raises(ModelFailed) as caught:
        session.run([np.zeros((1, 5), np.float32)], later())
    assert "Expected: 4" in caught.value.message
    assert "ONNXRuntimeError" not in caught.value.message
    nonsense = b"\x08\x08\x3a\x00"
    with pytest.raises(ModelFailed, match="cannot load"):
        cache.acquire(ref(nonsense), nonsense)


@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "/etc/hostname"])
def test_external_data_are_refused_twice(
    tmp_path: Path, cache: SessionCache, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cwd"
    folder.mkdir()
    (folder / "secret.bin").write_bytes(bytes(48))
    monkeypatch.chdir(folder)
    data = external(location)
    with pytest.raises(UnreadableModel, match="another file"):
        cache.acquire(ref(data), data)
    # And without our scan, onnxruntime itself looks only into an empty folder.
    (tmp_path / "empty").mkdir()
    options = ort.session_options(threads=1, spin=False, empty_dir=tmp_path / "empty")
    with pytest.raises(ModelFailed):
        ort.open_session(data, options, ["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["size", "input", "output"])
def test_models_with_names_that_are_not_text_are_refused(cache: SessionCache, name: str) -> None:
    data = model(
        [helper.make_node("Tanh", ["input"], ["output"])],
        {"input": (TensorProto.FLOAT, ["size"])},
        {"output": (TensorProto.FLOAT, ["size"])},
    ).replace(name.encode(), b"\x80" * len(name))
    with pytest.raises(UnreadableModel, match="not UTF-8"):
        cache.acquire(ref(data), data)


@pytest.mark.parametrize("better", [False, True])
def test_a_small_model_is_measured_once(
    cache: SessionCache, better: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def judged(default: threads.Run, one: threads.Run, inputs: object, *, now: object) -> bool:
        asked.append(len(default([X])[0]) + len(one([X])[0]))
        return better

    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(threads, "is_short", lambda *_, **__: True)
    monkeypatch.setattr(threads, "one_is_better", judged)
    data = dense()
    for _ in range(2):
        session = cache.acquire(ref(data), data, measure=True)
        assert session.threads == (threads.ONE if better else threads.DEFAULT)
        assert (
            session.run([X], later())[0].tobytes() == ort.plain_run(data, {"x": X})["y"].tobytes()
        )
        cache.release(ref(data).sha256)
    assert len(asked) == 1
    assert dict(cache.measured) == {ref(data).sha256: session.threads}


def test_a_model_is_not_measured_where_the_operator_has_said(tmp_path: Path) -> None:
    settings = RuntimeSettings(model_threads=2)
    cache = SessionCache(
        settings, Ticker(lambda: None, tick_ms=5), caps=ALL, empty_dir=tmp_path / "empty"
    )
    data = dense()
    assert cache.acquire(ref(data), data, measure=True).threads == 2
    assert not cache.measured


def test_measuring_an_endless_model_ends(cache: SessionCache) -> None:
    data = endless()
    assert cache.acquire(ref(data), data, measure=True).threads == threads.DEFAULT


def test_models_of_strings_are_refused(cache: SessionCache) -> None:
    data = model(
        [helper.make_node("Identity", ["words"], ["y"])],
        {"words": (TensorProto.STRING, ["N"])},
        {"y": (TensorProto.STRING, ["N"])},
    )
    with pytest.raises(UnreadableModel, match=r"'words' is a tensor\(string\)"):
        cache.acquire(ref(data), data)


def test_a_provider_that_fails_falls_back_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = providers.TABLE[0]  # this build of onnxruntime has no CUDA, so opening it fails
    monkeypatch.setattr(providers, "survey", lambda _: [providers.Verdict(absent)])
    ticker = Ticker(lambda: None, tick_ms=5)
    caps = ALL | Caps.CUDA
    cache = SessionCache(RuntimeSettings(), ticker, caps=caps, empty_dir=tmp_path / "empty")
    data = dense()
    session = cache.acquire(ref(data), data)
    assert session.provider == "CPUExecutionProvider"
    assert list(cache.fallbacks.reasons) == ["CUDA (cuda)"]


def test_caps_are_a_subset_of_what_there_is() -> None:
    assert Caps.NN in providers.detect_caps()
