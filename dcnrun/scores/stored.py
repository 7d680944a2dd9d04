"""Results per image as they are kept in run folders."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dcnrun.scores.detection import MatchesPerImage
from dcnrun.scores.per_image import PerImage
from dcnrun.scores.segmentation import ConfusionPerImage

_KINDS = {kind.kind: kind for kind in (ConfusionPerImage, MatchesPerImage)}


def load_per_image(path: Path) -> PerImage | None:
    """What `PerImage.save` wrote; None where the file is missing, damaged or of something else.

    Files of runs from before there were several kinds, which hold confusion matrices, are read too.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            content: dict[str, Any] = dict(file)
        names = [str(name) for name in content.pop("names")]
        classes = [str(name) for name in content.pop("classes")]
        kind = str(content.pop("kind", ConfusionPerImage.kind))
        if not len(set(names)) == len(names) > 0:
            return None
        return _KINDS[kind](names=names, classes=classes, **content)
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile):
        return None
