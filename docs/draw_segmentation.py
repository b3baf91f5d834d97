"""Draws pictures/segmentation.png: pictures that quickstart_segmentation is tested on, their labels, what the net says.

python docs/draw_segmentation.py segmentation.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

import sdcaffe
from sdcaffe.data.opening import open_source

PICTURE = Path(__file__).with_name("pictures") / "segmentation.png"
COLOURS = np.array([(236, 236, 236), (214, 72, 62), (64, 150, 84), (64, 104, 190)], np.uint8)
COUNT = 6


def main(model: str) -> None:
    sdcaffe.discover()
    source = open_source("shapes:test")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    columns = []
    for i in range(COUNT):
        pair = source.pair(i)
        scores = session.run(None, {given.name: (pair.pixels[None].astype(np.float32) - 127.5) / 64})[0]
        rows = [pair.pixels[::-1].transpose(1, 2, 0), COLOURS[pair.labels[0]], COLOURS[scores[0].argmax(0)]]
        columns.append(np.concatenate(rows))
    sheet = Image.fromarray(np.concatenate(columns, 1))
    sheet = sheet.resize((sheet.width * 5 // 2, sheet.height * 5 // 2), Image.Resampling.NEAREST)
    sheet.quantize(200, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
