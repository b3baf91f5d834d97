"""Layers of CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH): features of two domains and of their classes, and scores."""

from __future__ import annotations

ORIGIN = "CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH)"
