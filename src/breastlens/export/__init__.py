"""A saved model in the file of another runtime, run by that runtime and held to the bundle before it is kept."""
