"""Text to token shards, packed sequences and the training order."""
