"""Draws pictures/detections.png: what a trained quickstart_ssd finds on the first six pictures that it is tested on.

python docs/draw_detections.py runs/quickstart_ssd/ssd_iter_400.caffemodel
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import sdcaffe
from sdcaffe import proto
from sdcaffe.forks.ssd import detect
from sdcaffe.forks.ssd.shapes import Shapes

NET = Path(__file__).parents[1] / "prototxt" / "quickstart_ssd" / "deploy.prototxt"
PICTURE = Path(__file__).with_name("pictures") / "detections.png"
NAMES = 'item { name: "disc" label: 1 } item { name: "square" label: 2 } item { name: "triangle" label: 3 }'


def main(weights: str) -> None:
    sdcaffe.discover()
    source = Shapes("test", proto.DataParameter(source="shapes:test"), "native")
    net = sdcaffe.Net(str(NET), sdcaffe.TEST, weights)
    mean, scale = np.float32(127.5).reshape(1, 1, 1), np.float32(1 / 64).reshape(1, 1, 1)
    tiles = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "map").write_text(NAMES)
        detector = detect.Detector(
            detect.model_of(net, mean, scale), proto.TransformationParameter().resize_param, f"{folder}/map"
        )
        for i in range(6):
            pixels = source.read(i)[0]
            Image.fromarray(np.ascontiguousarray(pixels[::-1].transpose(1, 2, 0))).save(f"{folder}/{i}.png")
            drawn = detect.drawn(*detector.find(f"{folder}/{i}.png", 0.5))
            tiles.append(Image.open(io.BytesIO(drawn)).resize((320, 320), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (3 * 320, 2 * 320))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % 3 * 320, i // 3 * 320))
    sheet.quantize(200, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
