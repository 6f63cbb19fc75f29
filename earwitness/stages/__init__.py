"""Training stages; each can run alone."""
