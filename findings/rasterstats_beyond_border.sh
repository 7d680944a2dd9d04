#!/usr/bin/env bash
# rasterstats 0.21.0: where a polygon reaches beyond a raster without a nodata value, zonal_stats counts what lies outside as pixels of value 0.
#
# Guess: a polygon has the pixels of the raster that it covers: 6 of class 3 where half of it lies outside, so that their mean, least and most frequent value are 3.
# Seen: of 6 pixels inside and 6 outside, 12 are counted, and half of them are of class 0. A warning says that nodata is set to -999, not that zeros are added. Masks of classes
# have no nodata value as a rule, and 0 is a class of theirs: buildings at the rim of a tile are background by this. It is so whatever nodata= is given.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rasterstats==0.21.0 rasterio==1.4.4 shapely==2.2.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterstats import zonal_stats
from shapely.geometry import box

tile = {"driver": "GTiff", "height": 10, "width": 10, "count": 1, "dtype": "uint8", "transform": from_origin(0, 10, 1, 1)}
with rasterio.open("classes.tif", "w", **tile) as file:
    file.write(np.full((10, 10), 3, np.uint8), 1)
for name, polygon, options in (
    ("inside", box(4, 2, 7, 4), {}),
    ("half of it outside", box(7, 2, 13, 4), {}),
    ("with nodata=-1", box(7, 2, 13, 4), {"nodata": -1}),
):
    print(name, *zonal_stats([polygon], "classes.tif", stats="count mean", **options), *zonal_stats([polygon], "classes.tif", categorical=True, stats="count", **options))
PY
)
echo "$seen"
[ "$seen" = "inside {'mean': 3.0, 'count': 6} {3: 6, 'count': 6}
half of it outside {'mean': 1.5, 'count': 12} {0: 6, 3: 6, 'count': 12}
with nodata=-1 {'mean': 1.5, 'count': 12} {0: 6, 3: 6, 'count': 12}" ]
