from __future__ import annotations

from hypothesis import settings

# The first example pays for compiling or loading the kernels.
settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")
