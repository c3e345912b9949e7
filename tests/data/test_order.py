import numpy as np
import pytest

from handray.data.order import epoch_order, rank_columns, rank_rows


def counts(order, rows):
    return np.bincount(order.ravel(), minlength=rows).tolist()


def test_an_epoch_visits_every_row_once_where_batches_fit():
    order = epoch_order(seed=1, epoch=0, rows=12, global_batch=4)
    assert (order.shape, order.dtype) == ((3, 4), np.int64)
    assert counts(order, 12) == [1] * 12


def test_the_last_batch_is_filled_from_the_epochs_start():
    order = epoch_order(seed=1, epoch=0, rows=10, global_batch=4).ravel()
    assert order.shape == (12,)  # 3 batches of 4
    assert order[10:].tolist() == order[:2].tolist()
    assert sorted(order[:10]) == list(range(10))


def test_a_set_smaller_than_a_batch_goes_round():
    order = epoch_order(seed=1, epoch=0, rows=3, global_batch=8)
    assert order.shape == (1, 8)
    assert sorted(counts(order, 3)) == [2, 3, 3]


@pytest.mark.parametrize("rows", [1, 5, 7, 16])
@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("repeats", [1, 3])
def test_no_row_is_starved_and_counts_differ_by_at_most_one(rows, batch, repeats):
    seen = counts(epoch_order(0, 0, rows, batch, repeats), rows)
    assert min(seen) >= repeats
    assert max(seen) - min(seen) <= 1


@pytest.mark.parametrize("rows", [8, 9, 15, 100])
def test_a_batch_holds_no_row_twice(rows):
    for batch in epoch_order(seed=3, epoch=2, rows=rows, global_batch=8):
        assert len(set(batch.tolist())) == 8


def test_repeats_are_different_permutations_one_after_the_other():
    order = epoch_order(seed=1, epoch=0, rows=20, global_batch=10, repeats=2)
    first, second = order[:2].ravel(), order[2:].ravel()
    assert sorted(first) == sorted(second) == list(range(20))
    assert first.tolist() != second.tolist()


def test_the_same_seed_and_epoch_give_the_same_order():
    assert (epoch_order(5, 7, 100, 8) == epoch_order(5, 7, 100, 8)).all()


@pytest.mark.parametrize("seed, epoch", [(5, 8), (6, 7), (7, 5)])
def test_another_seed_or_epoch_gives_another_order(seed, epoch):
    assert (epoch_order(5, 7, 100, 8) != epoch_order(seed, epoch, 100, 8)).any()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_with_as_many_ranks_as_planned_each_has_every_nth_column(accumulate):
    shares = [rank_columns(8, 4, accumulate, rank, ranks=4).tolist() for rank in range(4)]
    assert shares == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_fewer_ranks_than_planned_work_through_the_same_parts():
    # Planned: ranks 0 and 1, two parts each: [0, 2], [1, 3], [4, 6], [5, 7].
    assert rank_columns(8, 2, 2, rank=0, ranks=1).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_where_parts_do_not_come_out_even_the_last_round_repeats_the_first_ones():
    # Four parts of one image over three ranks: part 3 in the second round, then parts 0 and 1.
    shares = [rank_columns(4, 4, 1, rank, ranks=3).tolist() for rank in range(3)]
    assert shares == [[0, 3], [1, 0], [2, 1]]


@pytest.mark.parametrize(
    "rows, batch, repeats, message",
    [
        (0, 8, 1, "rows must be at least 1, got 0"),
        (8, 0, 1, "global_batch must be at least 1, got 0"),
        (8, 8, 0, "repeats must be at least 1, got 0"),
    ],
)
def test_an_empty_epoch_is_refused(rows, batch, repeats, message):
    with pytest.raises(ValueError, match=message):
        epoch_order(0, 0, rows, batch, repeats)


def test_ranks_share_the_rows_of_validation():
    assert [rank_rows(7, rank, 3).tolist() for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.parametrize("rows", [0, 1, 2, 13])
def test_over_all_ranks_every_row_comes_exactly_once(rows):
    joined = np.concatenate([rank_rows(rows, rank, 3) for rank in range(3)])
    assert sorted(joined) == list(range(rows))


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_that_does_not_exist_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank must be 0 to 1, got {rank}"):
        rank_rows(7, rank, 2)
