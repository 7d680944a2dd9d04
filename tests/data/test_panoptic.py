"""COCO's panoptic format against what was drawn; and whatever can be wrong with its files."""

import json

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.schema import BadBoxes, PanopticConfig, Source
from dcnrun.data import IGNORE, build_box_dataset, build_dataset, build_instance_dataset
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import panoptic_segments, panoptic_tree, save_panoptic


class TestPanoptic(DatasetSuite):
    source = Source.panoptic

    @pytest.fixture
    def config(self, tmp_path):
        return PanopticConfig(root=str(panoptic_tree(tmp_path)))

    def test_a_pixel_has_the_class_of_its_segment(self, config):
        dataset = build_dataset(config, "val")
        assert dataset.classes == ("cat", "dog", "sky")
        ids, _ = panoptic_segments(7)
        cats, dogs, nothing = np.isin(ids, [3, 300]), ids == 255, ids == 0
        assert np.array_equal(dataset[0]["mask"], np.select([cats, dogs, nothing], [0, 1, IGNORE], 2))
        assert np.array_equal(dataset.mask(0), dataset[0]["mask"])
        assert [dataset.image_id(index) for index in range(3)] == [7, 3, 5]
        assert [dataset.category_id(label) for label in range(3)] == [1, 7, 200]

    @pytest.mark.parametrize("masks", [True, False])
    def test_things_are_objects(self, config, masks):
        dataset = build_box_dataset(config, "val", masks=masks)
        assert dataset.classes == ("cat", "dog")
        sample = dataset[0]
        assert sample["boxes"].tolist() == [[4, 5, 24, 15], [24, 5, 30, 15], [2, 20, 10, 28]]
        assert sample["labels"].tolist() == [0, 0, 1]
        assert sample["crowd"].tolist() == [False, False, True]
        assert sample["area"].tolist() == [200, 60, 64]
        if masks:
            ids, _ = panoptic_segments(7)
            assert np.array_equal(sample["masks"], np.stack([ids == 300, ids == 3, ids == 255]))

    def test_boxes_and_areas_of_masks_where_the_file_has_none(self, config, tmp_path):
        whole = build_instance_dataset(config, "val")[0]
        change(
            tmp_path, lambda document: [(segment.pop("bbox"), segment.pop("area")) for segment in segments(document)]
        )
        bare = build_instance_dataset(config, "val")[0]
        assert all((whole[key] == bare[key]).all() for key in ("boxes", "area", "masks"))
        config.bad_boxes = BadBoxes.error
        with pytest.raises(DataError, match=r"9 problems.*segment 300 of 'val_7.jpg': it has no bbox"):
            build_box_dataset(config, "val")

    def test_a_share_of_one_file(self, config):
        config.val_share, config.annotations, config.images = 0.4, "annotations/panoptic_train.json", "train"
        train, val = (build_dataset(config, split) for split in ("train", "val"))
        names = [{dataset.name(index) for index in range(len(dataset))} for dataset in (train, val)]
        assert names[0] | names[1] == {f"train_{number}.jpg" for number in (3, 5, 7)}
        assert not names[0] & names[1]

    def test_labels_that_are_mended_are_noticed(self, config, tmp_path):
        before = build_dataset(config, "val").label_content(0)
        assert build_dataset(config, "val").label_content(0) == before
        change(tmp_path, lambda document: segments(document)[1].update(category_id=7))
        assert build_dataset(config, "val").label_content(0) != before

    def test_ids_of_images_may_be_texts(self, config, tmp_path):
        """As in Mapillary Vistas and Cityscapes."""

        def as_texts(document):
            for entry, key in [(e, "id") for e in document["images"]] + [
                (e, "image_id") for e in document["annotations"]
            ]:
                entry[key] = f"image {entry[key]}"

        change(tmp_path, as_texts)
        assert [build_box_dataset(config, "val").image_id(index) for index in range(3)] == [1, 2, 3]

    def test_colours_count_however_a_picture_is_stored(self, config, tmp_path):
        expected = build_dataset(config, "val")[0]["mask"]
        file = tmp_path / "annotations/panoptic_val/val_7.png"
        picture = Image.open(file)
        for stored in (picture.quantize(16), picture.convert("RGBA")):
            stored.save(file)
            assert np.array_equal(build_dataset(config, "val")[0]["mask"], expected)


def segments(document):
    return [segment for annotation in document["annotations"] for segment in annotation["segments_info"]]


def change(root, how):
    file = root / "annotations/panoptic_val.json"
    document = json.loads(file.read_text())
    how(document)
    file.write_text(json.dumps(document))


