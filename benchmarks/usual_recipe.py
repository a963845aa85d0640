"""The usual recipe for a small set of images, as its users write it: the other side of ``train.py``.

ImageDataGenerator from folders, an ImageNet base, global pooling, a dense head, epochs with validation, then
``predict`` on the test part for accuracy, AUC, confusion matrix and two figures. It uses nothing of BreastLens.

Run as ``python benchmarks/usual_recipe.py DATA OUT --backbone VGG16 --weights FILE`` where DATA holds train/,
validation/ and test/, each with one folder a category.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("--backbone", default="VGG16", help="name in keras.applications")
parser.add_argument("--alpha", type=float, help="width, for the MobileNets")
parser.add_argument("--weights", default="imagenet", help="imagenet, none, or a file without the top")
parser.add_argument("--image-size", type=int, default=128)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--learning-rate", type=float, default=1e-3, help="Adam's own default")
parser.add_argument("--train-base", action="store_true", help="every layer of the base learns, too")
parser.add_argument("--no-augmentation", action="store_true")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

import keras  # noqa: E402
import matplotlib  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import seaborn as sns  # noqa: E402
from keras import layers  # noqa: E402
from keras.src.legacy.preprocessing.image import ImageDataGenerator  # noqa: E402
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score, roc_curve  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

MODULES = {
    "VGG16": "vgg16",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "ResNet50": "resnet",
    "DenseNet121": "densenet",
}
BATCH = 32
AUGMENTATION = {
    "rotation_range": 15,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "zoom_range": 0.1,
    "horizontal_flip": True,
}

keras.utils.set_random_seed(arguments.seed)
size = (arguments.image_size, arguments.image_size)
module = importlib.import_module(f"keras.applications.{MODULES[arguments.backbone]}")
augmentation = {} if arguments.no_augmentation else AUGMENTATION
training = ImageDataGenerator(preprocessing_function=module.preprocess_input, **augmentation)
plain = ImageDataGenerator(preprocessing_function=module.preprocess_input)
flow = {"target_size": size, "batch_size": BATCH, "class_mode": "binary", "seed": arguments.seed}
train = training.flow_from_directory(arguments.data / "train", **flow)
validation = plain.flow_from_directory(arguments.data / "validation", shuffle=False, **flow)
test = plain.flow_from_directory(arguments.data / "test", shuffle=False, **flow)

width = {} if arguments.alpha is None else {"alpha": arguments.alpha}
base = getattr(module, arguments.backbone)(
    include_top=False,
    weights=None if arguments.weights == "none" else arguments.weights,
    input_shape=(*size, 3),
    **width,
)
base.trainable = arguments.train_base
pooled = layers.GlobalAveragePooling2D()(base.output)
hidden = layers.Dropout(0.5)(layers.Dense(128, activation="relu")(pooled))
model = keras.Model(base.input, layers.Dense(1, activation="sigmoid")(hidden))
model.compile(
    optimizer=keras.optimizers.Adam(arguments.learning_rate),
    loss="binary_crossentropy",
    metrics=["accuracy", keras.metrics.AUC(name="auc")],
)
history = model.fit(train, validation_data=validation, epochs=arguments.epochs, verbose=2)

y_score = model.predict(test).ravel()
y_true = test.classes
y_pred = (y_score >= 0.5).astype(int)
matrix = confusion_matrix(y_true, y_pred)

arguments.out.mkdir(parents=True)
fpr, tpr, _ = roc_curve(y_true, y_score)
sns.set_theme(style="whitegrid")
plt.figure(figsize=(5, 5))
plt.plot(fpr, tpr, label=f"AUC {roc_auc_score(y_true, y_score):.3f}")
plt.plot([0, 1], [0, 1], linestyle="--", color="grey")
plt.xlabel("False positive rate")
plt.ylabel("True positive rate")
plt.legend()
plt.savefig(arguments.out / "roc.png", dpi=150)
plt.figure(figsize=(5, 4))
sns.heatmap(
    matrix, annot=True, fmt="d", cmap="Blues", xticklabels=test.class_indices, yticklabels=test.class_indices
)
plt.xlabel("Predicted")
plt.ylabel("True")
plt.savefig(arguments.out / "confusion_matrix.png", dpi=150)
pd.DataFrame(history.history).to_csv(arguments.out / "history.csv", index=False)
pd.DataFrame(
    {"file": [Path(name).name for name in test.filenames], "y_true": y_true, "y_score": y_score}
).to_csv(arguments.out / "predictions.csv", index=False)
model.save(arguments.out / "model.keras")
metrics = {
    "accuracy": float(accuracy_score(y_true, y_pred)),
    "auc": float(roc_auc_score(y_true, y_score)),
    "confusion_matrix": np.asarray(matrix).tolist(),
}
(arguments.out / "metrics.json").write_text(json.dumps(metrics))
