"""What the workers have to say while they work, for the one process that shows it."""

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import ray

from handray.cli import masked
from handray.cluster.runtime import ON_HEAD


class Standing(NamedTuple):
    """How things stand, by training."""

    words: dict[Any, dict[str, Any]]
    """The latest of each."""
    failures: dict[Any, str]
    """A sentence each."""
    decodes: int
    """Images decoded by all of them."""


class Board:
    """One small actor a run: the latest word of each training, what it brought, what went wrong.

    A training goes by its fold, or by the name of its trial.
    """

    def __init__(self) -> None:
        self.words: dict[Hashable, dict[str, Any]] = {}
        self.failures: dict[Hashable, str] = {}
        self.outcomes: dict[Hashable, Any] = {}
        self.kinds: dict[Hashable, str] = {}
        self.said: list[str] = []
        self.decodes = 0

    def say(self, sentence: str) -> None:
        """Have a sentence printed."""
        self.said.append(sentence)

    def take_said(self) -> list[str]:
        """What was said since this was last asked."""
        said, self.said = self.said, []
        return said

    def post(self, key: Hashable, word: dict[str, Any]) -> None:
        """Replace what a training last said."""
        self.words[key] = word

    def fail(self, key: Hashable, sentence: str) -> None:
        """Keep a failure that another try would meet again."""
        self.failures[key] = masked(sentence)

    def failure(self, key: Hashable) -> str | None:
        """Why a training can't go on, if it can't."""
        return self.failures.get(key)

    def keep(self, key: Hashable, outcome: Any) -> None:
        """Replace what a training has brought so far."""
        self.outcomes[key] = outcome

    def outcome(self, key: Hashable) -> Any:
        """What a training has brought; None where it has brought nothing."""
        return self.outcomes.get(key)

    def take(self, key: Hashable, kinds: Mapping[str, int]) -> str:
        """Give a training the emptiest kind of GPU, told how many trainings fit each."""
        taken = Counter(kind for other, kind in self.kinds.items() if other != key)
        self.kinds[key] = min(kinds, key=lambda kind: taken[kind] / kinds[kind])
        return self.kinds[key]

    def give_back(self, key: Hashable) -> None:
        """A training is over, and what it took is free."""
        self.kinds.pop(key, None)

    def count_decode(self) -> None:
        """Count one image decoded."""
        self.decodes += 1

    def read(self) -> Standing:
        """How things stand."""
        return Standing(self.words, self.failures, self.decodes)


def start_board() -> Any:
    """Start a board; it lives as long as this process holds it."""
    return ray.remote(num_cpus=0, resources=ON_HEAD)(Board).remote()


class CountDecode:
    """Tells the board of each image decoded; goes along to the decoding tasks."""

    def __init__(self, board: Any) -> None:
        self.board = board

    def __call__(self, row: int) -> None:
        """Count one row; waits, so that what is decoded is counted whoever asks next."""
        ray.get(self.board.count_decode.remote())
