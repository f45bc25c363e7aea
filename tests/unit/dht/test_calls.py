from random import Random

from meshnode.dht.calls import Calls, Silence
from meshnode.dht.settings import DhtSettings
from meshnode.wire.messages import FindNode, FoundNodes, Received
from tests.unit.dht.page import numbered

FRIEND, LIAR = numbered(1), numbered(2)
QUESTION = FindNode(rpc=0, target=bytes(32))


def calls(**settings: float) -> Calls[str]:
    return Calls(DhtSettings(**settings), Random(1))


def answer(rpc: int, sender=FRIEND) -> Received:
    return Received(sender, FoundNodes(rpc=rpc, contacts=()))


def silences(all_calls: Calls[str]) -> list[tuple[float, Silence]]:
    """Run the clock from timer to timer until nothing is under way."""
    seen = []
    while (now := all_calls.next_timer()) is not None:
        while (found := all_calls.next_silence(now)) is not None:
            seen.append((round(now, 3), found[0]))
    return seen


def test_an_answer_counts_once_and_only_from_whom_was_asked() -> None:
    all_calls = calls()
    sent = all_calls.ask(FRIEND, QUESTION, "me", now=1.0)
    rpc = sent.message.rpc
    assert sent.recipient == FRIEND
    assert all_calls.take_answer(answer(rpc, LIAR), rpc, 1.1) is None
    assert all_calls.take_answer(answer(rpc + 1), rpc + 1, 1.1) is None
    call = all_calls.take_answer(answer(rpc), rpc, 1.1)
    assert call is not None
    assert (call.owner, call.contact) == ("me", FRIEND)
    assert all_calls.take_answer(answer(rpc), rpc, 1.1) is None
    assert all_calls.next_timer() is None
    assert len(all_calls) == 0


def test_rpc_ids_are_64_random_bits() -> None:
    all_calls = calls()
    ids = {all_calls.ask(FRIEND, QUESTION, "me", 1.0).message.rpc for _ in range(100)}
    assert len(ids) == 100
    assert 2**60 < max(ids) < 2**64


def test_silence_is_retried_twice_then_overdue_then_failed() -> None:
    all_calls = calls(rtt_initial_s=0.04)
    all_calls.ask(FRIEND, QUESTION, "me", now=0.0)
    assert silences(all_calls) == [
        (0.08, Silence.RETRY),
        (0.24, Silence.RETRY),
        (0.5, Silence.OVERDUE),
        (1.5, Silence.FAILED),
    ]
    assert len(all_calls) == 0


def test_the_first_retry_is_never_hasty_nor_too_late() -> None:
    quick, slow = calls(rtt_initial_s=0.001), calls(rtt_initial_s=5.0)
    for each in (quick, slow):
        each.ask(FRIEND, QUESTION, "me", now=0.0)
    assert quick.next_timer() == 0.025
    assert slow.next_timer() == 0.5
    assert silences(slow) == [
        (0.5, Silence.OVERDUE),
        (0.7, Silence.RETRY),
        (1.5, Silence.FAILED),
    ]


def test_each_sending_has_its_own_id_so_that_every_answer_tells_the_round_trip() -> None:
    for answered in (0, 1):
        all_calls = calls(rtt_initial_s=0.1)
        ids = [all_calls.ask(FRIEND, QUESTION, "me", now=0.0).message.rpc]
        silence = all_calls.next_silence(0.2)
        assert silence is not None
        ids.append(silence[1].question.rpc)
        assert ids[0] != ids[1]
        assert all_calls.take_answer(answer(ids[answered]), ids[answered], 0.26) is not None
        took = (0.26, 0.06)[answered]
        assert round(all_calls.rtt_s, 6) == round(0.1 + (took - 0.1) / 8, 6)
        assert len(all_calls) == 0
        assert all_calls.take_answer(answer(ids[0]), ids[0], 0.3) is None


def hurried(*round_trips_s: float) -> Calls[str]:
    """Calls whose answers took so long."""
    all_calls = calls(rtt_initial_s=0.05)
    for took_s in round_trips_s:
        rpc = all_calls.ask(FRIEND, QUESTION, "me", now=0.0).message.rpc
        assert all_calls.take_answer(answer(rpc), rpc, took_s) is not None
    return all_calls


def test_another_is_asked_before_the_retry_where_most_are_quick() -> None:
    all_calls = hurried(*[0.5] * 4, *[0.004] * 4)
    all_calls.ask(FRIEND, QUESTION, "me", now=0.0, hedged=True)
    first, second, *_ = silences(all_calls)
    assert first == (0.012, Silence.SLOW)
    assert second[1] is not Silence.SLOW


def test_one_quick_answer_makes_nobody_slow_and_where_all_are_alike_it_is_the_usual_time() -> None:
    for round_trips_s in ([0.001, *[0.2] * 7], [0.15] * 9):
        all_calls = hurried(*round_trips_s)
        all_calls.ask(FRIEND, QUESTION, "me", now=0.0, hedged=True)
        slow_s = next(at for at, silence in silences(all_calls) if silence is Silence.SLOW)
        usual_s = all_calls.rtt_s + 2.0 * all_calls.rtt_deviation_s
        assert slow_s == round(usual_s, 3), "as `silences` rounds"


def test_after_few_answers_nobody_is_slow_before_the_retry() -> None:
    all_calls = hurried(*[0.001] * 3)
    all_calls.ask(FRIEND, QUESTION, "me", now=0.0, hedged=True)
    assert Silence.SLOW not in [silence for _, silence in silences(all_calls)]


def test_what_nobody_waits_for_is_not_hedged() -> None:
    all_calls = hurried(*[0.001] * 8)
    all_calls.ask(FRIEND, QUESTION, "me", now=0.0)
    assert Silence.SLOW not in [silence for _, silence in silences(all_calls)]
