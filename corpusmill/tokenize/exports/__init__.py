"""A training order in the file formats of other trainers; docs/exports.md says how each of them reads it."""
