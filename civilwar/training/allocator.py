"""Let glibc keep freed memory, which makes a training step on a CPU about a quarter faster.

By default glibc hands large freed blocks straight back to the kernel, and each activation is then paid for again in
page faults, step after step. Elsewhere (macOS, Windows, musl) nothing is changed.
"""

import ctypes
import sys

# from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Ask the C library to reuse freed memory within this process. Returns whether it agreed."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # no block, however large, is mapped from the kernel by itself and handed back when freed
    return bool(mallopt(_M_TRIM_THRESHOLD, -1)) and bool(mallopt(_M_MMAP_MAX, 0))
