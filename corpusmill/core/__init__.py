"""Ground floor: documents, artifacts, storage, words, hashing, errors. No Ray, no torch, no command line."""
