"""Data for training: SoundWorld shards, frozen-encoder features, and the token sequences made from them."""
