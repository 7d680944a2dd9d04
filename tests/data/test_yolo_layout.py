"""Where YOLO's images, labels and class names are found: by data.yaml as tools write it, or by folders alone."""

import re

import pytest

from dcnrun.config.schema import YoloConfig
from dcnrun.data import build_box_dataset
from dcnrun.errors import DataError, UsageError
from tests.data.factories import save_yolo

LINE = "0 0.5 0.5 0.2 0.2"


def opened(root, split="train", **settings):
    return build_box_dataset(YoloConfig(root=str(root), **settings), split)


def names(root, split="train", **settings):
    dataset = opened(root, split, **settings)
    return [dataset.name(index) for index in range(len(dataset))]


def save(root, *images, yaml=None):
    for seed, image in enumerate(images):
        save_yolo(root, image, LINE, seed=seed)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)


class TestDarknet:
    """obj.data with names and lists of its own, as CVAT's YOLO 1.1 and darknet have it."""

    def test_lists_and_names(self, tmp_path):
        save(tmp_path, "obj_train_data/a.png", "obj_val_data/b.png")
        (tmp_path / "obj.data").write_text(
            "classes = 2\ntrain = data/mine.txt\nvalid=data/rest.txt\nnames = data/my.names\nbackup = x/\n"
        )
        (tmp_path / "my.names").write_text("cat\ndog\n")
        (tmp_path / "mine.txt").write_text("data/obj_train_data/a.png\n")
        (tmp_path / "rest.txt").write_text("data/obj_val_data/b.png\n")
        assert opened(tmp_path).classes == ("cat", "dog")
        assert [names(tmp_path, split) for split in ("train", "val")] == [
            ["obj_train_data/a.png"],
            ["obj_val_data/b.png"],
        ]

    def test_names_that_are_not_there(self, tmp_path):
        save(tmp_path, "obj_train_data/a.png")
        (tmp_path / "obj.data").write_text("classes = 1\ntrain = train.txt\nnames = obj.names\n")
        with pytest.raises(UsageError, match=r"obj.data: names: obj.names is not there"):
            opened(tmp_path)
        (tmp_path / "obj.names").write_text("cat\ndog\n")
        with pytest.raises(DataError, match=r"nc is 1 but names has 2"):
            opened(tmp_path)


class TestClasses:
    @pytest.mark.parametrize(
        ("yaml", "expected"),
        [
            ("names: [cat, dog]", ("cat", "dog")),
            ("names:\n- cat\n- dog\nnc: 2", ("cat", "dog")),
            ("names: {1: dog, 0: cat}", ("cat", "dog")),
            ("names: {'0': cat, '1': dog}", ("cat", "dog")),
            ("names: [no, 007, 1.10]", ("no", "007", "1.10")),
            ("nc: 2", ("class_0", "class_1")),
        ],
    )
    def test_of_the_yaml(self, tmp_path, yaml, expected):
        save(tmp_path, "images/train/a.png", yaml=f"train: images/train\n{yaml}\n")
        assert opened(tmp_path).classes == expected

    @pytest.mark.parametrize("file", ["classes.txt", "obj.names", "labels/classes.txt"])
    def test_of_a_list(self, tmp_path, file):
        save(tmp_path, "images/train/a.png")
        (tmp_path / file).write_text("cat\ndog\n")
        dataset = opened(tmp_path)
        assert dataset.classes == ("cat", "dog")
        assert dataset.notes == [f"2 class names are those of {file} (data.classes gives others)"]

    def test_of_the_settings(self, tmp_path):
        save(tmp_path, "images/train/a.png", yaml="train: images/train\nnames: [cat]\n")
        assert opened(tmp_path, classes=["lynx", "fox"]).classes == ("lynx", "fox")

    @pytest.mark.parametrize(
        ("yaml", "message"),
        [
            ("names: [cat, dog]\nnc: 3", "nc is 3 but names has 2"),
            ("names: [cat, cat]", "the class name 'cat' is there more than once"),
            ("names: {1: cat, 2: dog}", "names has the keys 1, 2; expected 0 to 1"),
            ("names: {cat: 0, dog: 1}", "names has the keys cat, dog; expected 0 to 1"),
            ("names: cat", "names is neither a list of class names nor a mapping"),
            ("names: [[cat]]", "names is neither a list of class names nor a mapping"),
            ("names: ['', dog]", "one is empty"),
            ("names: [cat]\nnc: many", "nc is 'many'; expected the number of classes"),
            ("names: [cat]\nkpt_shape: 17", "kpt_shape is '17'; expected [number of key points, 2 or 3]"),
        ],
    )
    def test_that_can_not_be_right(self, tmp_path, yaml, message):
        save(tmp_path, "images/train/a.png", yaml=f"train: images/train\n{yaml}\n")
        with pytest.raises(DataError, match=re.escape(message)):
            opened(tmp_path)

    def test_that_are_nowhere(self, tmp_path):
        save(tmp_path, "images/train/a.png")
        with pytest.raises(UsageError, match=r"has no class names: expected data.yaml with names, or classes.txt, or"):
            opened(tmp_path)


