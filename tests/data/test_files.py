"""Images and masks from files: what is read from them, and what is said when something is wrong with one."""

import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from dcnrun.config.schema import FolderConfig
from dcnrun.data import build_dataset
from dcnrun.data.check import check_data
from dcnrun.data.files import read_mask, read_object_numbers
from dcnrun.data.registry import open_dataset
from dcnrun.errors import DataError
from tests.data.factories import folder_tree, labels, save_image, save_mask


@pytest.fixture
def root(tmp_path):
    return folder_tree(tmp_path)


def train_set(root, classes=("no", "yes"), **settings):
    return build_dataset(FolderConfig(root=str(root), classes=list(classes), **settings), "train")


class TestImages:
    @pytest.mark.parametrize("suffix", ["jpg", "JPEG", "bmp", "tif", "tiff", "webp", "PNG"])
    def test_reads_the_usual_formats(self, root, suffix):
        save_image(root / "images" / "train" / f"d.{suffix}")
        save_mask(root / "masks" / "train" / "d.png", labels())
        assert train_set(root)[3]["image"].shape == (3, 30, 40)

    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK"])
    def test_turns_other_colours_into_rgb(self, root, mode):
        path = root / "images" / "train" / ("a.tif" if mode == "CMYK" else "a.png")
        (root / "images" / "train" / "a.png").unlink()
        Image.new("RGB", (40, 30), (204, 204, 204)).convert(mode).save(path)
        image = train_set(root)[0]["image"]
        assert image.shape == (3, 30, 40)
        assert (image.int() - 204).abs().max() <= 1

    def test_turns_a_photograph_upright(self, root):
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by 90 degrees
        (root / "images" / "train" / "a.png").unlink()
        Image.new("RGB", (30, 40)).save(root / "images" / "train" / "a.jpg", exif=exif)
        assert train_set(root)[0]["image"].shape == (3, 30, 40)

    def test_leaves_other_files_alone(self, root):
        (root / "images" / "train" / "notes.md").write_text("not an image")
        (root / "images" / "train" / "._a.png").write_bytes(b"left by a file manager")
        assert len(train_set(root)) == 3

    def test_two_images_of_one_name(self, root):
        save_image(root / "images" / "train" / "a.jpg")
        with pytest.raises(DataError, match=r"a.png: another image has the same name, .*a.jpg"):
            train_set(root)

    @pytest.mark.parametrize("kept", [0, 20, 600])
    def test_a_damaged_image_is_named(self, root, kept):
        path = root / "images" / "train" / "b.png"
        path.write_bytes(path.read_bytes()[:kept])
        dataset = train_set(root)
        dataset[0]
        with pytest.raises(DataError, match=r"images/train/b.png: can't be read .*; expected an RGB"):
            dataset[1]

    def test_an_image_that_is_text(self, root):
        (root / "images" / "train" / "b.png").write_text("<html>Not found</html>")
        with pytest.raises(DataError, match=r"b.png: can't be read"):
            train_set(root)[1]

    def test_an_image_that_went_away(self, root):
        dataset = train_set(root)
        (root / "images" / "train" / "b.png").unlink()
        with pytest.raises(DataError, match=r"b.png: no such file"):
            dataset[1]


