"""`meshnode trust`."""

from tests.unit.cli.verbs import Terminal


def test_publishers_are_listed_and_added(terminal: Terminal) -> None:
    assert terminal.run("trust")[1].split() == ["lab", "P7K2M4Q", "mesh", "K"]
    assert terminal.run("trust", "list") == terminal.run("trust")
    assert terminal.run("trust", "add", "KEY", "--name", "me") == [
        "modules signed by me (KEY) may run here now"
    ]
    assert terminal.json("trust", "add", "KEY", "--name", "me")["added"]["name"] == "me"
