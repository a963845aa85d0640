"""Scores a folder of images with a saved Keras model, as the usual script does it: the other side of ``predict.py``.

Run as ``python benchmarks/keras_folder.py MODEL.keras FOLDER CSV``; the images lie in a subfolder of FOLDER.
"""

import sys

import keras
import pandas as pd
from keras.src.legacy.preprocessing.image import ImageDataGenerator

model_path, folder, out = sys.argv[1:]
model = keras.saving.load_model(model_path)
images = ImageDataGenerator().flow_from_directory(
    folder, target_size=model.input.shape[1:3], batch_size=32, class_mode=None, shuffle=False
)
y_score = model.predict(images)["score"].ravel()
pd.DataFrame({"path": images.filenames, "y_score": y_score}).to_csv(out, index=False)