class TestHostileImages:
    """What is no plain image is refused in one line, without another program, a wait or much memory."""

    @pytest.fixture
    def image(self, root):
        path = root / "images" / "train" / "b.png"
        path.unlink()
        return path

    def refused(self, image, message):
        dataset = open_dataset(FolderConfig(root=str(image.parents[2]), classes=["no", "yes"]), "train")
        with pytest.raises(DataError, match=rf"images/train/b.png: {message}") as raised:
            dataset[1]
        assert "\n" not in str(raised.value)

    def test_postscript_starts_no_other_program(self, image, tmp_path, monkeypatch):
        program = tmp_path / "bin" / "gs"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        image.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n%%EOF\n")
        self.refused(image, "can't be read")
        assert not (tmp_path / "started").exists()

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
    def test_what_is_no_file(self, image, make):
        make(image)
        self.refused(image, r"can't be read \(it is no file, but a folder, a pipe or a device\)")
        with pytest.raises(DataError, match=r"1 of 3 image files are missing; expected .*b.png"):
            train_set(image.parents[2])

    def claim(self, image, width, height):
        """A sound PNG but for the size in its header."""
        save_image(image)
        content = image.read_bytes()
        header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
        image.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])

    def test_a_size_that_no_image_has(self, image):
        self.claim(image, 60_000, 60_000)
        self.refused(image, "it claims to have more than 178,956,970 pixels; expected a smaller image")

    def test_an_image_without_extent(self, image):
        """Pillow 13 takes it for no image; older ones open it."""
        self.claim(image, 0, 30)
        self.refused(image, r"can't be read \((it is 0x30 \(width x height\)|not an image, or a damaged one)")

    @pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
    def test_an_animation_or_several_pages(self, image, format):
        frames = [Image.new("RGB", (40, 30), (shade, 0, 0)) for shade in (0, 90, 200)]
        frames[0].save(image, format=format, save_all=True, append_images=frames[1:])
        self.refused(image, r"can't be read \(it holds more than one picture")

    @pytest.mark.parametrize("kind", ["overviews", "photograph"])
    def test_smaller_copies_beside_the_image_are_fine(self, image, kind):
        """Aerial images in TIFF have them, and photographs of phones."""
        picture, copy = Image.new("RGB", (40, 30), (204, 204, 204)), Image.new("RGB", (20, 15))
        if kind == "overviews":
            copy.encoderinfo = {"tiffinfo": {254: 1}}
            picture.save(image, format="TIFF", save_all=True, append_images=[copy])
            with Image.open(image) as saved:
                assert saved.n_frames == 2
        else:
            picture.save(image, format="MPO", save_all=True, append_images=[copy])
        pixels = train_set(image.parents[2])[1]["image"]
        assert pixels.shape == (3, 30, 40)
        assert (pixels.int() - 204).abs().max() <= 1

    @pytest.mark.timeout(20)
    def test_a_mask_that_is_a_pipe(self, root):
        (root / "masks/train/a.png").unlink()
        os.mkfifo(root / "masks/train/a.png")
        with pytest.raises(DataError, match=r"masks/train/a.png: can't be read \(it is no file"):
            open_dataset(FolderConfig(root=str(root), classes=["no", "yes"]), "train")[0]


class TestNames:
    @pytest.fixture
    def foreign(self, root):
        """A file name as an old system wrote it: an e with an accent as one byte."""
        for folder in ("images", "masks"):
            path = root / folder / "train"
            (path / "a.png").rename(path / os.fsdecode(b"caf\xe9.png"))
        return root

    def test_that_are_not_utf_8_are_refused_before_training(self, foreign):
        with pytest.raises(DataError, match=r"names of images that are not UTF-8: 'caf\\udce9'; rename these files$"):
            train_set(foreign)

    def test_that_are_not_utf_8_are_a_problem_of_the_check(self, foreign):
        report = check_data(FolderConfig(root=str(foreign), classes=["no", "yes"], workers=0), ["train"])
        assert report["splits"]["train"]["first_problems"] == [r"'caf\udce9' is not UTF-8: rename this file"]

    @pytest.mark.parametrize("name", ["../../../secret", "/etc/secret", "x/../../../secret"])
    def test_that_lead_out_of_the_root(self, root, name):
        (root / "train.txt").write_text(f"train/a\n{name}\n")
        with pytest.raises(DataError, match=rf"train.txt: the image '{name}' is outside data.root={root}; expected"):
            train_set(root, train="train.txt")

    def test_that_may_lead_out_of_the_root(self, root, tmp_path_factory):
        elsewhere = folder_tree(tmp_path_factory.mktemp("elsewhere"), splits=("",))
        outside = os.path.relpath(elsewhere / "images" / "a", root / "images")
        (root / "train.txt").write_text(f"{outside}\n")
        (root / "masks" / outside).parent.mkdir(parents=True, exist_ok=True)
        save_mask(root / "masks" / f"{outside}.png", labels())
        with pytest.raises(DataError, match=r"or data.allow_outside=true$"):
            train_set(root, train="train.txt")
        assert len(train_set(root, train="train.txt", allow_outside=True)) == 1


