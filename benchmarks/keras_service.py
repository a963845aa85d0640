"""The other side of ``benchmarks/serve.py``: a service as users of Keras write it, FastAPI around ``model.predict``.

Run as ``python benchmarks/keras_service.py MODEL.keras PORT IMAGE_SIZE``.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import keras
import numpy as np
import uvicorn
from fastapi import FastAPI, File, UploadFile


def main() -> None:
    """Load the model and serve it."""
    model = keras.models.load_model(sys.argv[1])
    size = int(sys.argv[3])
    app = FastAPI()

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/predict")
    def predict(file: Annotated[UploadFile, File()]) -> dict[str, Any]:
        data = np.frombuffer(file.file.read(), np.uint8)
        image = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        square = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        output = model.predict(square[np.newaxis], verbose=0)
        score = output["score"] if isinstance(output, dict) else output
        return {"score": float(np.ravel(score)[0])}

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")


if __name__ == "__main__":
    main()
