"""Holds caffe_pb2, where scripts look for it."""
