"""To and from other forms: image sets, image means, features, and files of Caffe's older versions."""
