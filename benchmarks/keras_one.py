"""Scores one image with a saved Keras model in the fewest lines: the other side of ``first_answer.py``.

Run as ``python benchmarks/keras_one.py MODEL.keras IMAGE``.
"""

import sys

import keras
import numpy as np

model = keras.saving.load_model(sys.argv[1])
image = keras.utils.load_img(sys.argv[2], target_size=model.input.shape[1:3])
print(model.predict(np.array([image]), verbose=0)["score"].item())
