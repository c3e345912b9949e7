"""How fast a training is by arithmetic: from what an image costs each stage to images/s.

A rank's stages work on different images at once, so the slowest sets the pace: reading (decode),
augmentation, and the device, whose steps end with the part of DDP's all-reduce that the backward
pass doesn't hide. Where one core does all of it in turn, as on a CPU, the stages add up.

Not in it: validation and prediction, files that the storage hands out too slowly, rows that Ray
decodes on another node than they are used on, ranks that wait for the slowest, the driver's list
of a million rows. All of these only make a real cluster slower.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, log2

from handray.bones import BONES
from handray.cluster.shares import Machine, plan
from handray.config import ClusterConfig
from handray.data.stream import STORE_SHARE, Frame


@dataclass(frozen=True)
class Assumptions:
    """All that a prediction takes for granted; what a core costs is measured (CoreCost)."""

    ceiling: Mapping[int, float] = field(
        default_factory=lambda: {512: 148.0, 1024: 38.0, 2048: 9.5}
    )
    """Images/s that one V100 can't exceed in training HRNetV2-W48, by side in pixels: from its
    multiplications and memory traffic in fp16. Not measured."""
    share_of_ceiling: float = 0.45
    """What good code reaches of it: 35 to 55 %. Not measured."""
    batch: int = 4
    """Images of a GPU and step; with DDP a step of n GPUs has n times as many."""
    parts: Mapping[int, int] = field(default_factory=lambda: {512: 1, 1024: 2, 2048: 4})
    """--accumulate by side: what activation_memory.py fits in 16 GB, with room to spare."""
    gradient_bytes: int = 4 * 65_864_717
    """Float32 gradients of HRNetV2-W48 with 29 classes, counted."""
    batch_norms: int = 306
    """Its batch norms, counted; DDP synchronises them, as a pass has under 8 images."""
    backward_share: float = 2 / 3
    """Of a pass; the all-reduce hides behind the last part's."""
    gpus_a_node: int = 4
    cores_a_gpu: int = 8
    """As fast as the core that was measured."""
    node_bytes: float = 256e9
    """Memory of a node."""
    store_of_memory: float = 0.4
    """Of a node's memory: the object store that cluster.yaml asks for."""
    ethernet: float = 10.0
    """Gbit/s between nodes."""
    ethernet_share: float = 0.85
    """Of that, what an all-reduce gets over TCP."""
    bus: float = 10e9
    """Bytes/s between GPUs of a node, over PCIe 3."""
    hop: float = 25e-6
    """Seconds of a small message to the next rank, between nodes."""
    bus_hop: float = 5e-6
    """The same within a node."""
    folds: int = 5

    def gpu_images_per_s(self, size: int) -> float:
        """What one GPU trains if nothing holds it up."""
        return self.ceiling[size] * self.share_of_ceiling

    @property
    def room(self) -> float:
        """Bytes of decoded rows that a node's object store takes.

        A rank maps all blocks, so every node holds a copy of all rows: more nodes give no room.
        """
        return self.node_bytes * self.store_of_memory * STORE_SHARE

    def most_images(self, size: int) -> int:
        """Images that are decoded once a run; with more, each epoch decodes them anew."""
        return int(self.room / Frame(size, len(BONES)).row_bytes)


@dataclass(frozen=True)
class CoreCost:
    """Core seconds of an image at one size."""

    augment: float
    """By the default policy, on average."""
    decode: float
    """From 2048 px, with its label."""
    stream: float
    """The same through Ray Data, all that Ray does included."""
    start: float
    """Once a stream."""


@dataclass(frozen=True)
class Stages:
    """Seconds an image takes of each of a rank's stages."""

    device: float
    network: float = 0.0
    """Exposed part of the all-reduce."""
    augment: float = 0.0
    decode: float = 0.0
    one_core: bool = False
    """One core does all of it in turn."""

    @property
    def seconds(self) -> float:
        """An image of a rank."""
        step = self.device + self.network
        if self.one_core:
            return step + self.augment + self.decode
        return max(step, self.augment, self.decode)

    @property
    def busy(self) -> float:
        """Share of the time in which the device computes."""
        return self.device / self.seconds

    @property
    def bottleneck(self) -> str:
        """The stage that takes the most."""
        stages = {
            "GPU": self.device,
            "network": self.network,
            "augmentation": self.augment,
            "decoding": self.decode,
        }
        longest = max(stages, key=lambda name: stages[name])
        # A step is computing and network in turn: together they may be what is slowest.
        step = self.device + self.network
        if longest not in ("GPU", "network") and step >= stages[longest]:
            return "GPU" if self.device >= self.network else "network"
        return longest


def all_reduce(ranks: int, size: float, speed: float) -> float:
    """Seconds of a ring all-reduce of ``size`` bytes at ``speed`` bytes/s a link."""
    return 2 * (ranks - 1) / ranks * size / speed


def gpu_stages(
    given: Assumptions, cost: CoreCost, size: int, gpus: int, ranks: int, streamed: bool
) -> Stages:
    """Stages of one rank where all GPUs train, each fold on ``ranks`` of them."""
    here = min(gpus, given.gpus_a_node)
    nodes = [Machine(given.cores_a_gpu * here, here)]
    nodes *= ceil(gpus / given.gpus_a_node)
    shares = plan(ClusterConfig(workers_per_fold=ranks), gpus // ranks, streamed, nodes)
    decoders = given.cores_a_gpu - shares.cpus  # what the ranks don't hold is Ray Data's
    device = 1 / given.gpu_images_per_s(size)
    return Stages(
        device=device,
        network=_exposed(given, device * given.batch, size, ranks) / given.batch,
        augment=cost.augment / min(4, shares.threads),
        decode=cost.stream / decoders if streamed else 0.0,
    )


def _exposed(given: Assumptions, computing: float, size: int, ranks: int) -> float:
    """Seconds of a step in which GPUs wait for each other's sums."""
    if ranks == 1:
        return 0.0
    crosses = ranks > given.gpus_a_node
    speed = given.ethernet / 8 * 1e9 * given.ethernet_share if crosses else given.bus
    hop = given.hop if crosses else given.bus_hop
    parts = given.parts[size]
    gradients = all_reduce(ranks, given.gradient_bytes, speed)
    hidden = computing / parts * given.backward_share
    # A synchronised batch norm sums once in each direction, up a tree of ranks and down again.
    norms = given.batch_norms * parts * 2 * 2 * ceil(log2(ranks)) * hop
    return max(0.0, gradients - hidden) + norms


def epoch_seconds(
    given: Assumptions, cost: CoreCost, stages: Stages, images: int, ranks: int
) -> float:
    """Seconds of one fold's epoch over ``images`` less its held-out ones, on ``ranks`` GPUs."""
    seen = images * (1 - 1 / given.folds)
    steps = ceil(seen / (given.batch * ranks))
    return steps * given.batch * stages.seconds + (cost.start if stages.decode else 0.0)


def first_pass_seconds(given: Assumptions, cost: CoreCost, images: int, gpus: int) -> float:
    """Seconds of the pass before training, by all cores: it caches the rows or sums up grays."""
    return images * cost.stream / (given.cores_a_gpu * gpus)


def cores_needed(given: Assumptions, cost: CoreCost, size: int) -> float:
    """Cores that decode and augment as fast as one GPU trains."""
    return (cost.stream + cost.augment) * given.gpu_images_per_s(size)
