"""The service: a saved model behind HTTP, and the page on top of it. Needs neither Keras nor TensorFlow."""
