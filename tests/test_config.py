"""The config tree: flags, recipes, and sentences for what can't be."""

import argparse
import json
import re

import pytest

from handray.config import flatten, identity, replaced
from handray.flags import add_flags, from_flags
from handray.models.zoo import NETWORKS
from handray.recipes import PRESETS, RECIPES, recipe


def parse(*arguments: str):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return from_flags(parser.parse_args(arguments))


def test_without_a_flag_the_recipe_is_the_reports_best_network():
    config = flatten(parse())
    assert config["model.model"] == "hrnet"
    assert config["data.size"] == 1024
    assert config["data.folds"] == 5
    assert config["data.augment"] == "elastic+flip"
    assert config["train.loss"] == "1*bce+1*dice"
    assert config["optim.optimizer"] == "adamp"


def test_a_flag_overrides_one_key_of_the_recipe():
    before, after = (
        flatten(recipe("hrnet_small")),
        flatten(parse("--model", "hrnet_small", "--lr", "0.5")),
    )
    assert {key for key in before if before[key] != after[key]} == {"optim.lr"}


def test_a_switch_is_on_only_where_it_is_given():
    assert flatten(parse())["cluster.activation_checkpointing"] is False
    on = flatten(parse("--activation-checkpointing"))
    assert on["cluster.activation_checkpointing"] is True


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("manet_resnet101", {"optim.lr": 5e-4, "train.epochs": 80, "model.weights": "none"}),
        ("fcn_resnet101", {"data.size": 1024, "data.augment": "jitter+sharpen+rbc"}),
        ("fcn_resnet50", {"data.size": 512, "data.augment": "none", "train.epochs": 50}),
        ("pan_resnet101", {"train.epochs": 40, "optim.lr": 1e-4, "optim.weight_decay": 1e-6}),
        ("unet_scratch", {"data.augment": "jitter+sharpen+rbc+griddropout+flip"}),
        ("hrnet_scratch", {"data.augment": "jitter+sharpen+rbc+griddropout", "data.size": 1024}),
    ],
)
def test_a_recipe_has_the_reports_settings(model, settings):
    assert settings.items() <= flatten(recipe(model)).items()


def test_the_demo_preset_swaps_in_a_small_network_whatever_the_model():
    config = flatten(parse("--model", "hrnet", "--preset", "demo", "--folds", "4"))
    assert (config["model.model"], config["data.folds"]) == ("hrnet_small", 4)


def test_flags_are_unique_over_the_whole_tree():
    leaves = [key.split(".")[1] for key in flatten(recipe("hrnet"))]
    assert len(leaves) == len(set(leaves))


@pytest.mark.parametrize("model", NETWORKS)
def test_every_network_has_a_recipe_of_its_own_name(model):
    assert recipe(model).model.model == model


def test_every_recipe_and_preset_is_a_valid_config():
    assert RECIPES.keys() == NETWORKS.keys()
    for build in [*RECIPES.values(), *PRESETS.values()]:
        assert build().rank_batch >= 1


def test_the_cluster_is_no_part_of_what_is_learnt():
    config = recipe("hrnet_small")
    elsewhere = replaced(config, {"cluster.workers_per_fold": 2, "cluster.folds_at_once": 3})
    assert identity(config) == identity(elsewhere)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "hrnot"], "--model hrnot is not known.*hrnet_small"),
        (["--size", "1000"], "multiple of 32.*got 1000; try 992"),
        (["--size", "-64"], "multiple of 32.*got -64; try 64"),
        (["--folds", "0"], "--folds must be at least 1, got 0; 5 is usual"),
        (["--folds", "1", "--schedule", "plateau"], "--folds 1 holds nothing out; take --schedule"),
        (["--augment-strength", "3"], "must be above 0 and at most 2, got 3"),
        (["--model", "pan", "--size", "96"], "at least 128 for pan, got 96; try 128"),
        (["--model", "deeplabv3plus", "--batch", "2"], "at least 2 images a pass.*--batch 4"),
        (["--encoder", "resnet50"], "--encoder resnet50: hrnet has its own"),
        (["--encoder-lr-factor", "2"], "--encoder-lr-factor must be above 0 and at most 1, got 2"),
        (
            ["--elastic", "2"],
            "--elastic 2: the fewest ranks to go on with are 1 to --workers-per-f",
        ),
        (["--batch", "0"], "--batch must be at least 1, got 0"),
        (["--batch", "6", "--workers-per-fold", "2"], r"--batch 6 can't be .* 4 equal.*--batch 8"),
        (["--batch", "5", "--accumulate", "2"], "--batch 5 can't be split.*--batch 6"),
        (["--precision", "fp8"], "--precision fp8 is not known; choose one of: auto, bf16"),
        (["--cuda-graphs"], "--cuda-graphs takes a batch in one pass; add --accumulate 1, got 2"),
        (["--cuda-graphs", "--workers-per-fold", "2"], "--cuda-graphs records one rank's whole"),
        (["--feed", "tape"], "--feed tape is not known"),
        (
            ["--cache", "c", "--feed", "streamed"],
            "--cache c keeps.*leave one of them out",
        ),
        (["--cache", "s3://b/c"], "--cache s3://b/c is a URL.*give the path of a folder"),
        (["--lr", "0"], "--lr and --clip must be above 0"),
        (["--lr", "nan"], "--lr and --clip must be above 0"),
        (["--lr", "inf"], "--lr must be a finite number, got inf"),
        (["--minutes", "nan"], "--minutes must be a finite number, got nan"),
        (["--minutes", "-1"], "--minutes must not be negative"),
        (["--ema", "1"], r"--warmup and --ema must be in \[0, 1\)"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_the_remedy(arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        parse(*arguments)
    assert "\n" not in str(caught.value)


def test_a_file_of_keys_changes_the_recipe_and_flags_change_the_file(tmp_path):
    file = tmp_path / "best.json"
    file.write_text(json.dumps({"model.model": "fpn", "data.size": 256, "optim.lr": 1}))
    config = parse("--config", str(file), "--size", "512")
    assert (config.model.model, config.data.size, config.optim.lr) == ("fpn", 512, 1)
    assert config.optim.optimizer == recipe("fpn").optim.optimizer


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "--config .*best.json can't be read: Expecting"),
        ("[1]", "--config .*best.json holds no object of keys"),
        ('{"optim.rate": 1}', "best.json: no config key optim.rate; known: model.model"),
        ('{"train.epochs": "ten"}', "best.json: train.epochs must be a int, got 'ten'"),
        ('{"train.epochs": 1.5}', "best.json: train.epochs must be a int, got 1.5"),
    ],
)
def test_a_file_that_is_no_config_is_refused(text, sentence, tmp_path):
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        parse("--config", str(tmp_path / "best.json"))


def test_an_unknown_key_lists_the_known_ones():
    with pytest.raises(ValueError, match=re.escape("no config key optim.rate; known: model.model")):
        replaced(recipe("hrnet"), {"optim.rate": 1.0})
