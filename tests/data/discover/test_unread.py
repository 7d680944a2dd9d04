"""What can't be read is named, and what to do with it."""

import json

import pytest

from dcnrun.data.discover.folder import discover
from dcnrun.errors import UsageError
from tests.data.factories import save_image


@pytest.mark.parametrize(
    ("file", "content", "tool"),
    [
        (
            "annotations.xml",
            '<annotations><version>1.1</version><image id="0" name="a.png"/></annotations>',
            "CVAT's own XML",
        ),
        (
            "a.xml",
            "<annotation><object><name>cat</name><polygon><pt><x>1</x></pt></polygon></object></annotation>",
            "LabelMe of MIT",
        ),
        ("via.json", '{"_via_settings": {}, "_via_img_metadata": {}}', "VGG Image Annotator"),
        ("tasks.json", '[{"id": 1, "annotations": [{"result": [{"from_name": "label"}]}]}]', "Label Studio's own JSON"),
        (
            "sa_1.json",
            '{"image": {}, "annotations": [{"bbox": [0, 0, 1, 1], "predicted_iou": 0.9}]}',
            "Segment Anything",
        ),
        (
            "det_train.json",
            '[{"name": "a.png", "labels": [{"category": "car", "box2d": {"x1": 1}}]}]',
            "BDD100K's JSON",
        ),
        (
            "boxes.csv",
            "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\na,xclick,/m/0,1,0,1,0,1\n",
            "Open Images",
        ),
        (
            "_annotations.csv",
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,9,9,cat,1,1,3,3\n",
            "a table of boxes",
        ),
        (
            "label_2/a.txt",
            "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10\n"
            "Car 0.88 3 -0.69 0.00 192.37 402.31 374.00 1.60 1.57 3.23 -2.70 1.74 3.68 -1.29\n",
            "a label file of KITTI",
        ),
        (
            "annos/a.json",
            '{"item1": {"category_name": "skirt", "bounding_box": [3, 4, 15, 14]}}',
            "DeepFashion2's JSON",
        ),
        (
            "annotations/a.json",
            '{"width": 9, "height": 9, "ispano": false, "objects": []}',
            "Mapillary's traffic signs",
        ),
        ("train.odgt", '{"ID": "a", "gtboxes": [{"tag": "person", "fbox": [1, 1, 5, 5]}]}\n', "CrowdHuman's list"),
        ("a.xml", "<HRSC_Image><Img_ID>1</Img_ID></HRSC_Image>", "HRSC2016's XML"),
        ("a.xml", '<sequence><frame num="1"><target_list></target_list></frame></sequence>', "UA-DETRAC's XML"),
        ("train.csv", "image_name,BoxesString,domain\na.png,3 4 15 14;5 6 20 20,x\n", "the table of Global Wheat"),
        ("train.csv", "a.jpg,3,4,15,14,object,40,30\n", "a table of SKU-110K"),
        ("gt/gt.txt", "1,1,912,484,97,109,0,7,1\n2,1,912,484,97,109,0,7,0.8\n", "a table of the MOT Challenge"),
        ("ground truth/a.txt", "(563,478),(630,573),1 \n(3, 4),(15, 14),2\n\n", "a label file of NWPU VHR-10"),
        ("a.png.txt", "% bbGt version=3\nBicycle 204 28 271 193 0 0 0 0 0 0 0\n", "a label file of Piotr's toolbox"),
        ("annotations/a.txt", "684,8,273,116,0,0,0,0\n406,119,265,70,1,4,0,1,\n", "a label file of VisDrone"),
        ("bbx_gt.txt", "0--Parade/0_Parade_0.jpg\n1\n449 330 122 149 0 0 0 0 0 0\n", "a list of WIDER FACE"),
        ("gt.txt", "00000.ppm;774;411;815;446;11\n", "a table of the German traffic sign benchmark"),
        (
            "labelTxt/a.txt",
            "imagesource:GoogleEarth\ngsd:0.146343590398\n2753.0 2408.0 2861.0 2385.0 2888.0 2468.0 2805.0 2502.0 plane 0\n",
            "a label file of DOTA",
        ),
    ],
)
def test_formats_that_tools_keep_for_themselves(tmp_path, file, content, tool):
    save_image(tmp_path / "a.png")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    with pytest.raises(UsageError, match=rf"{file} is .*{tool}.*, which is not read; export it as COCO"):
        discover(tmp_path)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("train-00000-of-00001.parquet", "a table of Hugging Face's datasets, which is not read; save its images"),
        ("data/train.tfrecord", "a file of TensorFlow's records, which is not read; export it"),
        ("imagesTr/a_0000.nii.gz", "a file of arrays, which is not read; save its slices"),
        ("images.tar.gz", "an archive, which is not read; unpack it"),
    ],
)
def test_files_that_are_no_images(tmp_path, file, said):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(UsageError, match=f"{file} is {said}"):
        discover(tmp_path)
    save_image(tmp_path / "b.png")  # what else is there may be anything
    with pytest.raises(UsageError, match="no data set was recognised"):
        discover(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "b.png", "objects": {"bbox": []}}\n')
    with pytest.raises(UsageError, match=r"metadata\.jsonl is a table of Hugging Face's datasets"):
        discover(tmp_path)


