"""Logs as BVLC Caffe writes them: writing, reading and showing progress."""

from sdcaffe.log.parser import Run, Snapshot, TestRow, TrainRow, accuracy, parse_log
from sdcaffe.log.writer import Destination, GlogFormatter, destination, glog, number, redirect, setup, silent
from sdcaffe.run.progress import LiveProgress, Progress, Screen, Tick, bar, no_tick

__all__ = [
    "Destination",
    "GlogFormatter",
    "LiveProgress",
    "Progress",
    "Run",
    "Screen",
    "Snapshot",
    "TestRow",
    "Tick",
    "TrainRow",
    "accuracy",
    "bar",
    "destination",
    "glog",
    "no_tick",
    "number",
    "parse_log",
    "redirect",
    "setup",
    "silent",
]
