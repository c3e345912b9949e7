"""Augmentation policies as names: what one says, before anything is built."""

MIXUP = "mixup"
"""Mixes two images of a batch on the device; every other name is a transform of one image."""

POLICIES = {
    "jitter_sharpen_rbc": "jitter+sharpen+rbc",
    "jitter_sharpen_rbc_griddropout": "jitter+sharpen+rbc+griddropout",
    "jitter_sharpen_rbc_griddropout_flip": "jitter+sharpen+rbc+griddropout+flip",
    "sharpen_rbc": "sharpen+rbc",
    "elastic_flip": "elastic+flip",
}
"""The source report's combinations, by the names that its ablation shows."""


def names(policy: str) -> list[str]:
    """The transforms of a policy such as ``elastic+flip`` or ``elastic_flip``; none for ``none``.

    Names aren't looked up here: augment.py knows the transforms.
    """
    parts = [POLICIES.get(part, part) for part in policy.split("+")]
    return [name for name in "+".join(parts).split("+") if policy != "none"]
