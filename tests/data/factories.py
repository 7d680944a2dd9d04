"""Small data sets on disk."""

import base64
import io
import json
import zlib
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import tifffile
from PIL import Image
from torchvision.datasets import Cityscapes


def save_image(path, size=(40, 30), seed=0):
    """Noise; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def save_mask(path, values, mode="P"):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(values, np.uint8))
    if mode == "P":
        picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    picture.save(path)


def labels(size=(40, 30), values=(0, 1), seed=0):
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), (size[1], size[0]))


def folder_tree(root, splits=("train", "val"), names=("a", "b", "c"), values=(0, 1, 255)):
    for nth, split in enumerate(splits):
        for seed, name in enumerate(names):
            save_image(root / "images" / split / f"{name}.png", seed=100 * nth + seed)
            save_mask(root / "masks" / split / f"{name}.png", labels(values=values, seed=seed))
    return root


def save_object_files(folder, *objects, seed=0):
    """An image, and a mask file for each object, as the 2018 Data Science Bowl has them."""
    save_image(folder / "images" / f"{folder.name}.png", objects[0].shape[::-1], seed)
    for number, inside in enumerate(objects):
        save_mask(folder / "masks" / f"{number}.png", 255 * inside, "L")


def object_files_tree(root, splits=("train", "val")):
    """Two images a split, of two objects that overlap and of one."""
    for nth, split in enumerate(splits):
        objects = np.zeros((3, 30, 40), np.bool_)
        objects[0, 3:13, 2:12] = objects[1, 8:14, 8:20] = objects[2, 20:25, 30:40] = True
        save_object_files(root / split / f"{Path(split).name}_0", *objects[:2], seed=10 * nth)
        save_object_files(root / split / f"{Path(split).name}_1", objects[2], seed=10 * nth + 1)
    return root


def deep_tree(root, bands=5, dtype=np.uint16):
    """TIFF files of many bands, with masks; returns their pixels (H, W, bands) by split and name."""
    random = np.random.default_rng(0)
    stored = {}
    for split in ("train", "val"):
        for name in "abc":
            (root / "images" / split).mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 3000, (30, 40, bands)).astype(dtype)
            stored[split, name] = pixels
            tifffile.imwrite(
                root / "images" / split / f"{name}.tif", pixels, photometric="minisblack", planarconfig="contig"
            )
            save_mask(root / "masks" / split / f"{name}.png", labels())
    return stored


def voc_tree(root):
    base = root / "VOCdevkit" / "VOC2012"
    sets = {"train": ["2007_000032", "2007_000039"], "val": ["2007_000033", "2007_000042", "2007_000061"]}
    (base / "ImageSets" / "Segmentation").mkdir(parents=True)
    for image_set, names in sets.items():
        (base / "ImageSets" / "Segmentation" / f"{image_set}.txt").write_text("\n".join(names) + "\n")
        for seed, name in enumerate(names):
            save_image(base / "JPEGImages" / f"{name}.jpg", seed=100 * len(names) + seed)
            save_mask(base / "SegmentationClass" / f"{name}.png", labels(values=[*range(21), 255], seed=seed))
    return root


def cityscapes_tree(root):
    for split, city in (("train", "aachen"), ("train", "bochum"), ("val", "munster")):
        for frame in (19, 20):
            stem = f"{city}_000000_{frame:06d}"
            save_image(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", seed=frame + 100 * len(split))
            ids = labels(values=[entry.id for entry in Cityscapes.classes if entry.id >= 0], seed=frame)
            save_mask(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", ids, mode="L")
    return root


def voc_object(name, corners, extra=""):
    """`corners` as the file has them: xmin, ymin, xmax, ymax, counted from 1, inclusive."""
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return f"<object><name>{escape(name)}</name>{extra}<bndbox>{box}</bndbox></object>"


def save_voc_image(folder, name, *objects, size=(40, 30), declared="same", seed=0):
    """`size` is (width, height); `declared` what the annotation says of it."""
    save_image(folder / "JPEGImages" / f"{name}.jpg", size, seed)
    width, height = size if declared == "same" else declared or (0, 0)
    header = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    content = f"<annotation><filename>ignored.jpg</filename>{header}{''.join(objects)}</annotation>"
    (folder / "Annotations" / f"{name}.xml").write_text(content, encoding="utf-8")


def save_image_set(folder, name, *images):
    (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{image}\n" for image in images))


def voc_boxes_tree(root):
    """VOC2007 with trainval and test, VOC2012 with trainval: below VOCdevkit."""
    for year, sets in {"2007": {"trainval": 2, "test": 3}, "2012": {"trainval": 2}}.items():
        folder = root / "VOCdevkit" / f"VOC{year}"
        for image_set, count in sets.items():
            names = [f"{year}_{image_set}_{number}" for number in range(count)]
            save_image_set(folder, image_set, *names)
            for number, name in enumerate(names):
                objects = [voc_object("cat", (3, 4, 20, 25)), voc_object("dog", (1, 1, 40, 30))]
                save_voc_image(folder, name, *objects, size=(40 + number, 30), seed=number + 100 * count + int(year))
    return root


def coco_tree(root, splits=("train", "val")):
    """Polygons, both kinds of run lengths and a crowd; an image without objects; ids out of order."""
    for nth, split in enumerate(splits):
        images = [
            {"id": number, "file_name": f"{split}_{number}.png", "width": 40 + number, "height": 30}
            for number in (7, 3, 5)
        ]
        for image in images:
            save_image(root / split / image["file_name"], (image["width"], image["height"]), image["id"] + 100 * nth)
        stripe = [[5.0, 4.0, 25.0, 4.0, 25.0, 14.0, 5.0, 14.0]]
        counts = [0, 30 * 10, 30 * 33]  # columns 0 to 9 of image 3
        annotations = [
            annotation(1, 7, 90, [5, 4, 20, 10], segmentation=stripe),
            annotation(2, 3, 20, [0, 0, 10, 30], segmentation={"size": [30, 43], "counts": counts}, iscrowd=1),
            annotation(3, 3, 90, [2, 3, 4, 5], segmentation=[[2, 3, 6, 3, 6, 8, 2, 8]]),
        ]
        categories = [{"id": 90, "name": "zebra"}, {"id": 20, "name": "apple"}]
        save_json(root, split, {"images": images, "annotations": annotations, "categories": categories})
    return root


def annotation(number, image, category, box, **more):
    area = float(np.prod(box[2:]))
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": 0} | more


def save_json(root, split, document):
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))


def load_json(root, split):
    return json.loads((root / "annotations" / f"instances_{split}.json").read_text())


def panoptic_tree(root, splits=("train", "val")):
    """Stuff, two things of a class that touch, a crowd, and pixels of nothing, as one file of segments and a picture of each image's."""
    categories = [
        {"id": 200, "name": "sky", "isthing": 0, "supercategory": "sky"},
        {"id": 1, "name": "cat", "isthing": 1, "supercategory": "animal"},
        {"id": 7, "name": "dog", "isthing": 1, "supercategory": "animal"},
    ]
    for nth, split in enumerate(splits):
        images, annotations = [], []
        for number in (7, 3, 5):
            name = f"{split}_{number}"
            save_image(root / split / f"{name}.jpg", (40, 30), number + 100 * nth)
            ids, boxes = panoptic_segments(number)
            save_panoptic(root / f"annotations/panoptic_{split}/{name}.png", ids)
            segments = [
                {"id": each, "category_id": category, "bbox": box, "area": int((ids == each).sum()), "iscrowd": crowd}
                for (each, category, crowd), box in boxes.items()
            ]
            images.append({"id": number, "file_name": f"{name}.jpg", "width": 40, "height": 30})
            annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
        document = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"annotations/panoptic_{split}.json").write_text(json.dumps(document))
    return root


