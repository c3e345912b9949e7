"""What the workers have to say while they work, for the one process that shows it."""

from typing import Any

import ray

from handray.cluster.runtime import ON_HEAD


class Board:
    """One small actor a run: the latest word of each fold, failures, and a count of decodes."""

    def __init__(self) -> None:
        self.words: dict[int, dict[str, Any]] = {}
        self.failures: dict[int, str] = {}
        self.decodes = 0

    def post(self, fold: int, word: dict[str, Any]) -> None:
        """Replace what a fold last said."""
        self.words[fold] = word

    def fail(self, fold: int, sentence: str) -> None:
        """Keep a failure that another try would meet again."""
        self.failures[fold] = sentence

    def failure(self, fold: int) -> str | None:
        """Why a fold can't go on, if it can't."""
        return self.failures.get(fold)

    def count_decode(self) -> None:
        """Count one image decoded."""
        self.decodes += 1

    def read(self) -> tuple[dict[int, dict[str, Any]], dict[int, str], int]:
        """Words and failures by fold, and the decodes so far."""
        return self.words, self.failures, self.decodes


def start_board() -> Any:
    """Start a board; it lives as long as this process holds it."""
    return ray.remote(num_cpus=0, resources=ON_HEAD)(Board).remote()
