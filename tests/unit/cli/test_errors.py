"""The form of an error at the terminal."""

from meshnode.cli.errors import render, unwrap
from meshnode.errors import JoinUnreachable, PortTaken, UsageError


def test_the_code_stands_at_the_right_of_the_first_line() -> None:
    error = JoinUnreachable(
        "no answer", because=["a: refused", "b: timeout"], try_="meshnode status"
    )
    assert render(error, 40).splitlines() == [
        "meshnode: no answer               MN-103",
        "  because a: refused",
        "          b: timeout",
        "  try     meshnode status",
    ]


def test_a_long_message_keeps_its_code() -> None:
    assert render(UsageError("x" * 60), 40).splitlines()[0].endswith("x  MN-005")


def test_an_error_without_particulars_explains_itself() -> None:
    assert "Another program listens" in render(PortTaken("port 6174 is taken"), 80)


def test_the_failure_inside_nested_groups_is_found() -> None:
    taken, bug = PortTaken("a"), KeyError("b")
    group = BaseExceptionGroup("g", [ExceptionGroup("h", [taken])])
    assert unwrap(group) is taken
    assert unwrap(ExceptionGroup("g", [taken, ExceptionGroup("h", [bug])])) is bug
    stopped = BaseExceptionGroup("g", [taken, KeyboardInterrupt()])
    assert isinstance(unwrap(stopped), KeyboardInterrupt)
