"""What facts mean for a training: pure rules, each with the command that mends what it finds."""

from collections.abc import Sequence

from handray.cluster.doctor.facts import Facts, Gpu
from handray.cluster.doctor.findings import Finding

CUDA_12_6 = "https://download.pytorch.org/whl/cu126"
TURING = (7, 5)
"""The oldest capability of the CUDA 13 builds; older GPUs need the CUDA 12.6 build."""
BLACKWELL = (10, 0)
"""The oldest capability that the CUDA 12.6 build has no kernels for."""
OLDEST_DRIVER = {"11": 450, "12": 525, "13": 580}
"""By CUDA's major version (NVIDIA's CUDA compatibility guide, minor version compatibility)."""
VOLTA_CUDNN = 91100
"""The first cuDNN without kernels for GPUs before Turing."""
FULL_DISK = 0.95
"""Used share of a disk from which on Ray makes no objects there."""
CLOCK_SECONDS = 1.0
"""Clocks further apart spoil the order of logs and of files' times."""
GIB = 2**30


def opencv(facts: Facts) -> Finding:
    """One OpenCV, not two in one folder."""
    if len(facts.opencv) < 2:
        return Finding("OpenCV", "ok", "one distribution")
    both = " ".join(facts.opencv)
    return Finding(
        "OpenCV",
        "wrong",
        f"{' and '.join(facts.opencv)} share one cv2 folder and break each other: "
        f"pip uninstall -y {both} && pip install opencv-python-headless",
    )


def versions(facts: Facts, ours: Facts) -> Finding:
    """The same versions as where the job starts, so that a sample is the same wherever it is made.

    The commit, which a copy without .git doesn't have, is told but not compared.
    """
    differing = [
        f"{name} {facts.versions.get(name)} (here {own})"
        for name, own in ours.versions.items()
        if facts.versions.get(name) != own
    ]
    if facts.code != ours.code:
        theirs, own = facts.commit or "unknown", ours.commit or "unknown"
        differing.append(f"handray's files, commit {theirs} (here {own})")
    if not differing:
        told = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
        return Finding("versions", "ok", f"{told}, commit {ours.commit or 'unknown'}")
    return Finding(
        "versions",
        "wrong",
        f"{', '.join(differing)}: copy handray's folder there and install it with "
        "pip install --constraint constraints.txt --editable .",
    )


def gpus(facts: Facts, counted: int) -> Finding:
    """The GPUs that Ray counts are those of the machine."""
    if facts.driver_fault:
        return Finding(
            "GPUs",
            "wrong",
            f"nvidia-smi fails ({facts.driver_fault}): install NVIDIA's driver 580, the last for "
            "a V100, or a newer one for newer GPUs, and start the machine again",
        )
    if not facts.gpus and not counted:
        return Finding("GPUs", "ok", "none, computes on CPUs")
    if not facts.driver:
        return Finding("GPUs", "note", f"Ray counts {counted} and there is no nvidia-smi to ask")
    there = len(facts.gpus)
    if counted > there:
        return Finding(
            "GPUs",
            "wrong",
            f"Ray counts {counted}, the driver {there}: ray stop, then ray start "
            f"--num-gpus {there} with the node's other options",
        )
    if counted < there:
        return Finding(
            "GPUs",
            "note",
            f"Ray counts {counted} of {there}, others stay idle: ray stop, then ray start "
            f"--num-gpus {there} with the node's other options",
        )
    names = {gpu.name for gpu in facts.gpus}
    return Finding("GPUs", "ok", f"{there} x {', '.join(sorted(names))}")


def kernels(facts: Facts) -> Finding:
    """Torch's build has machine code, or PTX, for every GPU."""
    without = [gpu for gpu in facts.gpus if not has_kernels(facts.architectures, gpu.capability)]
    if without:
        gpu = without[0]
        built = " ".join(facts.architectures) or "CPUs only"
        return Finding(
            "kernels",
            "wrong",
            f"torch {facts.versions['torch']} is built for {built}, not for {gpu.name} "
            f"({_name(gpu)}): {reinstall(gpu.capability < TURING)}",
        )
    names = sorted({_name(gpu) for gpu in facts.gpus})
    return Finding("kernels", "ok", f"torch has them for {', '.join(names)}")


