"""Instance segmentation: boxes and masks of objects, and their classes."""
