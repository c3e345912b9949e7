"""An ONNX export as a predictor: an image in, logits in the model frame out, without torch.

Axes: C classes, H W pixels of the source frame, K channels of the image.
"""

import json
import tempfile
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

REMEDY = "give a file that jobs/export.py wrote"


class OnnxNetwork:
    """One ONNX file, held in memory."""

    def __init__(self, content: bytes, name: str) -> None:
        """Load it; ``name`` stands for it in messages; raises ValueError for no export of ours."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            with tempfile.TemporaryDirectory(prefix="handray-") as empty:
                # A file may point at others for its weights; there it finds none.
                options.add_session_config_entry(
                    "session.model_external_initializers_file_folder_path", empty
                )
                self._session = onnxruntime.InferenceSession(
                    content, options, providers=["CPUExecutionProvider"]
                )
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise ValueError(
                f"{name} is no network that ONNX Runtime can load; {REMEDY}"
            ) from error
        facts = self._session.get_modelmeta().custom_metadata_map
        try:
            about = {key: json.loads(facts[key]) for key in ("class_names", "mean", "std", "size")}
            self.class_names = tuple(map(str, about["class_names"]))
            self.size = int(about["size"])
            # Of all channels, or one a channel.
            self._mean, self._std = (
                np.array(about[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std")
            )
            (image,), (logits,) = self._session.get_inputs(), self._session.get_outputs()
            self.channels = int(image.shape[1])
            self._names = image.name, logits.name
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{name} doesn't say what it needs and finds; {REMEDY}") from error
        if self.channels not in (1, 3):
            raise ValueError(f"{name} takes images of {self.channels} channels; 1 or 3 can be had")

    def logits(self, image: NDArray[np.uint8], size: int | None = None) -> NDArray[np.float32]:
        """Logits of the whole image, float32 (C, size, size).

        Args:
            image: source frame, (H, W) for a network of one channel, else (H, W, 3) RGB.
            size: must be the file's own, which is fixed.

        Raises:
            ValueError: another size.

        """
        if size not in (None, self.size):
            raise ValueError(f"an ONNX file has one size, {self.size} px here; choose that")
        resized = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        image_KHW = np.atleast_3d(resized).transpose(2, 0, 1).astype(np.float32)
        inputs = {self._names[0]: ((image_KHW - self._mean) / self._std)[None]}
        found: Any = self._session.run([self._names[1]], inputs)[0]
        return np.asarray(found[0], np.float32)
