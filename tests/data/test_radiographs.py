import hashlib
import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest

from handray.bones import BONES
from handray.data.radiographs import (
    Fault,
    faults_error,
    folder_digest,
    read_folder,
    read_image,
    read_radiograph,
    read_truth,
)

SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]
REAL = os.environ.get("HANDRAY_REAL_DATA")


def write_image(path, height=64, width=64, channels=3, dtype=np.uint8):
    """A noisy picture whose channels are identical; the suffix picks the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gray = np.random.default_rng(0).integers(0, 256, (height, width)).astype(dtype)
    pixels = cv2.merge([gray] * channels) if channels > 1 else gray
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return gray


def write_label(path, *annotations, **document):
    """annotations are (class, points)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [{"label": name, "points": points} for name, points in annotations]
    metadata = {"height": 3060, "width": 3060}
    path.write_text(json.dumps({"annotations": entries, "metadata": metadata} | document))


def add(root, name, *annotations, suffix=".png", **image):
    """One training image with its label (a square of the Radius by default)."""
    write_image(root / "train/DCM" / f"{name}{suffix}", **image)
    label = root / "train/outputs_json" / f"{name}.json"
    write_label(label, *(annotations or [("Radius", SQUARE)]))
    return root / "train/DCM" / f"{name}{suffix}", label


@pytest.fixture
def root(tmp_path):
    """Two good training images of two people and one test image."""
    add(tmp_path, "ID001/a")
    add(tmp_path, "ID002/b")
    write_image(tmp_path / "test/DCM/ID040/t.png")
    return tmp_path


def faults_of(root):
    return [(fault.path, fault.what) for fault in read_folder(root).faults]


def names(radiographs):
    return [radiograph.name for radiograph in radiographs]


# What is read


def test_a_radiograph_holds_its_file_and_its_label_in_source_pixels(tmp_path):
    image, _ = add(tmp_path, "ID007/x", ("finger-2", SQUARE), height=48, width=80)
    (found,) = read_folder(tmp_path).train
    assert (found.name, found.person, found.image_path) == ("x.png", "ID007", str(image))
    assert (found.height, found.width, found.bytes) == (48, 80, image.stat().st_size)
    assert list(found.polygons) == [1]  # finger-2 is channel 1
    assert found.polygons[1].dtype == np.int32
    assert found.polygons[1].tolist() == SQUARE


def test_metadata_of_3060_pixels_never_rescales_the_points(tmp_path):
    add(tmp_path, "ID001/a", ("Radius", [[0, 0], [63, 0], [63, 63]]))  # 64 px, metadata 3060
    assert read_folder(tmp_path).train[0].polygons[27].tolist() == [[0, 0], [63, 0], [63, 63]]


def test_a_clean_folder_has_no_faults_and_no_warnings(root):
    folder = read_folder(root)
    assert (folder.faults, folder.warnings) == ((), ())
    assert folder.root == str(root)
    assert (names(folder.train), names(folder.test)) == (["a.png", "b.png"], ["t.png"])


def test_test_images_have_no_polygons_side_or_bend(root):
    (image,) = read_folder(root).test
    assert (dict(image.polygons), image.side, np.isnan(image.bend)) == ({}, "", True)


def test_images_are_sorted_by_relative_path_not_by_name(tmp_path):
    for name in ("ID002/a", "ID010/b", "ID001/z"):
        add(tmp_path, name)
    assert names(read_folder(tmp_path).train) == ["z.png", "a.png", "b.png"]


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".JPG", ".jpeg", ".JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_png_and_jpeg_are_read_gray_or_rgb_in_either_case(tmp_path, suffix, channels):
    image, _ = add(tmp_path, "ID001/a", suffix=suffix, channels=channels, height=40, width=72)
    folder = read_folder(tmp_path)
    assert folder.faults == ()
    assert (folder.train[0].height, folder.train[0].width) == (40, 72)
    assert read_image(str(image)).shape == (40, 72)


def test_a_progressive_jpeg_is_whole(tmp_path):
    image, _ = add(tmp_path, "ID001/a", suffix=".jpg")
    gray = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    image.write_bytes(cv2.imencode(".jpg", gray, flags)[1].tobytes())
    assert read_folder(tmp_path).faults == ()


def test_images_of_several_sizes_are_fine(tmp_path):
    add(tmp_path, "ID001/a", height=64, width=64)
    add(tmp_path, "ID002/b", height=32, width=128)
    found = read_folder(tmp_path)
    assert [(r.height, r.width) for r in found.train] == [(64, 64), (32, 128)]
    assert found.faults == ()


