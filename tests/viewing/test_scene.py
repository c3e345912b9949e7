"""The three modes: which pictures and numbers they show."""

import cv2
import numpy as np
import pytest

from handray.masks.rle import RunRows, encode
from handray.viewing.case import Case, Prediction, with_own_names
from handray.viewing.drawing import Look, Panel
from handray.viewing.scene import MODES
from handray.viewing.uploads import read_picture
from handray.viewing.window import Window

SIDE = 32
NAMES = ("one", "two")
PICTURE = read_picture(cv2.imencode(".png", np.zeros((SIDE, SIDE), np.uint8))[1].tobytes(), "x.png")
LABEL = {0: np.array([[0, 0], [9, 0], [9, 9], [0, 9]], np.int32)}  # 10 x 10 pixels


def box(height: int, width: int) -> RunRows:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:height, :width] = True
    return RunRows.join([encode(mask), encode(np.zeros_like(mask))])


def scene(mode: str, *predictions: Prediction, label=LABEL, chosen=(0, 1)):
    window = Window.whole((SIDE, SIDE))
    panel = Panel(window.photo(PICTURE.image_HW), window, SIDE, Look(True, True, 0.5))
    return MODES[mode](Case.of(PICTURE, NAMES, label, predictions), panel, list(chosen))


def titles(found) -> list[str]:
    return [shot.title for shot in found.shots]


HALF = Prediction("half", box(5, 10))
MORE = Prediction("more", box(10, 12), logits_CHW=np.zeros((2, 16, 16), np.float32))


def test_prediction_output_shows_image_label_and_predictions_with_their_dice():
    found = scene("Prediction Output", HALF, MORE)
    # Class "two" is empty in label and prediction: Dice 1. Half: 2 * 50 / 150 for class "one".
    assert titles(found) == ["radiograph", "label", "half, Dice 0.833", "more, Dice 0.955"]
    assert found.columns["half"] == pytest.approx([2 / 3, 1], abs=1e-5)


def test_without_a_label_or_a_chosen_class_there_is_no_dice():
    assert titles(scene("Prediction Output", HALF, label=None)) == ["radiograph", "half"]
    assert not scene("Prediction Output", HALF, chosen=()).columns


def test_compare_loss_counts_differing_pixels_and_maps_the_loss_of_networks():
    found = scene("Compare Loss", HALF, MORE)
    assert titles(found)[2:] == [
        "half: 50 pixels differ", "more: 20 pixels differ", "more: loss of each pixel"
    ]  # fmt: skip
    assert found.columns["more px"].tolist() == [20, 0]
    # All logits are 0: log 2 a pixel.
    assert found.columns["more bce loss"] == pytest.approx([np.log(2)] * 2)
    assert "half bce loss" not in found.columns


def test_compare_loss_says_what_it_lacks():
    assert "no label" in scene("Compare Loss", HALF, label=None).note
    assert "needs a network" in scene("Compare Loss", HALF).note


def test_agreement_counts_contested_pixels():
    found = scene("Agreement", HALF, MORE)
    assert found.columns["all / any"].tolist() == [50 / 120, 1]
    assert found.columns["contested px"].tolist() == [70, 0]
    assert [text for _, text in found.legend] == ["1 of 2", "all"]
    assert "two predictions or more" in scene("Agreement", HALF).note


def test_predictions_of_one_name_are_numbered():
    named = with_own_names([HALF, MORE, HALF, HALF])
    assert [one.name for one in named] == ["half", "more", "half (2)", "half (3)"]
