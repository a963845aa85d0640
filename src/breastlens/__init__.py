"""BreastLens: honest training and evaluation of breast-image classifiers. Research use only.

Importing this package is cheap: the public names below are loaded when first used, and none of
Keras, TensorFlow or OpenVINO is imported before it is needed.
"""

from __future__ import annotations

__version__ = "0.1.0"
