"""Pascal VOC's files are recognised, and the settings that are printed for them open them."""

from shutil import rmtree

import pytest

from dcnrun.config.compose import compose
from dcnrun.data.registry import open_box_dataset
from tests.data.discover.factories import only, opened
from tests.data.factories import (
    save_image,
    save_image_set,
    save_voc_image,
    voc_boxes_tree,
    voc_object,
)

BOTH = ("train", "val")


class TestVoc:
    def test_image_sets(self, tmp_path):
        reading = only(voc_boxes_tree(tmp_path))
        assert {"data.train=[VOC2007/trainval,VOC2012/trainval]", "data.val=[VOC2007/test]"} < set(reading.overrides)
        assert [len(opened(reading, open_box_dataset, split)) for split in BOTH] == [4, 3]

    def test_image_sets_to_test_on_in_a_folder_of_their_own(self, tmp_path):
        """As two archives of VOC 2007 are unpacked: what is validated on is of the folder that is trained on."""
        for folder, names in (("a_test/VOCdevkit/VOC2007", ["test"]), ("b/VOCdevkit/VOC2007", ["train", "val"])):
            for name in names:
                save_voc_image(tmp_path / folder, name, voc_object("cat", (1, 1, 9, 9)))
                save_image_set(tmp_path / folder, name, name)
        for val in ("b/VOCdevkit/VOC2007/val", "a_test/VOCdevkit/VOC2007/test"):
            reading = only(tmp_path)
            assert reading.overrides[-1] == f"data.val=[{val}]"
            assert opened(reading, open_box_dataset).name(0) == "train"
            assert len(opened(reading, open_box_dataset, "val")) == 1
            (tmp_path / "b/VOCdevkit/VOC2007/ImageSets/Main/val.txt").unlink(missing_ok=True)

    def test_annotations_and_images_in_two_folders_each(self, tmp_path):
        """As in DIOR, whose oriented boxes have names of their own."""
        for number, (name, split) in enumerate((("a", "train"), ("b", "val"), ("c", "test"))):
            save_image(tmp_path / f"JPEGImages-{'test' if split == 'test' else 'trainval'}/{name}.jpg", seed=number)
            save_voc_image(tmp_path / "x", name, voc_object("cat", (1, 1, 9, 9)))
            for kind, box in (("Horizontal", "bndbox"), ("Oriented", "robndbox")):
                folder = tmp_path / f"Annotations/{kind} Bounding Boxes"
                folder.mkdir(parents=True, exist_ok=True)
                text = (tmp_path / f"x/Annotations/{name}.xml").read_text()
                (folder / f"{name}.xml").write_text(text.replace("bndbox", box))
            save_image_set(tmp_path, split, name)
        rmtree(tmp_path / "x")
        reading = only(tmp_path)
        assert reading.overrides[3:] == ["data.classes=[cat]", "data.train=[train]", "data.val=[val]"]
        for split, name in (("train", "a"), ("val", "b")):
            dataset = opened(reading, open_box_dataset, split)
            assert [dataset.name(0), len(dataset[0]["boxes"])] == [name, 1]

    def test_the_folder_itself_and_lists_beside_the_one(self, tmp_path):
        folder = tmp_path / "set"
        for name in "ab":
            save_voc_image(folder, name, voc_object("cat", (1, 1, 9, 9)))
        for name, image in (("train", "a"), ("train_files", "a.jpg"), ("cat_train", "a"), ("val", "b"), ("val_x", "b")):
            save_image_set(folder, name, image)
        reading = only(folder)
        assert {"data.train=[train]", "data.val=[val]", "data.classes=[cat]"} < set(reading.overrides)
        assert opened(reading, open_box_dataset, "val").name(0) == "b"

    def test_images_to_test_on_without_annotations(self, tmp_path):
        for name in ("a", "b", "c"):
            save_voc_image(tmp_path, name, voc_object("cat", (1, 1, 9, 9)))
        save_image_set(tmp_path, "trainval", "a", "b")
        save_image_set(tmp_path, "test", "c")
        assert only(tmp_path).overrides[-1] == "data.val=[test]"
        (tmp_path / "Annotations/c.xml").unlink()
        assert only(tmp_path).overrides[-2:] == ["data.train=[trainval]", "data.val_share=0.2"]

    def test_an_object_without_a_box_is_left_to_the_check(self, tmp_path):
        polygon = "<object><name>cat</name><polygon><x1>1</x1><y1>1</y1></polygon></object>"
        save_voc_image(tmp_path, "a", voc_object("cat", (1, 1, 9, 9)), polygon)
        (flaw,) = opened(only(tmp_path), open_box_dataset).flaws
        assert "object 2 ('cat'): its xmin is ''" in str(flaw)

    @pytest.mark.parametrize(
        ("annotations", "images", "entry"),
        [
            ("{}", "{}", "{}"),
            ("{}/annotations", "{}/images", "{}"),
            ("Annotations/My {}", "Images/My {}", "My {}"),
            ("my set/{}_zip/{}", "my set/{}_zip/{}", "my set/{}_zip/{}"),
        ],
    )
    def test_folders_of_a_split(self, tmp_path, annotations, images, entry):
        """Every class of the training images is found, and no other."""
        names = {"Train": [f"{number:02}" for number in range(60)], "valid": ["x"], "test": ["y"]}
        for split, stems in names.items():
            for number, stem in enumerate(stems):
                marks = voc_object("late" if number == 59 else "cat" if split == "Train" else "other", (1, 1, 9, 9))
                file = tmp_path / annotations.replace("{}", split) / f"{stem}.xml"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"<annotation>{marks}</annotation>")
                image = tmp_path / images.replace("{}", split) / f"{stem}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                image.touch()
        reading = only(tmp_path)
        assert (reading.format, reading.classes) == ("Pascal VOC without ImageSets", ["cat", "late"])
        config = compose(reading.overrides).data
        assert (config.train, config.val) == ([entry.replace("{}", "Train")], [entry.replace("{}", "valid")])
        assert len(open_box_dataset(config, "train")) == 60

    @pytest.mark.parametrize("annotations", [".", "Annotations", "set/xml", "dogs"])
    def test_one_folder_is_shared(self, tmp_path, annotations):
        for name in "abc":
            save_voc_image(tmp_path / "made", name, voc_object("cat", (1, 1, 9, 9)))
            save_image(tmp_path / annotations / f"{name}.png")
            (tmp_path / f"made/Annotations/{name}.xml").rename(tmp_path / annotations / f"{name}.xml")
        rmtree(tmp_path / "made")
        reading = only(tmp_path)
        assert {"data.train=[.]", "data.val_share=0.2"} < set(reading.overrides)
        assert [len(opened(reading, open_box_dataset, split)) for split in ("train", "val")] == [2, 1]

    def test_lists_that_belong_together(self, tmp_path):
        """The images of trainval are those of train and of val."""
        for name in "ab":
            save_voc_image(tmp_path, name, voc_object("cat", (1, 1, 9, 9)))
        for name, images in (("train", "a"), ("val", "b"), ("trainval", "ab"), ("test", "b")):
            save_image_set(tmp_path, name, *images)
        assert {"data.train=[train]", "data.val=[val]"} < set(only(tmp_path).overrides)

    def test_lists_beside_the_folders(self, tmp_path):
        for name in "ab":
            save_voc_image(tmp_path, name, voc_object("cat", (1, 1, 9, 9)))
        (tmp_path / "train.txt").write_text("JPEGImages/a.jpg\n")
        (tmp_path / "val.txt").write_text("b\n")
        (tmp_path / "classes.txt").write_text("cat\n")
        reading = only(tmp_path)
        assert {"data.train=[train.txt]", "data.val=[val.txt]"} < set(reading.overrides)
        assert opened(reading, open_box_dataset, "val").name(0) == "b"
