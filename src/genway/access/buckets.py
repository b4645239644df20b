"""Token buckets: how much a key may do in a minute, in memory, with true numbers for the headers that tell of it."""

from __future__ import annotations


class Bucket:
    """Holds `most`, refilled evenly within a minute. A debt is possible, for what turned out to be more than was thought."""

    __slots__ = ("_at", "_level", "most")

    def __init__(self, most: int, now: float) -> None:
        self.most = most
        self._level = float(most)
        self._at = now

    def resize(self, most: int) -> None:
        """The limit was changed; what was used stays used."""
        self._level += most - self.most
        self.most = most

    def take(self, amount: float, now: float) -> float:
        """Take `amount`; returns 0, or, where there is not enough, in how many seconds there will be, taking nothing.

        More than the whole bucket can be taken once it is full.
        """
        self._fill(now)
        wanted = min(amount, self.most)
        if self._level < wanted:
            return (wanted - self._level) * 60 / self.most
        self._level -= amount
        return 0.0

    def correct(self, amount: float) -> None:
        """Give `amount` back, or take it where it is negative."""
        self._level = min(self._level + amount, float(self.most))

    def left(self, now: float) -> int:
        """How much could be taken now."""
        self._fill(now)
        return max(int(self._level), 0)

    def ready_in(self, now: float) -> float:
        """In how many seconds one can be taken; 0 where it can now."""
        self._fill(now)
        return max(1 - self._level, 0.0) * 60 / self.most

    def full_in(self, now: float) -> float:
        """In how many seconds all of it is there again."""
        self._fill(now)
        return max(self.most - self._level, 0.0) * 60 / self.most

    def _fill(self, now: float) -> None:
        self._level = min(self._level + (now - self._at) * self.most / 60, float(self.most))
        self._at = now
