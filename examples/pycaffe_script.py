"""A script as it was written for BVLC Caffe's Python.

Run it in a clone, or where `sdcaffe zoo quickstart .` was run:

    sdcaffe pycaffe examples/pycaffe_script.py
"""

import caffe
import numpy as np

caffe.set_mode_cpu()
net = caffe.Net("prototxt/quickstart/deploy.prototxt", caffe.TEST)

for name, blob in net.blobs.items():
    if name in ("data", "prob"):
        print(name, blob.data.shape)
first = next(iter(net.params))
print(first, net.params[first][0].data.shape)

net.params[first][0].data[...] *= 0.5  # blobs are numpy arrays that a script may write
net.blobs["data"].reshape(2, 3, 32, 32)
net.blobs["data"].data[...] = np.random.RandomState(0).randn(2, 3, 32, 32)
out = net.forward()
print("sums to", out["prob"].sum(axis=1))
net.save("halved.caffemodel")