class TestPlaces:
    @pytest.mark.parametrize(
        "train",
        [
            "images/train",
            "./images/train/",
            "../images/train",
            "/home/someone/set/images/train",
            r"C:\Users\someone\set\images\train",
            "[images/train]",
        ],
    )
    def test_of_the_yaml(self, tmp_path, train):
        save(
            tmp_path, "images/train/a.png", "images/val/b.png", yaml=f"train: {train}\nval: images/val\nnames: [cat]\n"
        )
        assert names(tmp_path) == ["images/train/a.png"]
        is_moved = ".." in train or "someone" in train
        assert opened(tmp_path).notes == (
            [f"train: {train} of data.yaml is taken for images/train (data.train=FOLDER names another)"]
            if is_moved
            else []
        )

    def test_folders_of_another_disk(self, tmp_path):
        save(tmp_path / "disk", "images/b.png")
        save(tmp_path / "set", "images/train/a.png", yaml="train: images/train\nnames: [cat]\n")
        for kind in ("images", "labels"):
            (tmp_path / f"set/{kind}/train/more").symlink_to(tmp_path / "disk" / kind)
        assert names(tmp_path / "set") == ["images/train/a.png", "images/train/more/b.png"]

    def test_several_folders_and_folders_below_them(self, tmp_path):
        images = ["images/one/a.png", "images/one/deep/b.png", "images/two/c.png"]
        save(tmp_path, *images, "images/one/.hidden/x.png", yaml="train: [images/one, images/two]\nnames: [cat]\n")
        assert names(tmp_path) == images

    @pytest.mark.parametrize("path", [".", "./", "set", "../set", "/somewhere/else/set"])
    def test_path_is_where_others_begin(self, tmp_path, path):
        root = tmp_path / "set"
        base = root / "set" if path == "set" else root
        save(base, "images/train/a.png")
        (root / "data.yaml").write_text(f"path: {path}\ntrain: images/train\nnames: [cat]\n")
        assert names(root) == [(base / "images/train/a.png").relative_to(root).as_posix()]
        assert bool(opened(root).notes) == path.startswith("/")

    def test_folders_in_capitals(self, tmp_path):
        save_yolo(tmp_path, "Images/Train/a.png")
        (tmp_path / "Labels/Train").mkdir(parents=True)
        (tmp_path / "Labels/Train/a.txt").write_text(LINE)
        dataset = opened(tmp_path, train="Images/Train", classes=["cat"])
        assert (dataset.name(0), len(dataset[0]["boxes"])) == ("Images/Train/a.png", 1)

    def test_path_ends_in_a_folder_that_is_here(self, tmp_path):
        """As of ultralytics' coco128.yaml, beside the folder coco128."""
        save(tmp_path, "mine/images/train/a.png", yaml="path: ../datasets/mine\ntrain: images/train\nnames: [cat]\n")
        assert names(tmp_path) == ["mine/images/train/a.png"]
        assert "train: images/train of data.yaml is taken for mine/images/train" in opened(tmp_path).notes[1]

    def test_path_outside_the_root(self, tmp_path):
        root, other = tmp_path / "set", tmp_path / "other"
        save(other, "images/train/a.png")
        root.mkdir()
        save(root, yaml=f"path: {other}\ntrain: images/train\nnames: [cat]\n")
        with pytest.raises(
            UsageError, match=r"train: images/train is not there.*\(path: .*other of data.yaml is outside"
        ):
            opened(root)
        assert names(root, allow_outside=True) == [(other / "images/train/a.png").as_posix()]

    @pytest.mark.parametrize(
        "line", ["images/all/a.png", "./images/all/a.png", "data/images/all/a.png", r"D:\images\all\a.png"]
    )
    def test_lists_of_paths(self, tmp_path, line):
        save(tmp_path, "images/all/a.png", "images/all/b.png", yaml="train: train.txt\nnames: [cat]\n")
        (tmp_path / "train.txt").write_text(f"{line}\n\n")
        assert names(tmp_path) == ["images/all/a.png"]
        is_moved = line.startswith(("data", "D:"))
        expected = f"1 of 1 images in train.txt are not where it says, such as {line}: found by the end of their paths below data.root"
        assert opened(tmp_path).notes == ([expected] if is_moved else [])

    def test_a_list_of_what_is_not_there(self, tmp_path):
        save(tmp_path, "images/all/a.png", yaml="train: train.txt\nnames: [cat]\n")
        (tmp_path / "train.txt").write_text("images/all/x.png\n")
        with pytest.raises(DataError, match=r"images/all/x.png: the image is listed, but not there"):
            names(tmp_path)

    def test_a_list_may_not_lead_out(self, tmp_path):
        save(tmp_path, "a.png")
        root = tmp_path / "set"
        save(root, "images/b.png", yaml="train: train.txt\nnames: [cat]\n")
        (root / "train.txt").write_text("../a.png\n")
        with pytest.raises(DataError, match=r"the image '../a.png' is outside data.root"):
            names(root)

    @pytest.mark.parametrize("key", ["val", "valid", "validation"])
    def test_other_names_of_val(self, tmp_path, key):
        save(
            tmp_path,
            "train/images/a.png",
            f"{key}/images/b.png",
            yaml=f"train: ../train/images\n{key}: ../{key}/images\nnames: [cat]\n",
        )
        assert names(tmp_path, "val") == [f"{key}/images/b.png"]

    def test_another_key(self, tmp_path):
        save(tmp_path, "images/t/a.png", "images/s/b.png", yaml="train: images/t\ntest: images/s\nnames: [cat]\n")
        assert names(tmp_path, "val", val="test") == ["images/s/b.png"]
        with pytest.raises(
            UsageError, match=r"data.val=val: data.yaml has train and test, and there is no images/val or"
        ):
            opened(tmp_path, "val")

    def test_what_is_not_there(self, tmp_path):
        save(tmp_path, "images/a.png", yaml="train: elsewhere/train\nval:\n  - {a: 1}\nnames: [cat]\n")
        with pytest.raises(
            UsageError, match=r"data.yaml: train: elsewhere/train is not there, and no end of this path"
        ):
            opened(tmp_path)
        with pytest.raises(
            DataError, match=r"val is \[{'a': '1'}\]; expected a folder of images, a .txt file of paths"
        ):
            opened(tmp_path, "val")