def panoptic_segments(number):
    """The segments' numbers (30, 40), from 1 byte to 3; and for each its number, category and whether it is a crowd, with its box."""
    ids = np.full((30, 40), 70_000 + number, np.int64)
    ids[5:15, 4:24], ids[5:15, 24:30], ids[20:28, 2:10], ids[28:, :] = 300, 3, 255, 0
    boxes = {
        (70_000 + number, 200, 0): [0, 0, 40, 28],
        (300, 1, 0): [4, 5, 20, 10],
        (3, 1, 0): [24, 5, 6, 10],
        (255, 7, 1): [2, 20, 8, 8],
    }
    return ids, boxes


def save_panoptic(file, ids):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)).save(file)


def supervisely_tree(root, splits=("train", "val")):
    """A polygon with a hole, a bitmap, a rectangle and a point; an image without objects, and one without a file."""
    for nth, split in enumerate(splits):
        for number, name in enumerate(("a", "b", "c", "bare")):
            save_image(root / split / "img" / f"{name}.jpg", seed=10 * nth + number)
        figures = {
            "a": [
                figure(
                    "cat",
                    "polygon",
                    [[4, 5], [14, 5], [14, 12], [4, 12]],
                    interior=[[[7, 7], [11, 7], [11, 10], [7, 10]]],
                ),
                figure("dog", "rectangle", [[30, 12], [20, 3]]),
                figure("cat", "point", [[1, 1]]),
            ],
            "b": [bitmap("dog", BITMAP, (35, 26))],
            "c": [],
        }
        for name, drawn in figures.items():
            save_supervisely(root / split / "ann" / f"{name}.jpg.json", drawn)
    classes = [
        {"title": "dog", "shape": "any", "color": "#ff0000"},
        {"title": "cat", "shape": "polygon", "color": "#00ff00"},
    ]
    (root / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    return root


BITMAP = np.array([[0, 1, 1], [1, 1, 0]], bool)


def figure(title, kind, exterior, **more):
    return {
        "classTitle": title,
        "geometryType": kind,
        "points": {"exterior": exterior, "interior": [], **more},
        "tags": [],
    }


def bitmap(title, inside, origin):
    """As Supervisely packs it: by the alpha of a PNG."""
    content = io.BytesIO()
    Image.fromarray(np.stack([255 * inside.astype(np.uint8)] * 4, -1), "RGBA").save(content, "PNG")
    data = base64.b64encode(zlib.compress(content.getvalue())).decode()
    return {"classTitle": title, "geometryType": "bitmap", "bitmap": {"data": data, "origin": list(origin)}, "tags": []}


def save_supervisely(file, figures, size=(40, 30)):
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"description": "", "tags": [], "size": {"height": size[1], "width": size[0]}, "objects": figures}
    file.write_text(json.dumps(document))


