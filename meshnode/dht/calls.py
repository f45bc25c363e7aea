"""RPCs under way: their random ids, retries, timeouts, and which answer belongs to which.

An answer counts only from the key that was asked, with the id that was asked. The id is 64 random
bits that nobody but the recipient can read (datagrams are sealed), so an answer from the address
that was asked also proves that address.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Generic, TypeVar

from meshnode.dht.settings import DhtSettings
from meshnode.dht.tags import SALT_BYTES, tags_of
from meshnode.ids import Contact
from meshnode.machine import Random
from meshnode.wire.messages import FindNode, GetRecords, PutRecord, Received, Send

LATEST = 8
"""Round trips of which the second quickest tells what is slow."""
HEDGE_FACTOR = 3.0
"""So many times as slow is slow."""
HEDGE_DEVIATIONS = 2.0
"""So many mean deviations later than most is slow too: one live node in ten or twenty."""
OwnerT = TypeVar("OwnerT")
Question = FindNode | GetRecords | PutRecord


class Silence(Enum):
    """What it means that no answer has come yet."""

    SLOW = 0
    """Much slower than most: the slot in the lookup is free, but nothing is asked again yet."""
    RETRY = 1
    """Ask again; the slot is free, if it was not yet."""
    OVERDUE = 2
    """Beyond the patience of a lookup that has found something."""
    FAILED = 3
    """Given up; the call is over."""


@dataclass(slots=True)
class Call(Generic[OwnerT]):
    """One question to one contact, and for whom it is asked."""

    contact: Contact
    question: Question
    owner: OwnerT
    asked_at: float
    steps: list[tuple[float, Silence]] = field(default_factory=list)
    """What silence will mean, and when; soonest last."""
    sent: dict[int, float] = field(default_factory=dict)
    """When it was sent, by rpc id: each time under a fresh one, so that every answer tells the
    round trip, however often it was asked (Karn's problem does not arise)."""


class Calls(Generic[OwnerT]):
    """All RPCs of one node that wait for an answer."""

    def __init__(self, settings: DhtSettings, rng: Random) -> None:
        self._settings = settings
        self._rng = rng
        self._calls: dict[int, Call[OwnerT]] = {}
        """By every rpc id under which a question was sent."""
        self._count = 0
        self._due: list[tuple[float, int]] = []
        """A heap of (when, rpc); entries of answered calls are skipped."""
        self.rtt_s = settings.rtt_initial_s
        """Smoothed over all contacts."""
        self.rtt_deviation_s = settings.rtt_initial_s / 4
        """Smoothed likewise (RFC 6298, section 2)."""
        self._latest_s: deque[float] = deque(maxlen=LATEST)
        """The last round trips, whoever answered."""

    def __len__(self) -> int:
        return self._count

    def ask(
        self,
        contact: Contact,
        question: Question,
        owner: OwnerT,
        now: float,
        *,
        retries: int | None = None,
        hedged: bool = False,
    ) -> Send:
        """Start an RPC and return its first datagram; the question's rpc id is replaced.

        `hedged`: somebody waits for it, and would rather ask another than wait for a retry.
        """
        count = self._settings.retries_max if retries is None else retries
        call = Call(contact, question, owner, now, self._schedule(now, count, hedged=hedged))
        self._count += 1
        heapq.heappush(self._due, (call.steps[-1][0], self._send(call, now)))
        return Send(contact, call.question)

    def tags_of(self, contacts: Iterable[Contact]) -> bytes:
        """Return what a question carries so that its answer leaves these contacts out."""
        return tags_of(contacts, self._rng.randbytes(SALT_BYTES))

    def owner_of(self, rpc: int) -> OwnerT | None:
        """Return for whom a question was asked, None if it is answered or never was asked."""
        call = self._calls.get(rpc)
        return call.owner if call is not None else None

    def take_answer(self, received: Received, rpc: int, now: float) -> Call[OwnerT] | None:
        """Return and end the call that this answers, or None if nobody asked that."""
        call = self._calls.get(rpc)
        if call is None or call.contact.public_key != received.sender.public_key:
            return None
        took_s = max(0.0, now - call.sent[rpc])
        self._latest_s.append(took_s)
        off = took_s - self.rtt_s
        self.rtt_s += off / 8
        self.rtt_deviation_s += (abs(off) - self.rtt_deviation_s) / 4
        self._end(call)
        return call

    def next_silence(self, now: float) -> tuple[Silence, Call[OwnerT]] | None:
        """Return one call whose time for something has come, or None if there is none.

        For a retry its question has a fresh rpc id; answers to the earlier ones count as well.
        """
        while self._due and self._due[0][0] <= now:
            _, rpc = heapq.heappop(self._due)
            call = self._calls.get(rpc)
            if call is None:
                continue
            _, silence = call.steps.pop()
            if silence is Silence.FAILED:
                self._end(call)
                return silence, call
            heapq.heappush(self._due, (call.steps[-1][0], rpc))
            if silence is Silence.RETRY:
                self._send(call, now)
            return silence, call
        return None

    def _send(self, call: Call[OwnerT], now: float) -> int:
        """Give a call's question a fresh rpc id and return it."""
        rpc = self._rng.getrandbits(64)
        while rpc in self._calls:
            rpc = self._rng.getrandbits(64)
        call.question = replace(call.question, rpc=rpc)
        call.sent[rpc] = now
        self._calls[rpc] = call
        return rpc

    def _end(self, call: Call[OwnerT]) -> None:
        self._count -= 1
        for rpc in call.sent:
            del self._calls[rpc]

    def next_timer(self) -> float | None:
        """Return when `next_silence` has something, or None."""
        while self._due and self._due[0][1] not in self._calls:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def _schedule(self, now: float, count: int, *, hedged: bool) -> list[tuple[float, Silence]]:
        s = self._settings
        usual = self.rtt_s + 4 * self.rtt_deviation_s
        wait = min(max(s.retry_after_min_s, usual), s.retry_after_max_s)
        # 1, 3, 7 ... waits after the question: a lost datagram is replaced quickly, a slow link
        # is not flooded.
        retries = [(now + wait * (2**n - 1), Silence.RETRY) for n in range(1, count + 1)]
        ends = [(now + s.patience_s, Silence.OVERDUE), (now + s.rpc_timeout_s, Silence.FAILED)]
        steps = [step for step in retries if step[0] < ends[-1][0]] + ends
        slow_s = self._slow_after_s()
        if hedged and slow_s < wait:
            steps.append((now + slow_s, Silence.SLOW))
        return sorted(steps, key=lambda step: step[0], reverse=True)

    def _slow_after_s(self) -> float:
        """Return after how much silence another may be asked; a busy moment long past counts not.

        Dean and Barroso (The tail at scale, 2013) hedge after the 95th percentile; a lookup that
        wants three answers waits for its slowest, and is worth a little more. Mean and deviation
        remember a storm for dozens of answers, the quickest of the last few do not.
        """
        if len(self._latest_s) < LATEST // 2:
            return self._settings.retry_after_max_s
        usual = self.rtt_s + HEDGE_DEVIATIONS * self.rtt_deviation_s
        slow = min(usual, HEDGE_FACTOR * sorted(self._latest_s)[1])
        return max(self._settings.hedge_after_min_s, slow)
