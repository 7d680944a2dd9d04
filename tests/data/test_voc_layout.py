"""Which annotation and image files belong to the entries of data.train: image sets, folders and lists, as tools write them."""

import os
from pathlib import Path

import pytest

from dcnrun.config.schema import VocConfig
from dcnrun.data import build_box_dataset
from dcnrun.data.voc_layout import VocLayout
from dcnrun.errors import DataError, UsageError
from tests.data.factories import save_image_set, save_voc_image, voc_object


def touch(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def found(root, *entries, **settings):
    """Return name -> (annotation, image), both below the root, and the notes."""
    items, notes = VocLayout(VocConfig(root=str(root), **settings)).items(entries)
    paths = [(str(item.annotation.relative_to(root)), str(item.image.relative_to(root))) for item in items]
    assert len({item.name for item in items}) == len(items)
    return dict(zip([item.name for item in items], paths, strict=True)), notes


class TestFolders:
    @pytest.mark.parametrize(
        ("train", "val", "annotation", "image"),
        [
            ("train", "valid", "{}/{}.xml", "{}/{}.jpg"),
            ("train", "test", "{}/annotations/{}.xml", "{}/images/{}.PNG"),
            ("train", "val", "annotations/{}/{}.xml", "images/{}/{}.jpeg"),
            ("images/train", "images/val", "Annotations/{}/{}.xml", "images/{}/{}.webp"),
            ("images/train", "images/val", "annotations/{1}.xml", "images/{0}/{1}.jpg"),
            ("data/train", "data/val", "data/{}/xmls/{}.XML", "data/{}/{}.bmp"),
            ("./train", "val", "{}/{}.xml", "{}/{}.TIF"),
        ],
    )
    def test_of_each_split(self, tmp_path, train, val, annotation, image):
        expected = {}
        for entry, stems in ((train, ("a", "b.v1")), (val, ("c",))):
            split = entry.strip("/").rpartition("/")[2]
            expected[entry] = {stem: (annotation.format(split, stem), image.format(split, stem)) for stem in stems}
            for files in expected[entry].values():
                touch(tmp_path, *files)
        assert {entry: found(tmp_path, entry)[0] for entry in expected} == expected

    @pytest.mark.parametrize(
        ("annotation", "image"),
        [
            ("a.xml", "a.jpg"),
            ("annotations/a.xml", "images/a.png"),
            ("Annotations/a.xml", "JPEGImages/a.jpg"),
            ("labels/a.xml", "a.tiff"),
            ("set/xml/a.xml", "set/img/a.jpg"),
        ],
    )
    def test_one_for_all(self, tmp_path, annotation, image):
        touch(tmp_path, annotation, image)
        assert found(tmp_path, ".") == ({"a": (annotation, image)}, [])

    def test_folders_of_folders_keep_names_apart(self, tmp_path):
        touch(tmp_path, "train/cats/1.xml", "train/cats/1.jpg", "train/dogs/1.xml", "train/dogs/1.jpg")
        touch(tmp_path, "val/cats/1.xml", "val/cats/1.jpg", ".cache/1.xml", "train/cats/._1.xml")
        items, _ = found(tmp_path, "train")
        assert items == {f"{kind}/1": (f"train/{kind}/1.xml", f"train/{kind}/1.jpg") for kind in ("cats", "dogs")}
        assert found(tmp_path, "train/cats", "val")[0] == {
            f"{split}/cats/1": (f"{split}/cats/1.xml", f"{split}/cats/1.jpg") for split in ("train", "val")
        }

    def test_an_image_of_the_same_name_elsewhere_is_another(self, tmp_path):
        touch(tmp_path, "train/1.xml", "val/1.xml", "val/1.jpg")
        assert found(tmp_path, "train")[0] == {"1": ("train/1.xml", "train/1.jpg")}

    def test_the_only_image_of_that_name(self, tmp_path):
        touch(tmp_path, "marks/1.xml", "pictures/2020/1.jpg", "marks/2.xml", "pictures/2020/2.jpg", "pictures/2.jpg")
        items, notes = found(tmp_path, "marks")
        assert items == {"1": ("marks/1.xml", "pictures/2020/1.jpg"), "2": ("marks/2.xml", "marks/2.jpg")}
        assert notes == [
            "1 of 2 images have no .xml file and are left out",
            "1 of 2 images were found by their names alone, in other folders than their .xml files",
        ]

    def test_images_without_annotations_are_counted(self, tmp_path):
        touch(tmp_path, "train/a.xml", "train/a.jpg", "train/b.jpg", "train/c.png", "val/d.jpg", "train/notes.txt")
        (tmp_path / "train/._hidden.jpg").touch()  # as macOS leaves them
        assert found(tmp_path, "train")[1] == ["2 of 3 images have no .xml file and are left out"]

    def test_several_images_of_a_name(self, tmp_path):
        touch(tmp_path, "train/a.xml", "train/a.png", "train/a.jpg", "train/a.jpeg")
        assert found(tmp_path, "train")[0] == {"a": ("train/a.xml", "train/a.jpg")}

    def test_links_in_circles(self, tmp_path):
        touch(tmp_path / "data", "train/a.xml", "train/a.jpg")
        (tmp_path / "data/train/again").symlink_to(tmp_path / "data")
        (tmp_path / "set").mkdir()
        (tmp_path / "set/train").symlink_to(tmp_path / "data/train")
        assert list(found(tmp_path / "data", "train")[0]) == ["a"]
        assert list(found(tmp_path / "set", "train")[0]) == ["a"]
        (tmp_path / "data/train/itself.jpg").symlink_to("itself.jpg")  # which the system refuses to follow
        assert found(tmp_path / "data", "train")[0] == {"a": ("train/a.xml", "train/a.jpg")}

    @pytest.mark.timeout(20)
    def test_pipes_are_not_waited_for(self, tmp_path):
        (tmp_path / "train").mkdir()
        for name in ("a.xml", "a.jpg"):
            os.mkfifo(tmp_path / "train" / name)
        with pytest.raises(DataError, match=r"a.xml: can't be read \(it is no file"):
            build_box_dataset(VocConfig(root=str(tmp_path), val=["train"]), "val")

    def test_one_that_is_not_there(self, tmp_path):
        touch(tmp_path, "train/a.xml", "train/a.jpg")
        with pytest.raises(UsageError, match=r"data.root=.*: val is not there, looked for .xml files in .*/val or "):
            found(tmp_path, "val")
        for outside in ("..", "../other", "/", str(tmp_path)):
            with pytest.raises(UsageError, match=r"is not there"):
                found(tmp_path / "train", outside)


class TestLists:
    @pytest.mark.parametrize(
        "line",
        [
            "a", "a.jpg", "a.xml", "a 1", "a -1", "a  0", "a.jpg\t1", "JPEGImages/a.jpg", "./JPEGImages/a.jpg ./Annotations/a.xml",
            "data\\JPEGImages\\a.jpg", "/srv/VOC/JPEGImages/a.jpg", "\ufeffa",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("end", ["\n", "\r\n", ""])
    def test_lines_of_an_image_set(self, tmp_path, line, end):
        folder = tmp_path / "VOC2007"
        touch(folder, "Annotations/a.xml", "JPEGImages/a.jpg")
        (folder / "ImageSets/Main").mkdir(parents=True)
        (folder / "ImageSets/Main/train.txt").write_bytes((line + end).encode())
        expected = {"a": ("VOC2007/Annotations/a.xml", "VOC2007/JPEGImages/a.jpg")}
        assert found(tmp_path, "VOC2007/train")[0] == expected
        assert list(found(folder, "train")[0]) == ["a"]

    def test_a_root_that_is_the_folder_one_is_in(self, tmp_path, monkeypatch):
        touch(tmp_path / "VOC2007", "Annotations/a.xml", "JPEGImages/a.jpg")
        save_image_set(tmp_path / "VOC2007", "train", "a")
        monkeypatch.chdir(tmp_path / "VOC2007")
        for entry in ("VOC2007/train", "train", "."):
            assert list(VocLayout(VocConfig(root=".")).items([entry])[0][0]) == [
                "a",
                *map(Path, ("Annotations/a.xml", "JPEGImages/a.jpg")),
            ]

    def test_what_of_a_line_is_not_read_is_said(self, tmp_path):
        touch(tmp_path, *(f"Annotations/{name}.xml" for name in "abc"))
        save_image_set(tmp_path, "cat_train", "a  1", "b -1", "/srv/c.jpg")
        _, notes = found(tmp_path, "cat_train")
        assert notes == [
            "2 of 3 lines of cat_train.txt have a second column, which is not read: all images that it lists count",
            "1 of 3 lines of cat_train.txt name images in other folders: found by their names alone",
        ]

    def test_names_with_spaces_and_endings_of_their_own(self, tmp_path):
        touch(tmp_path, "Annotations/a 1.xml", "Annotations/b.jpg.xml", "Annotations/sub/c.d.xml")
        touch(tmp_path, "JPEGImages/a 1.JPG", "JPEGImages/b.jpg.png", "JPEGImages/sub/c.d.png")
        save_image_set(tmp_path, "all", "a 1", "b.jpg", "sub/c.d")
        items, notes = found(tmp_path, "all")
        assert {name: image for name, (_, image) in items.items()} == {
            "a 1": "JPEGImages/a 1.JPG",
            "b.jpg": "JPEGImages/b.jpg.png",
            "sub/c.d": "JPEGImages/sub/c.d.png",
        }
        assert notes == []

    def test_below_the_root(self, tmp_path):
        touch(tmp_path, "annotations/a.xml", "images/a.jpg", "annotations/b.xml", "images/b.png", "annotations/c.xml")
        (tmp_path / "train.txt").write_text("images/b.png\na\n")
        (tmp_path / "val.txt").write_text("d\n")
        items, _ = found(tmp_path, "train.txt")
        assert items == {"b": ("annotations/b.xml", "images/b.png"), "a": ("annotations/a.xml", "images/a.jpg")}
        with pytest.raises(DataError, match=r"val.txt: 1 names have no .xml file below .*: d; expected"):
            found(tmp_path, "val.txt")

    def test_a_name_that_is_several(self, tmp_path):
        touch(tmp_path, "x/a.xml", "x/a.jpg", "y/a.xml", "y/a.jpg")
        (tmp_path / "train.txt").write_text("a\n")
        with pytest.raises(DataError, match=r"train.txt: 1 names are of several .xml files: a; add the folder"):
            found(tmp_path, "train.txt")
        (tmp_path / "train.txt").write_text("y/a.jpg\nx/a\n")
        assert list(found(tmp_path, "train.txt")[0]) == ["y/a", "x/a"]


def test_annotations_that_name_another_image(tmp_path):
    """Their own name counts; what <filename> has is only said."""
    for name in ("a", "b", "c"):
        save_voc_image(tmp_path, name, voc_object("cat", (1, 1, 9, 9)))
    for name, called in (("a", "a"), ("b", "C:\\pictures\\b.png"), ("c", "a.jpg")):
        file = tmp_path / f"Annotations/{name}.xml"
        file.write_text(file.read_text().replace("ignored.jpg", called))
    dataset = build_box_dataset(VocConfig(root=str(tmp_path), train=["."]), "train")
    assert (
        [dataset.file(index).stem for index in range(3)]
        == [dataset.name(index) for index in range(3)]
        == ["a", "b", "c"]
    )
    said = "1 of 3 annotations have another <filename> than their own name, which counts: 'a.jpg' in c.xml"
    assert said in dataset.notes