def test_hidden_files_are_not_images(root):
    (root / "train/DCM/ID001/._a.png").write_bytes(b"resource fork")
    (root / "train/DCM/.DS_Store").write_bytes(b"")
    assert faults_of(root) == []


def test_other_files_are_named_in_a_warning_and_ignored(root):
    (root / "train/DCM/ID001/notes.txt").write_text("x")
    folder = read_folder(root)
    assert folder.faults == ()
    assert len(folder.warnings) == 1
    assert "train/DCM/ID001/notes.txt" in folder.warnings[0]


def test_linked_people_and_files_are_followed(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(root / "train/DCM/ID001", elsewhere / "ID001")
    (root / "train/DCM/ID001").symlink_to(elsewhere / "ID001")
    shutil.move(root / "train/DCM/ID002/b.png", elsewhere / "b.png")
    (root / "train/DCM/ID002/b.png").symlink_to(elsewhere / "b.png")
    found = read_folder(root)
    assert names(found.train) == ["a.png", "b.png"]
    assert [r.bytes for r in found.train] == [(elsewhere / "b.png").stat().st_size] * 2


def test_a_folder_may_be_a_url(root):
    url = "memory://handray-test"
    fsspec.filesystem("memory").put(str(root), "/handray-test", recursive=True)
    folder = read_folder(url)
    assert folder.faults == ()
    assert folder.train[0].image_path == "memory:///handray-test/train/DCM/ID001/a.png"
    assert folder_digest(folder) == folder_digest(read_folder(root))
    pixels = read_image(folder.train[0].image_path)
    assert (pixels == read_image(str(root / "train/DCM/ID001/a.png"))).all()


def test_progress_counts_every_image_to_the_end(root):
    seen = []
    read_folder(root, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


# Classes


def test_without_classes_txt_the_classes_are_the_29_bones(root):
    assert read_folder(root).class_names == BONES


def test_classes_txt_gives_the_names_in_channel_order(tmp_path):
    (tmp_path / "classes.txt").write_bytes("\ufeffzebra\r\nant\r\n".encode())  # as Notepad saves it
    add(tmp_path, "ID001/a", ("ant", SQUARE))
    folder = read_folder(tmp_path)
    assert folder.class_names == ("zebra", "ant")
    assert list(folder.train[0].polygons) == [1]


@pytest.mark.parametrize(
    "text, message",
    [
        ("a\n\nb\n", "empty name in line 2"),
        ("", "empty name in line 1"),
        ("a\nb\na\n", "names a more than once"),
    ],
)
def test_empty_or_repeated_class_names_are_refused(root, text, message):
    (root / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_folder(root)


# Folders without data


def test_a_missing_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"no such data folder: .*nowhere"):
        read_folder(tmp_path / "nowhere")


def test_a_folder_without_train_dcm_is_refused_with_the_layout(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*train/DCM; needed are train/DCM/<person>"):
        read_folder(tmp_path)


def test_a_train_folder_without_images_is_refused_with_what_is_there(tmp_path):
    (tmp_path / "train/DCM/ID001").mkdir(parents=True)
    (tmp_path / "train/DCM/ID001/a.dcm").write_bytes(b"DICM")
    with pytest.raises(ValueError, match=r"no PNG or JPEG images .*1 other files.*ID001/a\.dcm"):
        read_folder(tmp_path)


def test_a_missing_test_folder_is_only_a_warning(tmp_path):
    add(tmp_path, "ID001/a")
    folder = read_folder(tmp_path)
    assert (folder.test, folder.faults) == ((), ())
    assert folder.warnings == ("no images in test/DCM: nothing to predict",)


# Faults of images


def test_an_image_without_a_label_is_a_fault(root):
    (root / "train/outputs_json/ID001/a.json").unlink()
    what = "image without a label: no train/outputs_json/ID001/a.json"
    assert faults_of(root) == [("train/DCM/ID001/a.png", what)]


def test_a_label_without_an_image_is_a_fault(root):
    (root / "train/DCM/ID001/a.png").unlink()
    what = "label without an image: no train/DCM/ID001/a.png or .jpg"
    assert faults_of(root) == [("train/outputs_json/ID001/a.json", what)]


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def flipped(data):
    """One bit of the pixels changed."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: b"", "the file is empty (0 bytes)"),
        (lambda data: data[: len(data) // 2], "PNG cut off after"),
        (lambda data: data[:-12], "PNG cut off after"),  # only IEND is missing
        (lambda data: data[:10], "PNG cut off after 10 bytes"),
        (flipped, "damaged PNG: wrong checksum"),
        (lambda data: data[:33] + chunk(b"IEND", b""), "no header or no pixels"),
        (lambda data: b"GIF89a" + data, "neither PNG nor JPEG: the content starts with b'GIF89a"),
    ],
)
@pytest.mark.parametrize("image", ["train/DCM/ID001/a.png", "test/DCM/ID040/t.png"])
def test_a_damaged_png_is_a_fault_in_train_and_test(root, damage, message, image):
    (root / image).write_bytes(damage((root / image).read_bytes()))
    ((path, what),) = faults_of(root)
    assert path == image
    assert message in what


@pytest.mark.parametrize("keep", [0.5, 0.1, 0.999])
def test_a_jpeg_cut_off_is_a_fault(tmp_path, keep):
    image, _ = add(tmp_path, "ID001/a", suffix=".jpg")
    image.write_bytes(image.read_bytes()[: int(image.stat().st_size * keep)])
    ((path, what),) = faults_of(tmp_path)
    assert path == "train/DCM/ID001/a.jpg"
    assert "JPEG cut off or damaged" in what


def test_a_jpeg_that_cannot_be_decoded_is_a_fault(tmp_path):
    image, _ = add(tmp_path, "ID001/a", suffix=".jpg", channels=1)
    data = bytearray(image.read_bytes())
    data[data.index(b"\xff\xc0") + 11] = 7  # the frame header's sampling factors
    image.write_bytes(data)
    ((path, what),) = faults_of(tmp_path)
    assert path == "train/DCM/ID001/a.jpg"
    assert what.startswith("the image can't be decoded")


def test_an_orientation_tag_does_not_turn_the_pixels(tmp_path):
    """Orientation 6 asks viewers for a quarter turn; labels are pixels of the picture as stored."""
    image, _ = add(tmp_path, "ID001/a", suffix=".jpg", height=40, width=72)
    plain = read_image(str(image))
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0\x2a" + struct.pack(">IH", 8, 1) + tag + struct.pack(">I", 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    image.write_bytes(b"\xff\xd8" + segment + image.read_bytes()[2:])
    assert cv2.imread(str(image)).shape == (72, 40, 3)  # the tag is one that OpenCV follows
    assert (read_image(str(image)) == plain).all()
    found = read_folder(tmp_path).train[0]
    assert (found.height, found.width) == (40, 72)


def test_a_16_bit_image_is_a_fault_that_asks_for_8_bits(tmp_path):
    add(tmp_path, "ID001/a", dtype=np.uint16)
    what = "16 bits a channel; 8-bit images are needed, convert it"
    assert faults_of(tmp_path) == [("train/DCM/ID001/a.png", what)]


def test_an_unreadable_file_is_a_fault(root):
    image = root / "train/DCM/ID001/a.png"
    image.unlink()
    image.symlink_to(root / "gone.png")
    ((path, what),) = faults_of(root)
    assert path == "train/DCM/ID001/a.png"
    assert "No such file" in what


def test_an_image_outside_a_persons_folder_is_a_fault(root):
    write_image(root / "test/DCM/lost.png")
    what = "not in a person's folder; move it to test/DCM/<person>/"
    assert faults_of(root) == [("test/DCM/lost.png", what)]


def test_a_name_under_two_people_is_a_fault_of_the_second(root):
    add(root, "ID002/a")
    folder = read_folder(root)
    what = "has the same name as train/DCM/ID001/a.png, and the CSV knows only names; rename one"
    assert folder.faults == (Fault("train/DCM/ID002/a.png", what),)
    assert [r.person for r in folder.train] == ["ID001", "ID002"]
    assert names(folder.train) == ["a.png", "b.png"]


# Faults of labels


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"annotations": [', "broken JSON: Expecting value"),
        ("", "broken JSON: Expecting value: line 1"),
        ("[" * 100_000, "broken JSON"),
        ("{}", "no list 'annotations' in the JSON"),
        ('{"annotations": 3}', "no list 'annotations' in the JSON"),
        ("[]", "no list 'annotations' in the JSON"),
        ('{"annotations": [3]}', "annotation 1 has no 'label'"),
        ('{"annotations": [{"label": "Radius"}]}', "'Radius': 'points' is not a list"),
    ],
)
def test_a_broken_label_file_is_a_fault(root, text, message):
    (root / "train/outputs_json/ID001/a.json").write_text(text)
    ((path, what),) = faults_of(root)
    assert path == "train/outputs_json/ID001/a.json"
    assert message in what


def test_unknown_classes_are_one_fault_that_names_the_known_ones_shortly(tmp_path):
    add(tmp_path, "ID001/a", *[(f"toe-{number}", SQUARE) for number in range(1, 6)])
    what = (
        "unknown class 'toe-1', 'toe-2', 'toe-3' and 2 more; "
        "known are finger-1, finger-2, finger-3 ... Ulna (29 in all), "
        "classes.txt in the data folder names others"
    )
    assert faults_of(tmp_path) == [("train/outputs_json/ID001/a.json", what)]


@pytest.mark.parametrize(
    "points, message",
    [
        ([[1, 1], [2, 2]], "a polygon needs at least 3 points, got 2"),
        ([], "a polygon needs at least 3 points, got 0"),
        ([["1", "1"], ["2", "2"], ["3", "3"]], "not a list of number pairs"),
        ([[1, 1], [2, 2], [3, None]], "not a list of number pairs"),
        ([[1, 1], [2, 2], [3]], "not a list of number pairs"),
        ([[1, 1, 1], [2, 2, 2], [3, 3, 3]], "not a list of number pairs"),
        ([[1, 1], [2, 2], [3, float("nan")]], "NaN or infinity"),
        ([[64, 5], [2, 2], [3, 99]], "2 of 3 points outside the 64 x 48 image, first (64, 5)"),
        ([[5, 48], [2, 2], [3, 3]], "1 of 3 points outside the 64 x 48 image, first (5, 48)"),
        ([[-1, 5], [2, 2], [3, 3]], "1 of 3 points outside the 64 x 48 image, first (-1, 5)"),
    ],
)
def test_a_bad_polygon_is_a_fault_that_names_the_class(tmp_path, points, message):
    add(tmp_path, "ID001/a", ("Ulna", points), height=48, width=64)
    ((path, what),) = faults_of(tmp_path)
    assert path == "train/outputs_json/ID001/a.json"
    assert what.startswith("'Ulna': ")
    assert message in what


def test_points_on_the_images_last_row_and_column_are_inside(tmp_path):
    corners = [[0, 0], [63, 0], [63, 47], [0, 47]]
    add(tmp_path, "ID001/a", ("Ulna", corners), height=48, width=64)
    assert faults_of(tmp_path) == []


def test_fractions_of_a_pixel_are_rounded(tmp_path):
    add(tmp_path, "ID001/a", ("Ulna", [[1.4, 1.6], [20, 2], [3, 30.0]]))
    assert read_folder(tmp_path).train[0].polygons[28].tolist() == [[1, 2], [20, 2], [3, 30]]


def test_of_two_polygons_of_a_class_the_last_wins_with_a_warning(root):
    other = [[30, 30], [40, 30], [40, 40]]
    add(root, "ID001/a", ("Radius", SQUARE), ("Radius", other))
    folder = read_folder(root)
    assert folder.faults == ()
    assert folder.train[0].polygons[27].tolist() == other
    warning = "several polygons of 'Radius'; the last one is used"
    assert folder.warnings == (f"train/outputs_json/ID001/a.json: {warning}",)


def test_a_missing_class_is_fine_and_no_class_at_all_is_a_warning(root):
    write_label(root / "train/outputs_json/ID001/a.json")
    folder = read_folder(root)
    assert folder.faults == ()
    assert folder.warnings == ("train/outputs_json/ID001/a.json: labels no class at all",)


# All faults at once


def test_eight_different_faults_are_listed_together_and_left_out(root):
    """Faults sort by path: images of train first, then labels, test before train."""
    for name in "cdefgh":
        add(root, f"ID003/{name}")
    image, label = root / "train/DCM/ID003", root / "train/outputs_json/ID003"
    (image / "c.png").write_bytes((image / "c.png").read_bytes()[:200])
    write_image(image / "d.png", dtype=np.uint16)
    (label / "e.json").unlink()
    (image / "f.png").unlink()
    (label / "g.json").write_text("{")
    write_label(label / "h.json", ("Ulna", [[1, 1]]), ("toe", SQUARE))
    (root / "test/DCM/ID040/t.png").write_bytes(b"")
    folder = read_folder(root)
    assert [f"{fault.path.rsplit('/', 1)[1]}: {fault.what[:20]}" for fault in folder.faults] == [
        "t.png: the file is empty (0",
        "c.png: PNG cut off after 20",
        "d.png: 16 bits a channel; 8",
        "e.png: image without a labe",
        "f.json: label without an ima",
        "g.json: broken JSON: Expecti",
        "h.json: 'Ulna': a polygon ne",
        "h.json: unknown class 'toe';",
    ]
    assert names(folder.train) == ["a.png", "b.png"]
    assert folder.test == ()


def test_the_error_lists_every_fault_with_counts_and_ends_with_the_remedy(root):
    (root / "train/DCM/ID001/a.png").write_bytes(b"")
    write_label(root / "train/outputs_json/ID001/a.json", ("toe", SQUARE), ("Ulna", [[1, 1]]))
    lines = str(faults_error(read_folder(root))).splitlines()
    assert lines[0] == f"3 faults in 2 files of {root}:"
    assert lines[1].startswith("  train/DCM/ID001/a.png: the file is empty")
    assert lines[2].startswith("  train/outputs_json/ID001/a.json: 'Ulna'")
    assert lines[3].startswith("  train/outputs_json/ID001/a.json: unknown class 'toe'")
    assert lines[4] == "1 training and 1 test images are without fault"
    assert lines[5:] == ["--skip-bad leaves these files out"]


# Pixels


def test_three_identical_channels_are_read_as_exactly_that_channel(tmp_path):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (tmp_path / "ramp.png").write_bytes(cv2.imencode(".png", cv2.merge([ramp] * 3))[1].tobytes())
    pixels = read_image(str(tmp_path / "ramp.png"))
    assert pixels.dtype == np.uint8
    assert (pixels == ramp).all()


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_reading_a_bad_image_names_the_file(tmp_path, content):
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.png: "):
        read_image(str(tmp_path / "x.png"))


# The hidden truth


def test_truth_is_none_without_its_folder(root):
    assert read_truth(root, read_folder(root)) is None


def test_truth_gives_the_polygons_of_test_images_by_name(root):
    write_image(root / "test/DCM/ID041/u.png")  # no truth of this one
    write_label(root / "truth/outputs_json/ID040/t.json", ("Ulna", SQUARE))
    truth = read_truth(root, read_folder(root))
    assert {name: list(polygons) for name, polygons in truth.items()} == {"t.png": [28]}
    assert truth["t.png"][28].tolist() == SQUARE


def test_a_faulty_truth_is_refused_by_name(root):
    write_label(root / "truth/outputs_json/ID040/t.json", ("Ulna", [[1, 1]]))
    with pytest.raises(ValueError, match=r"truth/outputs_json/ID040/t\.json: 'Ulna': a polygon"):
        read_truth(root, read_folder(root))


# Digests


def test_a_radiograph_knows_the_content_of_its_file_and_another_is_refused(root):
    image = read_folder(root).train[0]
    path = Path(image.image_path)
    assert image.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_radiograph(path)[0].digest == image.digest
    elsewhere = root / "elsewhere.png"
    shutil.copy(path, elsewhere)
    assert read_radiograph(elsewhere)[0].digest == image.digest
    read_image(image.image_path, image.digest)
    write_image(path, height=65)
    with pytest.raises(ValueError, match=r"a\.png: the file has changed since the data folder"):
        read_image(image.image_path, image.digest)


def test_the_digest_depends_on_the_data_and_not_on_where_it_lies(root, tmp_path_factory):
    before = folder_digest(read_folder(root))
    copy = tmp_path_factory.mktemp("other") / "place"
    shutil.copytree(root, copy)
    assert folder_digest(read_folder(copy)) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write_image(root / "train/DCM/ID001/a.png", height=65),
        lambda root: write_image(root / "test/DCM/ID041/new.png"),
        lambda root: (root / "train/DCM/ID002/b.png").unlink(),
        lambda root: write_label(root / "train/outputs_json/ID001/a.json", ("Ulna", SQUARE)),
        lambda root: write_label(
            root / "train/outputs_json/ID001/a.json", ("Radius", [*SQUARE[:3], [11, 20]])
        ),
        lambda root: (root / "classes.txt").write_text("\n".join(reversed(BONES))),
    ],
    ids=["image", "test image", "one less", "label", "one point", "class order"],
)
def test_the_digest_changes_with(root, change):
    before = folder_digest(read_folder(root))
    change(root)
    assert folder_digest(read_folder(root)) != before


# Real radiographs


@pytest.mark.skipif(not REAL, reason="set HANDRAY_REAL_DATA to a folder of real radiographs")
def test_real_radiographs_are_read_without_fault():
    folder = read_folder(Path(REAL))
    assert folder.faults == ()
    assert len(folder.train) > 0
    for radiograph in folder.train:
        assert 0 < len(radiograph.polygons) <= len(folder.class_names)
        pixels = read_image(radiograph.image_path)
        assert pixels.shape == (radiograph.height, radiograph.width)
        assert pixels.std() > 1
