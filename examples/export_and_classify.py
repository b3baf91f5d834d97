"""Exports a net as ONNX and names what is on a picture, from Python; the file needs ONNX Runtime alone.

Run it in a clone, or where `sdcaffe zoo quickstart .` was run, once the net is trained:

    sdcaffe train prototxt/quickstart/solver_baseline.prototxt
    python examples/export_and_classify.py runs/quickstart/baseline_iter_400.caffemodel
"""

import subprocess
import sys

import numpy as np
import onnxruntime
from PIL import Image

from sdcaffe.data.synthetic import CLASSES, synthetic

weights = sys.argv[1]
data = ["--data", "prototxt/quickstart/train_val_baseline.prototxt", "--preprocess"]
export = ["sdcaffe", "export", "prototxt/quickstart/deploy.prototxt", weights, "-o", "net.onnx", *data]
subprocess.run(export, check=True)

images, labels = synthetic("test")
Image.fromarray(images[0].transpose(1, 2, 0)).save("picture.png")

session = onnxruntime.InferenceSession("net.onnx")
picture = np.asarray(Image.open("picture.png"))[None]  # RGB bytes (1, h, w, 3)
(scores,) = session.run(None, {session.get_inputs()[0].name: picture})
print("it is a", CLASSES[labels[0]], "and looks like a", CLASSES[scores[0].argmax()])
