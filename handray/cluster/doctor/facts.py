"""What is so on a machine: gathered on each node, judged elsewhere, so that rules need no GPU."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import handray
from handray.inference.provenance import made_by
from handray.whole_files import nearest

PACKAGES = ("ray", "torch", "numpy", "opencv-python-headless", "albumentations")
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
SHARED_MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Gpu:
    """A GPU, whoever holds it."""

    name: str
    capability: tuple[int, int]
    """Such as (7, 0) for sm_70."""


@dataclass(frozen=True)
class Facts:
    """A machine and the Python on it."""

    versions: dict[str, str]
    """By package."""
    code: str
    """Hash of handray's files, which tells edited copies apart."""
    commit: str
    """Of handray's checkout; empty for a copy without."""
    opencv: tuple[str, ...]
    """Distributions that own the ``cv2`` folder."""
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    """Version of NVIDIA's driver; empty without nvidia-smi."""
    driver_fault: str = ""
    """Why nvidia-smi, which is there, doesn't answer."""
    architectures: tuple[str, ...] = ()
    """That torch was built for, such as sm_70; looked up where there are GPUs."""
    cuda: str = ""
    """CUDA version that torch was built with; empty for a build without."""
    cudnn: int = 0
    """Such as 91002 for 9.10.2."""
    shared_bytes: int = 0
    """Size of /dev/shm."""
    disk: str = ""
    """Folder of Ray's temporary files or of images that memory can't hold: the fuller one."""
    disk_bytes: int = 0
    """Size of its disk."""
    disk_free: int = 0


def gather() -> Facts:
    """The facts of this process and its machine; holds no GPU and starts nothing on one."""
    gpus, driver, driver_fault = _gpus()
    architectures, cuda, cudnn = _torch_build() if gpus else ((), "", 0)
    places = [tempfile.gettempdir(), *filter(None, [os.environ.get("SPILL")])]
    disks = {place: shutil.disk_usage(nearest(Path(place))) for place in places}
    fuller = min(disks, key=lambda place: disks[place].free / disks[place].total)
    has_shared = Path(SHARED_MEMORY).exists()
    code = made_by()
    return Facts(
        versions={
            "Python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
            "handray": code["version"],
        },
        code=_digest(Path(handray.__file__).parent),
        commit=code.get("commit", ""),
        opencv=tuple(name for name in OPENCV if _owns_cv2(name)),
        gpus=gpus,
        driver=driver,
        driver_fault=driver_fault,
        architectures=architectures,
        cuda=cuda,
        cudnn=cudnn,
        shared_bytes=shutil.disk_usage(SHARED_MEMORY).total if has_shared else 0,
        disk=fuller,
        disk_bytes=disks[fuller].total,
        disk_free=disks[fuller].free,
    )


def now() -> float:
    """Seconds since 1970 by this machine's clock."""
    return time.time()


def parse_gpus(table: str) -> tuple[tuple[Gpu, ...], str]:
    """GPUs and the driver's version of nvidia-smi's CSV: name, capability, driver.

    Raises:
        ValueError: a line of another form.

    """
    gpus, driver = [], ""
    for line in table.strip().splitlines():
        name, capability, driver = (part.strip() for part in line.rsplit(",", 2))
        major, minor = capability.split(".")
        gpus.append(Gpu(name, (int(major), int(minor))))
    return tuple(gpus), driver


def _gpus() -> tuple[tuple[Gpu, ...], str, str]:
    """GPUs, the driver's version, and why they can't be told.

    nvidia-smi sees them all, where torch sees only those that Ray has given to its process.
    """
    if not shutil.which("nvidia-smi"):
        return (), "", ""
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
        if done.returncode:
            said = (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"
            return (), "", said.splitlines()[0]
        return *parse_gpus(done.stdout), ""
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return (), "", str(error)


def _torch_build() -> tuple[tuple[str, ...], str, int]:
    """Architectures, CUDA and cuDNN of torch."""
    import torch  # seconds, and only nodes with GPUs need it

    if torch.version.cuda is None:
        return (), "", 0
    # torch.cuda.get_arch_list() is empty where Ray has hidden the GPUs from this process.
    flags: str = torch._C._cuda_getArchFlags() or ""
    return tuple(flags.split()), torch.version.cuda, torch.backends.cudnn.version() or 0


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:8]


def _owns_cv2(name: str) -> bool:
    """Whether a distribution has put its files there; conda's have names without files."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return False
    return any(file.as_posix() == "cv2/__init__.py" for file in files)
