"""Layers of SSD's Caffe."""
