from types import SimpleNamespace

from handray.data.audit.sides import same_side_twice


def people(*pairs: str):
    """Images and labels of people: "RL" has a right hand, then a left one by name."""
    sides = [(person, side) for person, pair in enumerate(pairs) for side in pair]
    images = [
        SimpleNamespace(name=f"image{n:03d}", person=f"ID{person}")
        for n, (person, _) in enumerate(sides)
    ]
    labels = {n: SimpleNamespace(order=SimpleNamespace(side=s)) for n, (_, s) in enumerate(sides)}
    return images, labels


def test_the_image_that_breaks_the_order_of_names_is_the_mirrored_one():
    found = same_side_twice(*people("RL", "RL", "RL", "RR", "LL"), set())
    assert list(found) == [(7, "the second right hand of ID3"), (8, "the second left hand of ID4")]


def test_without_a_usual_order_both_images_are_named():
    assert [n for n, _ in same_side_twice(*people("RL", "LR", "RR"), set())] == [4, 5]


def test_what_is_known_to_be_mirrored_counts_as_the_other_side():
    assert list(same_side_twice(*people("RL", "RL", "RL", "RR"), {7})) == []


def test_people_with_one_or_three_images_are_left_alone():
    assert list(same_side_twice(*people("RL", "RL", "RL", "R", "RRR"), set())) == []
