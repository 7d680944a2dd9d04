#!/usr/bin/env bash
# torchgeo 0.8.1: of a raster that is a whole number of chips GridGeoSampler also gives a row, a column or both of empty chips beyond it.
#
# Guess: a raster of 256 x 256 pixels has 16 chips of 64 x 64, with each pixel in one of them.
# Seen: so it is where pixels are 10 m wide. With 0.0001 degrees or 0.3 m the quotient by which chips are counted is a little above a whole number, which is rounded up: 4 or 9 further chips of zeros that lie wholly outside. In masks
# zero is a class, so that they count in a test's scores and losses. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchgeo==0.8.1 numpy==2.4.6 rasterio==1.4.4 requests==2.34.2
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from torchgeo.datasets import RasterDataset
from torchgeo.samplers import GridGeoSampler

pixels = 1 + np.arange(256 * 256, dtype=np.int32).reshape(1, 256, 256)
form = {"driver": "GTiff", "height": 256, "width": 256, "count": 1, "dtype": "int32"}
for unit, crs, corner, size in (
    ("metres", "EPSG:32632", (500000, 5000000), 10),
    ("degrees", "EPSG:4326", (8.5, 47.3), 0.0001),
    ("degrees", "EPSG:4326", (10, 50), 0.00025),
    ("metres", "EPSG:3857", (945000, 5990000), 0.3),
):
    with rasterio.open("raster.tif", "w", crs=crs, transform=from_origin(*corner, size, size), **form) as file:
        file.write(pixels)
    raster = RasterDataset("raster.tif")
    chips = [raster[query]["image"] for query in GridGeoSampler(raster, size=64)]
    empty = sum(not chip.any() for chip in chips)
    covered = torch.cat(chips).unique().count_nonzero()
    print(f"{size} {unit}: {len(chips)} chips, {empty} of them empty, {covered} of {pixels.size} pixels")
PY
)
echo "$seen"
[ "$seen" = "10 metres: 16 chips, 0 of them empty, 65536 of 65536 pixels
0.0001 degrees: 20 chips, 4 of them empty, 65536 of 65536 pixels
0.00025 degrees: 25 chips, 9 of them empty, 65536 of 65536 pixels
0.3 metres: 20 chips, 4 of them empty, 65536 of 65536 pixels" ]
