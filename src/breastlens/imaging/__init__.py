"""One file becomes one array: reading images of every kind and bringing them to the network's size."""
