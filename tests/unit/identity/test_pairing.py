"""Six digits that two people compare: equal on both sides, and fixed before anybody can choose."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.errors import RemoteProtocolError
from meshnode.identity import pairing
from meshnode.identity.pairing import NUMBER_BYTES, Asking, Letting, code_of


def paired(first: bytes = b"t" * 32, second: bytes = b"t" * 32) -> tuple[Asking, Letting]:
    asking, letting = Asking(first, "nas"), Letting(second)
    letting.check(asking.reveal(letting.answer(asking.commit())))
    return asking, letting


def test_both_sides_have_the_same_six_digits_and_the_name() -> None:
    asking, letting = paired()
    assert asking.code == letting.code
    assert len(asking.code) == 6
    assert asking.code.isdigit()
    assert letting.name == "nas"


def test_another_handshake_or_another_number_gives_other_digits() -> None:
    codes = {paired()[0].code for _ in range(20)}
    assert len(codes) > 15
    number = bytes(32)
    assert code_of(b"1" * 32, number, number) != code_of(b"2" * 32, number, number)


@pytest.mark.parametrize("defended", [True, False])
def test_who_is_in_between_cannot_choose_the_digits(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    """He has both numbers before he reveals his, and tries until his code is the honest one's."""
    monkeypatch.setattr(pairing, "CODE_DIGITS", 2)
    if not defended:
        monkeypatch.setattr(pairing, "_matches", lambda commitment, number: True)
    victim, member = Asking(b"to the victim".ljust(32), "nas"), Letting(b"to the member".ljust(32))
    promised = bytes(NUMBER_BYTES)
    theirs = member.answer(pairing._commitment(promised))
    victim.commit()
    victim.reveal(b"n" * NUMBER_BYTES)
    chosen = next(
        number
        for number in (n.to_bytes(NUMBER_BYTES, "big") for n in range(1, 100_000))
        if code_of(member.transcript, number, theirs) == victim.code
    )
    with suppress(RemoteProtocolError):
        member.check(chosen + b"nas")
    assert (member.code == victim.code) is not defended


@given(st.binary(max_size=80))
def test_any_bytes_are_a_number_that_was_promised_or_refused(data: bytes) -> None:
    letting = Letting(bytes(32))
    letting.answer(bytes(32))
    with pytest.raises(RemoteProtocolError):
        letting.check(data)
    with pytest.raises(RemoteProtocolError):
        Asking(bytes(32), "nas").reveal(data[:31])


@pytest.mark.parametrize("name", [b"", b"a\nb", b"\xff", b"n" * 65])
def test_a_name_that_cannot_be_shown_is_refused(name: bytes) -> None:
    letting, number = Letting(bytes(32)), bytes(NUMBER_BYTES)
    letting.answer(pairing._commitment(number))
    with pytest.raises(RemoteProtocolError):
        letting.check(number + name)