def save_yolo(root, image, *lines, size=(40, 30), seed=0):
    """An image and the file of its objects, in `labels` where it is in `images`; no file without lines at all."""
    save_image(root / image, size, seed)
    if lines:
        file = (root / image.replace("images", "labels")).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines))


def yolo_tree(root):
    """Polygons that fill their boxes; an empty file, and an image without one."""
    upper, right = "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5", "1 0.75 0.2 1 0.2 1 0.6 0.75 0.6"
    for nth, split in enumerate(("train", "val")):
        save_yolo(root, f"images/{split}/a.png", upper, right, seed=10 * nth)
        save_yolo(root, f"images/{split}/b.png", right, size=(60, 50), seed=10 * nth + 1)
        save_yolo(root, f"images/{split}/c.png", "", seed=10 * nth + 2)
        save_yolo(root, f"images/{split}/d.png", seed=10 * nth + 3)
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n")
    return root


def drawn(label, points, kind="polygon", **more):
    """A shape of labelme."""
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def drawn_mask(label, pixels, x, y, **more):
    """A shape of pixels, whose corners are pixels in it."""
    stored = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(stored, "PNG")
    height, width = np.shape(pixels)
    text = base64.b64encode(stored.getvalue()).decode()
    return drawn(label, [[x, y], [x + width - 1, y + height - 1]], "mask", mask=text, **more)


def save_labelme(root, file, *shapes, image=True, size=(40, 30), seed=0, **more):
    """A .json file and the image beside it."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if image:
        save_image(path.with_suffix(".png"), size, seed)
    document = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": path.with_suffix(".png").name}
    document |= {"imageData": None, "imageHeight": size[1], "imageWidth": size[0]}
    path.write_text(json.dumps(document | more))


def labelme_tree(root):
    """Objects that fill their boxes, one of two parts; a file without shapes, and an image without a file."""
    parts = [
        drawn("dog", [[20, 2], [26, 8]], "rectangle", group_id=1),
        drawn("dog", [[30, 2], [34, 9]], "rectangle", group_id=1),
    ]
    for nth, split in enumerate(("train", "val")):
        polygon = drawn("cat", [[4, 3], [20, 3], [20, 15], [4, 15]])
        save_labelme(root, f"{split}/a.json", polygon, *parts, seed=10 * nth)
        mask = drawn_mask("cat", np.ones((5, 7)), 10, 11)
        save_labelme(root, f"{split}/b.json", mask, drawn("eye", [[3, 3]], "point"), size=(60, 50), seed=10 * nth + 1)
        save_labelme(root, f"{split}/c.json", seed=10 * nth + 2)
        save_image(root / split / "d.png", seed=10 * nth + 3)
    return root


def counts_of(mask):
    """Run lengths down the columns, zeros first, worked out by hand."""
    counts, value = [0], 0
    for pixel in mask.ravel(order="F").tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts
