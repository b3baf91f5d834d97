"""What is around a training loop: processes, devices, signals, precision, several runs together, progress."""
