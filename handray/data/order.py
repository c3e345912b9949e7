"""Which rows are visited when: pure functions, so any step of any epoch can be replayed."""

import numpy as np
from numpy.typing import NDArray


def epoch_order(
    seed: int, epoch: int, rows: int, global_batch: int, repeats: int = 1
) -> NDArray[np.int64]:
    """Rows 0 .. rows - 1 in the order of one training epoch, int64 (steps, global_batch).

    Ranks share out a step's columns, so its samples don't depend on how many there are.
    The epoch is `repeats` permutations, one after the other, other ones each epoch. Batches are
    always full: the last one is filled up from the start of the same sequence, and a set smaller
    than a batch goes round several times. So no row is ever left out, counts of any two rows differ
    by at most one, and a batch holds no row twice where rows >= global_batch and repeats == 1.

    Raises ValueError where rows, global_batch or repeats is below 1.
    """
    for name, value in (("rows", rows), ("global_batch", global_batch), ("repeats", repeats)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    generator = np.random.default_rng((seed, epoch))
    sequence = np.concatenate([generator.permutation(rows) for _ in range(repeats)])
    steps = -(-len(sequence) // global_batch)
    # np.resize goes round the sequence until the shape is full.
    return np.resize(sequence, (steps, global_batch)).astype(np.int64, copy=False)


def rank_columns(
    batch: int, planned: int, accumulate: int, rank: int, ranks: int
) -> NDArray[np.int64]:
    """Columns of a step's batch that a rank sees, part after part, int64.

    A batch is worked through in planned * accumulate parts of equal size, however many ranks there
    are. With as many as planned, rank r has columns r::ranks. With fewer, parts are dealt out in
    turn; where that doesn't come out even, the last round is filled up with parts that were dealt
    already, so that every rank has as many. Those come last and must not count.
    """
    columns = np.arange(batch, dtype=np.int64).reshape(accumulate, -1, planned)
    parts = columns.transpose(0, 2, 1).reshape(planned * accumulate, -1)
    rounds = -(-len(parts) // ranks)
    mine = np.arange(rank, rounds * ranks, ranks) % len(parts)
    return parts[mine].ravel()


def rank_rows(rows: int, rank: int, ranks: int) -> NDArray[np.int64]:
    """Rows of one rank in validation or prediction, int64: over all ranks every row exactly once.

    A rank may get one row fewer than another, or none: don't reduce inside the loop over them.
    Raises ValueError where rank is not one of 0 .. ranks - 1.
    """
    if not 0 <= rank < ranks:
        raise ValueError(f"rank must be 0 to {ranks - 1}, got {rank}")
    return np.arange(rank, rows, ranks, dtype=np.int64)
