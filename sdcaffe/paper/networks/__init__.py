"""The networks that the paper trains, each from an image blob to logits."""