class TestWithoutYaml:
    @pytest.mark.parametrize("form", ["images/SPLIT/a.png", "SPLIT/images/a.png", "SPLIT/a.png"])
    @pytest.mark.parametrize("val", ["val", "valid"])
    def test_folders(self, tmp_path, form, val):
        save(tmp_path, form.replace("SPLIT", "train"), form.replace("SPLIT", val))
        for split, word in (("train", "train"), ("val", val)):
            assert names(tmp_path, split, classes=["cat"]) == [form.replace("SPLIT", word)]

    def test_lists(self, tmp_path):
        save(tmp_path, "obj_train_data/a.png", "obj_train_data/b.png")
        for name, image in (("train", "a"), ("valid", "b")):
            (tmp_path / f"{name}.txt").write_text(f"data/obj_train_data/{image}.png\n")
        (tmp_path / "obj.names").write_text("cat\n")
        assert names(tmp_path, "val") == ["obj_train_data/b.png"]

    @pytest.mark.parametrize("root", ["set", "./set", "set/../set"])
    def test_a_root_from_where_one_is(self, tmp_path, monkeypatch, root):
        save(tmp_path / "set", "images/train/a.png", "b/c.png")
        (tmp_path / "set/val.txt").write_text(f"{tmp_path}/set/b/c.png\n")
        monkeypatch.chdir(tmp_path)
        assert names(root, "train", classes=["cat"]) == ["images/train/a.png"]
        assert names(root, "val", classes=["cat"]) == ["b/c.png"]
        assert opened(root, "val", classes=["cat"]).notes == []

    @pytest.mark.parametrize("folder", ["images/", "", "images/deep/"])
    def test_one_folder_is_shared(self, tmp_path, folder):
        images = [f"{folder}{name}.png" for name in "abcde"]
        save(tmp_path, *images)
        (tmp_path / "classes.txt").write_text("cat\n")
        parts = [names(tmp_path, split, val_share=0.2) for split in ("train", "val")]
        assert sorted([*parts[0], *parts[1]]) == images
        assert len(parts[1]) == 1
        with pytest.raises(
            UsageError, match=r"there is no images/train or train/images or train or train.txt; .*val_share=0.2"
        ):
            opened(tmp_path)

    def test_a_folder_of_the_settings(self, tmp_path):
        save(tmp_path, "images/day/a.png", "images/night/b.png")
        assert names(tmp_path, classes=["cat"], train="images/night") == ["images/night/b.png"]
        with pytest.raises(DataError, match=r"data.train: .* is outside data.root"):
            opened(tmp_path / "images", classes=["cat"], train="../images/../labels")


