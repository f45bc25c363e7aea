from meshnode.runtime.probe import ask, ending, try_out


def test_onnxruntime_is_asked_in_a_process_of_its_own() -> None:
    answer = ask()
    assert "CPUExecutionProvider" in answer.available
    assert answer.openvino is None
    assert all(kind in ("cpu", "gpu", "npu") for _, kind in answer.ep_devices)


def test_a_provider_that_computes_as_the_cpu_does_passes() -> None:
    assert try_out("CPUExecutionProvider", (), True) == ""


def test_a_provider_that_the_build_has_not_is_refused_with_a_reason() -> None:
    assert "onnxruntime cannot load the model" in try_out("NoSuchProvider", (), True)


def test_a_driver_that_crashed_is_told_from_one_that_failed() -> None:
    assert [ending(status) for status in (0, 1, -11)] == [
        "",
        "ended with status 1",
        "ended by signal 11",
    ]
