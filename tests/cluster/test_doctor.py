"""What the doctor makes of facts, and the trials that it makes on this machine."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from handray.cluster.doctor import judge
from handray.cluster.doctor.examine import DataSize, check_machines, examine, stages_of
from handray.cluster.doctor.facts import Facts, Gpu, gather, parse_gpus
from handray.cluster.doctor.findings import Finding, Located, lines
from handray.cluster.doctor.rounds import reach_storage, reach_tracking
from handray.cluster.doctor.trials import try_arithmetic
from handray.cluster.nodes import Question, alive, ask, reason
from handray.cluster.storage import try_write

V100, T4, B200 = Gpu("Tesla V100", (7, 0)), Gpu("Tesla T4", (7, 5)), Gpu("NVIDIA B200", (10, 0))
CUDA_12_6 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
CUDA_13 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
CPU_NODE = Facts(
    versions={"Python": "3.11.7", "torch": "2.14.1", "numpy": "2.4.6"},
    code="aaaa",
    commit="1234567",
    opencv=("opencv-python-headless",),
    shared_bytes=8 << 30,
    disk="/tmp",
    disk_bytes=100 << 30,
    disk_free=57 << 30,
)
V100_NODE = replace(
    CPU_NODE,
    gpus=(V100, V100),
    driver="580.95.05",
    architectures=CUDA_12_6,
    cuda="12.6",
    cudnn=91002,
)


def test_a_v100_needs_the_cuda_12_6_build():
    assert judge.kernels(V100_NODE) == Finding("kernels", "ok", "torch has them for sm_70")
    usual = replace(V100_NODE, architectures=CUDA_13, cuda="13.0")
    finding = judge.kernels(usual)
    assert finding.verdict == "wrong"
    assert "not for Tesla V100 (sm_70)" in finding.sentence
    assert finding.sentence.endswith(
        "pip uninstall -y torch torchvision && pip install 'torch==2.14.*' 'torchvision==0.29.*' "
        "--index-url https://download.pytorch.org/whl/cu126"
    )


def test_a_newer_gpu_than_the_build_needs_the_usual_one():
    finding = judge.kernels(replace(V100_NODE, gpus=(V100, B200)))
    assert finding.verdict == "wrong"
    assert "NVIDIA B200 (sm_100)" in finding.sentence
    assert "--index-url" not in finding.sentence


def test_torch_without_cuda_has_kernels_for_no_gpu():
    finding = judge.kernels(replace(V100_NODE, architectures=(), cuda="", cudnn=0))
    assert finding.verdict == "wrong"
    assert "built for CPUs only" in finding.sentence


@pytest.mark.parametrize(
    "architectures, capability, runs",
    [
        (["sm_80"], (8, 6), True),
        (["sm_86"], (8, 0), False),
        (["sm_75"], (8, 0), False),
        (["compute_75"], (8, 0), True),
        (["compute_90"], (8, 0), False),
        (["sm_100", "sm_120"], (12, 0), True),
        (["sm_90a"], (9, 0), True),
        ([], (7, 0), False),
    ],
)
def test_machine_code_runs_on_its_major_version_and_ptx_on_all_that_is_newer(
    architectures, capability, runs
):
    assert judge.has_kernels(architectures, capability) is runs


@pytest.mark.parametrize(
    "driver, gpu, verdict, other_build",
    [
        ("580.95.05", T4, "ok", False),
        ("550.54.14", T4, "wrong", True),
        ("470.82.01", T4, "wrong", False),
        ("570.86.10", B200, "wrong", False),
    ],
)
def test_a_driver_older_than_cuda_is_told_with_the_ways_out(driver, gpu, verdict, other_build):
    facts = replace(V100_NODE, gpus=(gpu,), driver=driver, architectures=CUDA_13, cuda="13.0")
    finding = judge.driver(facts)
    assert finding.verdict == verdict
    assert ("whl/cu126" in finding.sentence) is other_build


def test_cudnn_9_11_has_left_the_v100_behind():
    assert judge.cudnn(V100_NODE) == Finding("cuDNN", "ok", "9.10")
    newer = replace(V100_NODE, cudnn=91100)
    assert judge.cudnn(newer).sentence.startswith("9.11 has no kernels for Tesla V100")
    assert judge.cudnn(replace(newer, gpus=(T4,))).verdict == "ok"


@pytest.mark.parametrize(
    "facts, counted, verdict, told",
    [
        (V100_NODE, 2, "ok", "2 x Tesla V100"),
        (V100_NODE, 1, "note", "1 of 2"),
        (V100_NODE, 3, "wrong", "--num-gpus 2"),
        (CPU_NODE, 0, "ok", "none"),
        (CPU_NODE, 1, "note", "no nvidia-smi"),
        (replace(CPU_NODE, driver_fault="no devices"), 0, "wrong", "(no devices)"),
    ],
)
def test_rays_gpus_are_those_of_the_machine(facts, counted, verdict, told):
    finding = judge.gpus(facts, counted)
    assert finding.verdict == verdict
    assert told in finding.sentence


def test_two_opencvs_break_each_other():
    assert judge.opencv(CPU_NODE).verdict == "ok"
    both = replace(CPU_NODE, opencv=("opencv-python", "opencv-python-headless"))
    assert judge.opencv(both).sentence.endswith(
        "pip uninstall -y opencv-python opencv-python-headless && "
        "pip install opencv-python-headless"
    )


def test_versions_that_differ_are_all_named():
    assert judge.versions(CPU_NODE, CPU_NODE).verdict == "ok"
    older = replace(CPU_NODE, versions={**CPU_NODE.versions, "torch": "2.13.0", "numpy": "2.3.1"})
    finding = judge.versions(older, CPU_NODE)
    assert finding.verdict == "wrong"
    assert finding.sentence.startswith("torch 2.13.0 (here 2.14.1), numpy 2.3.1 (here 2.4.6): ")


def test_edited_code_differs_and_a_copy_without_its_commit_does_not():
    assert judge.versions(replace(CPU_NODE, commit=""), CPU_NODE).verdict == "ok"
    edited = judge.versions(replace(CPU_NODE, code="bbbb"), CPU_NODE)
    assert edited.verdict == "wrong"
    assert "handray's files" in edited.sentence


@pytest.mark.parametrize(
    "ahead, doubt, told",
    [
        (0.4, 0.1, "within 1 s"),
        (1.5, 0.6, "within 1 s"),  # a slow answer proves nothing
        (2.5, 0.1, "2.5 s ahead of ours"),
        (-90, 1, "90.0 s behind ours"),
    ],
)
def test_a_clock_is_wrong_only_beyond_doubt(ahead, doubt, told):
    finding = judge.clock(ahead, doubt)
    assert finding.sentence.startswith(told)
    assert (finding.verdict == "ok") is told.startswith("within")


def test_a_store_that_is_larger_than_shared_memory_is_noted():
    assert judge.shared_memory(CPU_NODE, 8 << 30).verdict == "ok"
    docker = judge.shared_memory(replace(CPU_NODE, shared_bytes=64 << 20), 8 << 30)
    assert docker.verdict == "note"
    assert "--shm-size=9g" in docker.sentence


def test_images_that_do_not_fit_the_store_are_noted_with_what_happens_then():
    assert judge.store_room(1 << 30, 2 << 30).verdict == "ok"
    finding = judge.store_room(3 << 30, 2 << 30)
    assert finding.verdict == "note"
    assert "anew each epoch" in finding.sentence and "--cache DIR" in finding.sentence


def test_a_disk_is_full_where_ray_says_so():
    assert judge.disk(CPU_NODE).sentence.startswith("50 GiB or more free")
    assert judge.disk(replace(CPU_NODE, disk_free=6 << 30)).verdict == "ok"
    assert judge.disk(replace(CPU_NODE, disk_free=4 << 30)).verdict == "wrong"


def test_the_fuller_disk_counts_of_those_that_ray_writes_to(tmp_path, monkeypatch):
    def usage(place):
        free = 3 if Path(place) == tmp_path else 50
        return SimpleNamespace(total=100, free=free)

    spill = str(tmp_path / "not_yet_there")
    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setenv("SPILL", spill)
    facts = gather()
    assert (facts.disk, facts.disk_bytes, facts.disk_free) == (spill, 100, 3)


def test_nvidia_smis_table_is_read_whatever_the_names():
    table = "Tesla V100-SXM2-32GB, 7.0, 580.95.05\nGPU, rev. B, 10.0, 580.95.05\n"
    gpus = (Gpu("Tesla V100-SXM2-32GB", (7, 0)), Gpu("GPU, rev. B", (10, 0)))
    assert parse_gpus(table) == (gpus, "580.95.05")


def test_a_broken_driver_is_a_fact(tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert gather().driver_fault == "NVIDIA-SMI has failed"


def test_this_torch_is_examined_against_the_gpus_of_nvidia_smi(tmp_path, monkeypatch):
    if torch.version.cuda is None:
        pytest.skip("a build without CUDA knows no architectures")
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'Tesla K80, 3.7, 470.82.01'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    facts = gather()
    assert facts.cuda == torch.version.cuda
    assert any(name.startswith("sm_") for name in facts.architectures)
    assert judge.kernels(facts).verdict == "wrong"


def test_equal_nodes_share_a_line():
    same, other = Finding("disk", "ok", "50 GiB"), Finding("disk", "wrong", "full")
    found = [Located("a", same), Located("b", other), Located("c", same)]
    assert lines(found, 3) == ["ok     disk: a, c: 50 GiB", "wrong  disk: b: full"]
    assert lines(found[::2], 2) == ["ok     disk: all 2 nodes: 50 GiB"]
    assert lines(found[:1], 1) == ["ok     disk: 50 GiB"]


def test_a_wrong_convolution_is_told(monkeypatch):
    assert "convolution on CPU" in try_arithmetic(0)
    honest = torch.nn.functional.conv2d
    bent = iter([1.0, 1.1])
    monkeypatch.setattr(
        "handray.cluster.doctor.trials.conv2d", lambda *a, **k: honest(*a, **k) * next(bent)
    )
    with pytest.raises(RuntimeError, match="convolution on cpu is off by"):
        try_arithmetic(0)


def test_gpus_that_torch_does_not_see_are_told():
    with pytest.raises(RuntimeError, match="Ray gives 99 GPUs and torch"):
        try_arithmetic(99)


def test_a_folder_that_is_not_there_cannot_be_written_to(tmp_path):
    try_write(str(tmp_path))
    assert list(tmp_path.iterdir())
    with pytest.raises(OSError):
        try_write(str(tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere").exists()


def test_the_only_node_of_this_machine_is_well(one_ray, phantoms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_machines()
    storage = tmp_path / "storage"
    stages: list[str] = []
    data = DataSize.of(phantoms)
    found = [one for part in examine(data, 64, str(storage), stages.append) for one in part]
    assert len(stages) == stages_of(data) == 7
    assert [one for one in found if one.finding.verdict != "ok"] == []
    checks = {one.finding.check: one.finding.sentence for one in found}
    assert "gloo, 2 ranks, on one node" in checks["all-reduce"]
    assert {"clock", "arithmetic", "data", "storage", "tracking"} <= checks.keys()
    assert list(storage.iterdir()) == [], "nothing is left behind"


def test_a_storage_or_server_that_is_not_reached_comes_with_its_remedy(
    one_ray, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("not a folder")
    (storage,) = reach_storage(alive(), str(tmp_path / "file"))
    assert storage.finding.verdict == "wrong"
    assert "give --storage a folder that all nodes mount" in storage.finding.sentence
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (tracking,) = reach_tracking(alive())
    assert tracking.finding.verdict == "wrong"
    assert "start the server" in tracking.finding.sentence


def test_one_answer_that_fails_does_not_hide_the_others(one_ray):
    (node,) = alive()
    fails, answers = ask(lambda text: int(text), [Question(node, ("x",)), Question(node, ("7",))])
    assert isinstance(fails, ValueError)
    assert answers == 7


def test_a_node_that_does_not_answer_is_not_waited_for(one_ray):
    (node,) = alive()
    (answer,) = ask(lambda: time.sleep(600), [Question(node)], seconds=0.5)
    assert reason(answer) == "no answer within 0.5 s"


def test_a_module_that_is_missing_on_a_node_is_named():
    error = RuntimeError("failed to import on the worker\n\nNo module named 'handray'\n")
    assert reason(error) == "No module named 'handray'"
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(TimeoutError()) == "TimeoutError"


def test_what_is_wrong_stops_a_training_with_a_sentence_each(one_ray, monkeypatch):
    both = ("opencv-python", "opencv-python-headless")
    facts = replace(gather(), opencv=both, driver_fault="no devices were found")
    monkeypatch.setattr("handray.cluster.doctor.examine.gather", lambda: facts)
    with pytest.raises(ValueError) as caught:
        check_machines()
    opencv, gpus = str(caught.value).splitlines()
    assert opencv.startswith("OpenCV: opencv-python and opencv-python-headless share")
    assert gpus.startswith("GPUs: nvidia-smi fails (no devices were found)")
