"""Images and masks from files: what is read from them, and what is said when something is wrong with one."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.schema import FolderConfig
from dcnrun.data import build_dataset
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

    def test_sixteen_bits_are_refused_rather_than_clipped(self, root):
        Image.fromarray(np.full((30, 40), 1000, np.uint16)).save(root / "images" / "train" / "b.png")
        with pytest.raises(DataError, match=r"b.png: its pixel format is I;16; expected .* 8 bits"):
            train_set(root)[1]


class TestMasks:
    @pytest.mark.parametrize("mode", ["P", "L"])
    def test_index_colours_and_grey_values_are_labels(self, root, mode):
        values = labels(values=(0, 1, 255))
        save_mask(root / "masks" / "train" / "a.png", values, mode)
        assert np.array_equal(train_set(root)[0]["mask"].numpy(), values)

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
        with pytest.raises(DataError, match=r"masks/train/b.png: its pixel format is RGB; expected an index-colour"):
            train_set(root)[1]

    def test_missing_masks_are_found_at_once_and_counted(self, root):
        for number in range(9):
            save_image(root / "images" / "train" / f"d{number}.png")
        with pytest.raises(DataError, match=r"9 of 12 mask files are missing; expected .*d0.png, .* and 4 more"):
            train_set(root)
