"""Small data sets on disk."""

import numpy as np
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
    for split in splits:
        for seed, name in enumerate(names):
            save_image(root / "images" / split / f"{name}.png", seed=seed)
            save_mask(root / "masks" / split / f"{name}.png", labels(values=values, seed=seed))
    return root


def voc_tree(root):
    base = root / "VOCdevkit" / "VOC2012"
    sets = {"train": ["2007_000032", "2007_000039"], "val": ["2007_000033", "2007_000042", "2007_000061"]}
    (base / "ImageSets" / "Segmentation").mkdir(parents=True)
    for image_set, names in sets.items():
        (base / "ImageSets" / "Segmentation" / f"{image_set}.txt").write_text("\n".join(names) + "\n")
        for seed, name in enumerate(names):
            save_image(base / "JPEGImages" / f"{name}.jpg", seed=seed)
            save_mask(base / "SegmentationClass" / f"{name}.png", labels(values=[*range(21), 255], seed=seed))
    return root


def cityscapes_tree(root):
    for split, city in (("train", "aachen"), ("train", "bochum"), ("val", "munster")):
        for frame in (19, 20):
            stem = f"{city}_000000_{frame:06d}"
            save_image(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", seed=frame)
            ids = labels(values=[entry.id for entry in Cityscapes.classes if entry.id >= 0], seed=frame)
            save_mask(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", ids, mode="L")
    return root