class TestTheYamlItself:
    def test_is_a_root_too(self, tmp_path):
        save(tmp_path, "images/train/a.png", yaml="train: images/train\nnames: [cat]\n")
        assert names(tmp_path / "data.yaml") == ["images/train/a.png"]

    def test_of_another_name(self, tmp_path):
        save(tmp_path, "images/train/a.png")
        (tmp_path / "mine.yaml").write_text("train: images/train\nnames: [cat]\n")
        (tmp_path / "notes.yaml").write_text("who: me\n")
        assert opened(tmp_path).classes == ("cat",)
        (tmp_path / "other.yml").write_text("names: [dog]\n")
        with pytest.raises(
            UsageError, match=r"mine.yaml, other.yml could all be the data set's; .* data.yaml=mine.yaml"
        ):
            opened(tmp_path)
        assert opened(tmp_path, yaml="mine.yaml").classes == ("cat",)

    def test_not_there_or_no_mapping(self, tmp_path):
        with pytest.raises(UsageError, match=r"data.yaml=x.yaml: .*x.yaml is not there"):
            opened(tmp_path, yaml="x.yaml")
        with pytest.raises(UsageError, match=r"set is not there; expected the folder of the images and labels"):
            opened(tmp_path / "set")
        (tmp_path / "data.yaml").write_text("- cat\n")
        with pytest.raises(DataError, match=r"data.yaml: it has no keys; expected names, train and val"):
            opened(tmp_path)
