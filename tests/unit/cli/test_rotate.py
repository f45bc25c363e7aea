"""`meshnode rotate`."""

from tests.unit.cli.verbs import Terminal


def test_it_follows_until_the_new_key_is_in_use(terminal: Terminal) -> None:
    lines = terminal.run("rotate", "--keep", "1h", "--wait", "5s")
    assert "key 3 is in use; the old one is still accepted" in lines[0]
    assert "reached 4/5" in lines[1]
    assert "waiting for nas" in lines[2]
    assert "offline, will get it on return: line6" in lines[-1]
    assert terminal.node.asked == [{"force": False, "wait_s": 5, "keep_s": 3600}]


def test_the_status_starts_nothing(terminal: Terminal) -> None:
    assert terminal.json("rotate", "--status")["rotation"]["epoch"] == 3
    assert terminal.node.asked == []
