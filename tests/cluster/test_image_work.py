from handray.cluster.image_work import over_images


def test_every_item_comes_back_once_by_its_number_or_with_its_sentence(one_ray):
    def half(number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd; take an even one")
        return number // 2

    told = []
    done, faults = over_images(half, [8, 3, 6, 4], lambda *counts: told.append(counts))
    assert done == {0: 4, 2: 3, 3: 2}
    assert faults == {1: "3 is odd; take an even one"}
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_no_items_are_no_work():
    assert over_images(str, [], lambda *_: None) == ({}, {})
