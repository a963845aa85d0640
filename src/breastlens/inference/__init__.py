"""Inference: a saved model and image files in, calibrated scores out."""
