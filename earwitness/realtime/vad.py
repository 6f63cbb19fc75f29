"""Is this speech? Silero VAD through onnxruntime, one probability for every 32 ms of a stream at 16 kHz.

The package ``silero-vad`` (extra ``realtime``) brings the network as an ONNX file. The package itself is never
imported: it would load PyTorch, and torchaudio where it finds it.
"""

from __future__ import annotations

import functools
import importlib.util
import pathlib
from typing import Any

import numpy as np

_CONTEXT = 64  # samples before the frame that the network sees too
_INSTALL = 'turn detection needs Silero VAD; run: pip install "earwitness[realtime]"'


@functools.cache
def _network() -> Any:
    """Return the network, loaded once for the process; it holds no state and may be run by several threads."""
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(_INSTALL)
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.log_severity_level = 3
    path = pathlib.Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.onnx"
    if not path.is_file():
        raise OSError(f"{path} is missing; run: pip install --force-reinstall silero-vad")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Silero:
    """The detector of one stream; the state of the network and the samples of an unfinished frame are its own."""

    def __init__(self) -> None:
        self.network = _network()
        self.reset()

    def reset(self) -> None:
        """Forget the stream so far."""
        self.state = np.zeros((2, 1, 128), np.float32)
        self.context = np.zeros(_CONTEXT, np.float32)

    def __call__(self, frame: np.ndarray) -> float:
        """Return the probability, 0 to 1, that the next frame of the stream, (512,) float32, holds speech."""
        wave = np.concatenate([self.context, frame]).astype(np.float32)
        rate = np.array(16_000, np.int64)
        probability, self.state = self.network.run(None, {"input": wave[None], "state": self.state, "sr": rate})
        self.context = wave[-_CONTEXT:]
        return float(probability[0, 0])
