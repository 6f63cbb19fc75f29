"""The model: config, encoder, adaptor, reasoner, published checkpoints.

Importing it makes transformers' Auto classes load the published checkpoints without remote code.
"""

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from earwitness.model.config import EarwitnessConfig, FlatEarwitnessConfig
from earwitness.model.reasoner import AudioReasoner

for _config in (EarwitnessConfig, FlatEarwitnessConfig):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    # The mapping itself, because AutoModel's own register takes one config class a model.
    MODEL_FOR_CAUSAL_LM_MAPPING.register(_config, AudioReasoner, exist_ok=True)  # type: ignore[arg-type]

__all__ = ["AudioReasoner", "EarwitnessConfig", "FlatEarwitnessConfig"]