@pytest.mark.parametrize(
    ("rotation", "advice"), [(0.0, "COCO, YOLO or Pascal VOC"), (359.5, "YOLOv8 OBB"), (-0.25, "YOLOv8 OBB")]
)
def test_turned_rectangles_of_label_studio_are_exported_with_their_corners(tmp_path, rotation, advice):
    value = {"x": 50, "y": 20, "width": 20, "height": 20, "rotation": rotation, "rectanglelabels": ["car"]}
    result = {"original_width": 200, "original_height": 100, "image_rotation": 90, "value": value, "from_name": "label"}
    (tmp_path / "tasks.json").write_text(json.dumps([{"id": 1, "annotations": [{"id": 1, "result": [result]}]}]))
    with pytest.raises(
        UsageError, match=f"tasks.json is Label Studio's own JSON.*, which is not read; export it as {advice}"
    ):
        discover(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("train.csv", 'image_id,width,height,bbox\nframe_07,40,30,"[3.0, 4.0, 15.0, 14.0]"\n'),
        ("project.csv", 'annotation_id,image,label\n1,/data/upload/1/0a1b2c3d-frame_07.png,"[]"\n'),
        ("via_project.json", '{"file": {"1": {"fname": "frame_07.png"}}, "metadata": {}}'),
        ("export.ndjson", '{"data_row": {"external_id": "frame_07.png"}}\n'),
        ("labels/frame_07.png.txt", "1\n1 3 4 15 14\n"),
        ("gt_frame_07.txt", '3, 4, 15, 14, "text"\n'),
        ("geojson/frame_07.geojson", "{}"),
    ],
)
def test_files_that_nobody_knows_but_that_are_about_images(tmp_path, file, content):
    save_image(tmp_path / "images/frame_07.png")
    (tmp_path / "list.txt").write_text("frame_07.png\n")
    (tmp_path / "README.json").write_text('{"frames": "frame_0712"}')
    with pytest.raises(UsageError, match="no data set was recognised"):
        discover(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    with pytest.raises(UsageError, match=f"{file} names images, in a format that is not read; .* write COCO's JSON"):
        discover(tmp_path)


def test_a_project_of_supervisely_without_its_classes(tmp_path):
    save_image(tmp_path / "img/a.png")
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann/a.png.json").write_text('{"size": {}, "objects": [{"classTitle": "cat"}]}')
    with pytest.raises(
        UsageError, match=r"an annotation of Supervisely, which is not read; a project is read where meta.json"
    ):
        discover(tmp_path)