def has_kernels(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether code for some architecture runs on a GPU.

    Machine code (sm_XY) runs on the same major version from its minor version on, PTX (compute_XY)
    on all that is newer.
    """
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        number = int("".join(filter(str.isdigit, digits)))
        built = divmod(number, 10)
        if kind == "compute" and built <= capability:
            return True
        if kind == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return True
    return False


def reinstall(cuda_12: bool) -> str:
    """The command that installs the usual build of torch, or that of CUDA 12.6."""
    # First away with the other build: pip would take it for new enough.
    remove = "pip uninstall -y torch torchvision"
    command = f"{remove} && pip install 'torch==2.14.*' 'torchvision==0.29.*'"
    return f"{command} --index-url {CUDA_12_6}" if cuda_12 else command


def driver(facts: Facts) -> Finding:
    """The driver knows the CUDA version of torch's build."""
    release = int(facts.driver.partition(".")[0])
    oldest = OLDEST_DRIVER.get(facts.cuda.partition(".")[0], 0)
    if release >= oldest:
        return Finding("driver", "ok", facts.driver)
    remedy = f"install driver {oldest} or newer"
    if release >= OLDEST_DRIVER["12"] and all(gpu.capability < BLACKWELL for gpu in facts.gpus):
        remedy += f", or torch for CUDA 12.6: {reinstall(cuda_12=True)}"
    sentence = f"{facts.driver} is too old for torch's CUDA {facts.cuda}: {remedy}"
    return Finding("driver", "wrong", sentence)


def cudnn(facts: Facts) -> Finding:
    """CuDNN has kernels for GPUs before Turing."""
    release = f"{facts.cudnn // 10000}.{facts.cudnn // 100 % 100}"
    old = [gpu for gpu in facts.gpus if gpu.capability < TURING]
    if old and facts.cudnn >= VOLTA_CUDNN:
        return Finding(
            "cuDNN",
            "wrong",
            f"{release} has no kernels for {old[0].name}: "
            "pip install --no-deps 'nvidia-cudnn-cu12==9.10.*'",
        )
    return Finding("cuDNN", "ok", release if facts.cudnn else "none")


def disk(facts: Facts) -> Finding:
    """The disks of Ray's temporary files and of what it spills have room."""
    used = 1 - facts.disk_free / facts.disk_bytes
    free = f"{floored(facts.disk_free / GIB)} GiB or more free for Ray's files in {facts.disk}"
    if used < FULL_DISK:
        return Finding("disk", "ok", free)
    return Finding(
        "disk",
        "wrong",
        f"{used:.0%} of the disk of {facts.disk} is used, and from {FULL_DISK:.0%} on Ray keeps "
        "nothing there: make room, or ray start with --temp-dir and "
        "--object-spilling-directory on another disk",
    )


def shared_memory(facts: Facts, store_bytes: int) -> Finding:
    """The object store fits /dev/shm; where it doesn't, Ray keeps it on disk, which is slow."""
    store = store_bytes / GIB
    if store_bytes <= facts.shared_bytes:
        return Finding("/dev/shm", "ok", "the object store fits in")
    return Finding(
        "/dev/shm",
        "note",
        f"{facts.shared_bytes / GIB:.2g} GiB is less than the object store's {store:.2g}, which "
        f"is slow on disk: mount -o remount,size={int(store) + 1}G /dev/shm (in Docker: "
        f"--shm-size={int(store) + 1}g) before ray start",
    )


def store_room(needed: float, room: float) -> Finding:
    """Decoded images fit the smallest object store (bytes)."""
    sizes = f"decoded images take {needed / GIB:.2g} GiB of {room / GIB:.2g} in the smallest store"
    if needed <= room:
        return Finding("object store", "ok", sizes)
    return Finding(
        "object store",
        "note",
        f"{sizes}, so they are decoded anew each epoch: give --cache DIR to keep them on disk, or "
        f"ray start --object-store-memory with more",
    )


def clock(ahead: float, doubt: float) -> Finding:
    """A node's clock against ours.

    Args:
        ahead: seconds by which it is before ours.
        doubt: seconds by which that may be wrong.

    """
    if abs(ahead) - doubt <= CLOCK_SECONDS:
        return Finding("clock", "ok", f"within {CLOCK_SECONDS:.0f} s of ours")
    where = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "clock",
        "wrong",
        f"{abs(ahead):.1f} s {where} ours: timedatectl set-ntp true, on both",
    )


def quick(facts: Facts, ours: Facts, counted: int) -> list[Finding]:
    """What facts alone say about whether a training can start; ``counted`` are Ray's GPUs."""
    found = [versions(facts, ours), opencv(facts), gpus(facts, counted)]
    return [*found, driver(facts), kernels(facts), cudnn(facts)] if facts.gpus else found


def floored(amount: float) -> int:
    """One digit of a number, rounded down, so that equal nodes give equal lines."""
    digits = str(int(amount))
    return int(digits[0] + "0" * (len(digits) - 1))


def _name(gpu: Gpu) -> str:
    return f"sm_{gpu.capability[0]}{gpu.capability[1]}"