class TestMasks:
    @pytest.mark.parametrize("mode", ["P", "L"])
    def test_index_colours_and_grey_values_are_labels(self, root, mode):
        values = labels(values=(0, 1, 255))
        save_mask(root / "masks" / "train" / "a.png", values, mode)
        assert np.array_equal(train_set(root)[0]["mask"].numpy(), values)

    def test_a_mask_alone_needs_no_image(self, root):
        dataset = train_set(root)
        wanted = dataset[0]["mask"]
        dataset.file(0).unlink()
        assert np.array_equal(dataset.mask(0), wanted)

    def test_a_colour_with_another_value_in_another_palette(self, root):
        """Written one by one with as few colours as each needs: red is 1 in one file and 2 in the next."""
        black, red, green = (0, 0, 0), (255, 0, 0), (0, 255, 0)
        for name, palette in {"a": [black, red, green], "b": [black, green, red], "c": [black, red]}.items():
            picture = Image.fromarray(labels(values=range(len(palette))), "P")
            picture.putpalette([part for colour in palette for part in colour])
            picture.save(root / "masks" / "train" / f"{name}.png")
        dataset = train_set(root, ["sky", "road", "tree"])
        said = r"b.png: the colour \(0, 255, 0\) has the value 1 in its palette, but 2 in .*a.png; expected one palette"
        assert len([dataset[index] for index in (0, 2)]) == 2
        with pytest.raises(DataError, match=said):
            dataset[1]

    def test_colours_that_say_nothing_of_a_value(self, root):
        """Palettes of one colour, and colours that two values have."""
        for name, palette in {"a": [0] * 768, "b": [0, 0, 0, 9, 9, 9, 9, 9, 9]}.items():
            picture = Image.fromarray(labels(values=(0, 1)), "P")
            picture.putpalette(palette)
            picture.save(root / "masks" / "train" / f"{name}.png")
        assert all(len(train_set(root)[index]["mask"].unique()) == 2 for index in range(2))

    def test_a_black_and_white_mask(self, root):
        values = labels()
        Image.fromarray(values.astype(bool)).save(root / "masks" / "train" / "a.png")
        assert np.array_equal(train_set(root)[0]["mask"].numpy(), values)

    @pytest.mark.parametrize(("bits", "packed"), [(2, 0b00011011), (4, 0x1F)])
    def test_grey_of_few_bits_is_refused_rather_than_stretched(self, root, bits, packed):
        header = struct.pack(">IIBBBBB", 40, 30, bits, 0, 0, 0, 0)
        rows = (b"\x00" + bytes([packed]) * (40 * bits // 8)) * 30
        parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
        chunks = [
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in parts
        ]
        (root / "masks/train/a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
        with pytest.raises(DataError, match=rf"masks/train/a.png: its grey values have {bits} bits, .* of 8 bits"):
            train_set(root, classes=map(str, range(18)))[0]

    def test_index_colours_of_few_bits_are_labels(self, root):
        values = labels(values=(0, 1, 3))
        picture = Image.fromarray(values)
        picture.putpalette(bytes(range(12)))
        picture.save(root / "masks/train/a.png", bits=2)
        assert (root / "masks/train/a.png").read_bytes()[24] == 2
        assert np.array_equal(train_set(root, classes="abcd")[0]["mask"].numpy(), values)

    def test_another_ignore_label_becomes_the_common_one(self, root):
        save_mask(root / "masks" / "train" / "a.png", labels(values=(0, 1, 7)))
        mask = train_set(root, ignore_label=7)[0]["mask"]
        assert set(mask.unique().tolist()) == {0, 1, 255}

    def test_then_255_is_out_of_range(self, root):
        with pytest.raises(DataError, match=r"label 255 .* expected 0 to 1 \(the classes\) or 7 \(ignored\)"):
            train_set(root, ignore_label=7)[0]

    def test_a_label_out_of_range_is_named_with_its_place(self, root):
        values = np.zeros((30, 40), np.uint8)
        values[4, 9] = values[20, 3] = 2
        save_mask(root / "masks" / "train" / "b.png", values)
        with pytest.raises(
            DataError, match=r"masks/train/b.png: label 2 at row 4, column 9 .* 2 pixels .* expected 0 to 1"
        ):
            train_set(root)[1]

    def test_a_mask_of_another_size_is_named_with_both_sizes(self, root):
        save_mask(root / "masks" / "train" / "b.png", labels(size=(41, 30)))
        with pytest.raises(DataError, match=r"masks/train/b.png: the mask is 41x30 but its image .*b.png is 40x30"):
            train_set(root)[1]

    def test_a_mask_in_rgb(self, root):
        save_image(root / "masks" / "train" / "b.png")
        said = r"b.png: its pixel format is RGB, with the colours #.{6} \(1 pixels\), .* and 11\d\d more; expected .* data.colours"
        with pytest.raises(DataError, match=said):
            train_set(root)[1]

    @pytest.mark.parametrize(
        ("suffix", "mode", "dtype"),
        [
            ("tif", None, np.uint8),
            ("tif", None, np.uint16),
            ("tiff", None, np.int32),
            ("tif", None, np.float32),
            ("png", None, np.uint16),
            ("bmp", "L", np.uint8),
            ("gif", "L", np.uint8),
            ("png", "LA", np.uint8),
            ("png", "RGB", np.uint8),
            ("tif", "RGB", np.uint8),
            ("png", "RGBA", np.uint8),
        ],
    )
    def test_exact_formats_keep_the_values(self, tmp_path, suffix, mode, dtype):
        values = labels(values=(0, 1, 255))
        picture = Image.fromarray(values.astype(dtype))
        picture = picture if mode is None else picture.convert(mode)
        picture.save(tmp_path / f"a.{suffix}")
        assert np.array_equal(read_mask(tmp_path / f"a.{suffix}")[0], values)

    @pytest.mark.parametrize(
        "dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int64", "uint64", "float16", "float64"]
    )
    @pytest.mark.parametrize("photometric", ["miniswhite", "minisblack"])
    def test_a_grey_tiff_holds_the_values_as_they_were_written(self, tmp_path, dtype, photometric):
        values = labels(values=(0, 1, 1) if dtype == "bool" else (0, 1, 2))
        tifffile.imwrite(tmp_path / "a.tif", values.astype(dtype), photometric=photometric)
        assert np.array_equal(read_mask(tmp_path / "a.tif")[0], values)

    def test_a_tiff_of_1_bit_from_elsewhere_holds_shades(self, tmp_path):
        values = labels(values=(0, 1, 1))
        tifffile.imwrite(tmp_path / "a.tif", values == 0, photometric="miniswhite", software="a scanner")
        assert np.array_equal(read_mask(tmp_path / "a.tif")[0], values)

    @pytest.mark.parametrize("value", [256, -1, 0.5])
    def test_a_value_beyond_8_bits_is_named(self, tmp_path, value):
        Image.fromarray(np.array([[0, value, value]], np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(DataError, match=rf"a.tif: it holds the value {value}, on 2 pixels beyond 0 to 255 in all"):
            read_mask(tmp_path / "a.tif")

    @pytest.mark.parametrize(
        ("suffix", "options", "how"),
        [("jpg", {}, "JPEG"), ("webp", {}, "WebP"), ("tif", {"compression": "jpeg"}, "JPEG")],
    )
    def test_formats_that_change_values_are_refused(self, tmp_path, suffix, options, how):
        Image.fromarray(labels()).save(tmp_path / f"a.{suffix}", **options)
        with pytest.raises(DataError, match=rf"a.{suffix}: {how} changes the values of pixels, .* ending in .png .tif"):
            read_mask(tmp_path / f"a.{suffix}")

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    @pytest.mark.parametrize("mode", ["L", "P"])
    def test_a_mask_is_turned_upright_as_images_are(self, tmp_path, suffix, mode):
        picture = Image.frombytes(mode, (3, 2), bytes(range(6)))
        if mode == "P":
            picture.putpalette(range(6 * 3))
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by 90 degrees
        picture.save(tmp_path / f"a.{suffix}", exif=exif)
        assert read_mask(tmp_path / f"a.{suffix}")[0].tolist() == [[3, 0], [4, 1], [5, 2]]

    def test_soft_edges_are_refused(self, tmp_path):
        pixels = np.zeros((3, 4, 4), np.uint8)
        pixels[1, 2, 3], pixels[0, 0, 3] = 7, 255
        Image.fromarray(pixels).save(tmp_path / "a.png")
        with pytest.raises(DataError, match=r"a.png: 1 pixels are half transparent"):
            read_mask(tmp_path / "a.png")

    def test_missing_masks_are_found_at_once_and_counted(self, root):
        for number in range(9):
            save_image(root / "images" / "train" / f"d{number}.png")
        with pytest.raises(DataError, match=r"9 of 12 mask files are missing; expected .*d0.png, .* and 4 more"):
            train_set(root)


class TestObjectNumbers:
    NUMBERS = np.arange(12).reshape(3, 4) * 300

    @pytest.mark.parametrize("kind", ["u1", "u2", "i4", "u4", "i8", "f4", "f8"])
    def test_of_any_depth(self, tmp_path, kind):
        numbers = self.NUMBERS // (30 if kind == "u1" else 1)
        tifffile.imwrite(tmp_path / "a.tif", numbers.astype(kind))
        assert np.array_equal(read_object_numbers(tmp_path / "a.tif"), numbers)

    def test_of_16_bits_in_png(self, tmp_path):
        Image.fromarray(self.NUMBERS.astype(np.uint16)).save(tmp_path / "a.png")
        assert np.array_equal(read_object_numbers(tmp_path / "a.png"), self.NUMBERS)

    def test_index_colours(self, tmp_path):
        save_mask(tmp_path / "a.png", np.arange(12).reshape(3, 4))
        assert np.array_equal(read_object_numbers(tmp_path / "a.png"), np.arange(12).reshape(3, 4))

    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.gif"])
    def test_colours(self, tmp_path, name):
        colours = np.array([[[0, 0, 0], [255, 0, 0], [0, 0, 1]]], np.uint8)
        Image.fromarray(colours).save(tmp_path / name)
        assert read_object_numbers(tmp_path / name).tolist() == [[0, 0xFF0000, 1]]

    def test_what_is_transparent_is_no_object(self, tmp_path):
        Image.fromarray(np.array([[[9, 9, 9, 0], [0, 9, 0, 255]]], np.uint8)).save(tmp_path / "a.png")
        assert read_object_numbers(tmp_path / "a.png").tolist() == [[0, 0x000900]]

    @pytest.mark.parametrize("value", [-1, 0.5, np.nan, np.inf])
    def test_no_numbers_of_objects(self, tmp_path, value):
        tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 1, value]], np.float32))
        with pytest.raises(
            DataError, match=rf"a.tif: it holds the value {value:g}; expected a grey, index-colour or RGB"
        ):
            read_object_numbers(tmp_path / "a.tif")

    def test_jpeg(self, tmp_path):
        save_image(tmp_path / "a.jpg")
        with pytest.raises(DataError, match="JPEG changes the values of pixels"):
            read_object_numbers(tmp_path / "a.jpg")
