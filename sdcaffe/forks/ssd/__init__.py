"""Layers of SSD's Caffe."""

from sdcaffe.forks.known import SSD

ORIGIN = SSD