def test_what_has_no_partner_is_counted(tmp_path):
    config = PanopticConfig(root=str(panoptic_tree(tmp_path)))
    change(tmp_path, lambda document: (document["images"].pop(0), document["annotations"].pop(1)))
    dataset = build_dataset(config, "val")
    assert len(dataset) == 1
    file = tmp_path / "annotations/panoptic_val.json"
    assert dataset.notes == [
        f"1 of 2 images have no segments in {file}: not read",
        f"1 of 2 annotations in {file} are of no image that it lists: not read",
    ]


class TestWrongFiles:
    @pytest.fixture
    def config(self, tmp_path):
        return PanopticConfig(root=str(panoptic_tree(tmp_path)))

    @pytest.mark.parametrize(
        ("how", "said"),
        [
            (lambda d: d["annotations"][0].pop("segments_info"), "missing required field `segments_info`"),
            (
                lambda d: segments(d)[1].update(category_id=5),
                "segment 300 of image 7 has the category_id 5, which the file",
            ),
            (lambda d: segments(d)[1].update(id=2**70), "can't be read ("),
            (lambda d: segments(d)[1].update(id=-1), "Expected `int` >= 1 - at `$.annotations[0].segments_info[1].id`"),
            (lambda d: segments(d)[1].update(id=3), "several of its segments of image 7 have the same id: 3"),
            (lambda d: d["categories"][0].update(id=1), "several of its categories have the same id: 1"),
            (lambda d: d["categories"][0].update(name="cat"), "several of its categories have the same name: 'cat'"),
            (lambda d: d["images"][0].update(id=3), "several of its images have the same id: 3"),
            (lambda d: d["annotations"][0].update(image_id=3), "several of its annotations have the same image_id: 3"),
            (lambda d: d["annotations"].clear(), "none of its 3 images has segments"),
            (lambda d: d["annotations"][0].update(file_name="../../../x.png"), "outside data.root"),
        ],
    )
    def test_the_json_file(self, config, tmp_path, how, said):
        change(tmp_path, how)
        for build in (build_dataset, build_box_dataset, build_instance_dataset):
            with pytest.raises(DataError) as error:
                build(config, "val")
            assert said in str(error.value)

    def test_no_folder_of_pictures(self, config, tmp_path):
        (tmp_path / "annotations/panoptic_val").rename(tmp_path / "elsewhere")
        with pytest.raises(UsageError, match=r"lacks .*annotations/panoptic_val; data.annotations=.* data.masks="):
            build_dataset(config, "val")

    def test_no_things(self, config, tmp_path):
        change(tmp_path, lambda document: [category.update(isthing=0) for category in document["categories"]])
        with pytest.raises(UsageError, match="none of its categories is a thing"):
            build_box_dataset(config, "val")
        assert len(build_dataset(config, "val")) == 3

    def test_a_picture_is_missing(self, config, tmp_path):
        (tmp_path / "annotations/panoptic_val/val_3.png").unlink()
        with pytest.raises(DataError, match=r"1 of 3 panoptic files are missing; expected .*val_3.png"):
            build_dataset(config, "val")
        with pytest.raises(DataError, match="no such file"):
            build_instance_dataset(config, "val")
        assert len(build_box_dataset(config, "val")) == 3

    def test_segments_that_only_one_of_both_has(self, config, tmp_path):
        ids, _ = panoptic_segments(7)
        save_panoptic(tmp_path / "annotations/panoptic_val/val_7.png", np.where(ids == 300, 99_999, ids))
        with pytest.raises(
            DataError, match=r"val_7.png: 200 pixels are of segments that the annotations don't list .* such as 99999"
        ):
            build_dataset(config, "val")[0]
        with pytest.raises(DataError, match=r"segment 300 of 'val_7.jpg': no pixel of .*val_7.png is of it"):
            build_instance_dataset(config, "val")

    def test_another_size_than_the_image(self, config, tmp_path):
        save_panoptic(tmp_path / "annotations/panoptic_val/val_7.png", panoptic_segments(7)[0][:, :20])
        with pytest.raises(DataError, match=r"the picture of segments is 20x30 but its image .* is 40x30"):
            build_dataset(config, "val")[0]

    @pytest.mark.parametrize("mode", ["I;16", "half transparent", "JPEG"])
    def test_a_picture_whose_colours_are_lost(self, config, tmp_path, mode):
        file = tmp_path / "annotations/panoptic_val/val_7.png"
        if mode == "I;16":
            Image.fromarray(panoptic_segments(7)[0].astype(np.uint16)).save(file)
        elif mode == "JPEG":
            Image.open(file).save(file, format="JPEG")
        else:
            picture = Image.open(file)
            picture.putalpha(9)
            picture.save(file)
        with pytest.raises(DataError, match=r"val_7.png: .* red \+ 256 x green"):
            build_dataset(config, "val")[0]
