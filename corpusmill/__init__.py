"""corpusmill: web-corpus refinement with an exact, auditable training order."""

__version__ = "0.1.0"
