"""The blocking connection when the node misbehaves."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from meshnode.client.control import ControlConnection
from meshnode.config.home import home_dir
from meshnode.errors import DeadlineExceeded, NoNodeRunning, RemoteProtocolError
from meshnode.wire.control import frame


def answering(home: Path, answer: Callable[[socket.socket], None]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home_dir(home, environ={}).control_socket))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\2[]",
        frame({"result": 1}, 1 << 40),
    ],
)
def test_an_answer_that_is_no_frame_is_refused(tmp_path: Path, raw: bytes) -> None:
    thread = answering(tmp_path, lambda s: (s.recv(4096), s.sendall(raw))[1])
    connection = ControlConnection(home_dir(tmp_path, environ={}))
    with pytest.raises(RemoteProtocolError):
        connection.call("ping")
    thread.join(5)


def test_a_node_that_dies_in_an_answer_is_reported(tmp_path: Path) -> None:
    thread = answering(tmp_path, lambda s: (s.recv(4096), s.sendall(b"\0\0"))[1])
    connection = ControlConnection(home_dir(tmp_path, environ={}))
    with pytest.raises(NoNodeRunning, match="stopped"):
        connection.call("ping")
    thread.join(5)


def test_a_node_that_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    release = threading.Event()
    thread = answering(tmp_path, lambda _: (release.wait(5), None)[1])
    connection = ControlConnection(home_dir(tmp_path, environ={}))
    with pytest.raises(DeadlineExceeded):
        connection.call("ping", timeout_s=0.05)
    release.set()
    thread.join(5)
