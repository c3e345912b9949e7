"""How long libraries take to the gray pixels of a radiograph of 2048 px, beside handray's way.

  python benchmarks/png_decoders.py
  python benchmarks/png_decoders.py --files FILE.png ...

CPU milliseconds of one thread, in turn, medians. The drawn film is also stored as the competition
stores its files: RGB with three equal channels, here by OpenCV's and by Pillow's encoder. The
files of --files come as they are. What isn't installed is named and left out.
"""

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1"}

import time

import cv2
import numpy as np

from handray.cli import Parser, run_job
from handray.data.imagefile import decode_gray
from handray.data.phantom import draw_hand

Decoder = Callable[[bytes], np.ndarray]
TURNS = 15


def with_cv2(data: bytes) -> np.ndarray:
    """OpenCV alone, without handray's check of the file."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)


def with_cv2_colour(data: bytes) -> np.ndarray:
    """OpenCV as stored, one channel taken: three equal ones have the same gray."""
    return first(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def with_pillow() -> Decoder:
    from PIL import Image

    return lambda data: first(np.asarray(Image.open(BytesIO(data))))


def with_pyspng() -> Decoder:
    import pyspng

    return lambda data: first(pyspng.load(data))


def with_imagecodecs(name: str) -> Decoder:
    codec = getattr(importlib.import_module("imagecodecs"), name)
    return lambda data: first(codec(data))


def with_pyvips() -> Decoder:
    import pyvips

    return lambda data: pyvips.Image.new_from_buffer(data, "").extract_band(0).numpy()


def with_torchvision() -> Decoder:
    import torch
    from torchvision.io import ImageReadMode, decode_image

    torch.set_num_threads(1)
    return lambda data: decode_image(
        torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED
    )[0].numpy()


def inflate_only(module: str) -> Decoder:
    """Inflate the pixels' chunks and stop: what any decoder pays at the least."""
    library = importlib.import_module(module)

    def inflate(data: bytes) -> np.ndarray:
        chunks, start = [], 8
        while start < len(data):
            length = int.from_bytes(data[start : start + 4], "big")
            if data[start + 4 : start + 8] == b"IDAT":
                chunks.append(data[start + 8 : start + 8 + length])
            start += 12 + length
        return np.frombuffer(library.decompress(b"".join(chunks)), np.uint8)

    return inflate


def first(pixels: np.ndarray) -> np.ndarray:
    """The first channel of a picture that may have several."""
    return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0])


DECODERS: dict[str, tuple[str, Callable[[], Decoder]]] = {
    "handray": ("handray", lambda: decode_gray),
    "cv2, gray": ("opencv-python-headless", lambda: with_cv2),
    "cv2, as stored": ("opencv-python-headless", lambda: with_cv2_colour),
    "Pillow": ("pillow", with_pillow),
    "pyspng": ("pyspng", with_pyspng),
    "pyvips": ("pyvips", with_pyvips),
    "imagecodecs, png": ("imagecodecs", lambda: with_imagecodecs("png_decode")),
    "imagecodecs, spng": ("imagecodecs", lambda: with_imagecodecs("spng_decode")),
    "torchvision": ("torchvision", with_torchvision),
    "inflate only, zlib": ("", lambda: inflate_only("zlib")),
    "inflate only, isal": ("isal", lambda: inflate_only("isal.isal_zlib")),
    "inflate only, zlib-ng": ("zlib-ng", lambda: inflate_only("zlib_ng.zlib_ng")),
}


def installed() -> dict[str, Decoder]:
    """The decoders whose packages are here; says which aren't."""
    found = {}
    for name, (package, build) in DECODERS.items():
        try:
            found[name] = build()
        except (ImportError, OSError, AttributeError) as error:
            print(f"{name}: left out ({error})")
            continue
        with suppress(PackageNotFoundError, ValueError):
            print(f"{name}: {package} {version(package)}")
    return found


def films() -> Iterator[tuple[str, bytes]]:
    """One drawn film, stored in three ways."""
    gray = draw_hand(0, 1, "right", 2048, True).image_HW
    colour = np.repeat(gray[..., None], 3, axis=2)
    yield "gray, as make_phantoms writes it", cv2.imencode(".png", gray)[1].tobytes()
    yield "RGB, OpenCV's encoder", cv2.imencode(".png", colour)[1].tobytes()
    with suppress(ImportError):
        from PIL import Image

        stream = BytesIO()
        Image.fromarray(colour).save(stream, "png")
        yield "RGB, Pillow's encoder", stream.getvalue()


def measure(name: str, data: bytes, decoders: dict[str, Decoder]) -> None:
    """Print a table of one file: CPU ms, how much faster than handray, and whether it's equal."""
    expected = decode_gray(data)
    times: dict[str, list[float]] = {decoder: [] for decoder in decoders}
    for turn in range(TURNS + 1):
        for decoder, decode in decoders.items():
            started = time.process_time()
            decode(data)
            if turn:  # the first only warms up
                times[decoder].append(1000 * (time.process_time() - started))
    print(f"\n{name} ({len(data) / 1e6:.1f} MB)")
    print("| | CPU ms | times as fast | pixels |\n|---|---|---|---|")
    ours = np.median(times["handray"])
    for decoder, decode in decoders.items():
        middle = np.median(times[decoder])
        same = "equal" if np.array_equal(decode(data), expected) else "other"
        pixels = "-" if decoder.startswith("inflate") else same
        print(f"| {decoder} | {middle:.1f} | {ours / middle:.2f} | {pixels} |")


def main() -> None:
    """A table for each way to store the film, and for each file that is named."""
    parser = Parser(__doc__)
    parser.add_argument("--files", type=Path, nargs="+", default=[], help="PNG files instead")
    files: Sequence[Path] = parser.parse_args().files
    cv2.setNumThreads(1)
    decoders = installed()
    for name, data in ((path.name, path.read_bytes()) for path in files) if files else films():
        measure(name, data, decoders)


if __name__ == "__main__":
    run_job(main)
