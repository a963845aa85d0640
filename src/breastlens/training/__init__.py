"""Training: the probe on frozen features, and fine-tuning of the network from there."""
