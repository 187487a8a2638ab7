"""The language kernels are written in: compiler, vectors, atomics, barriers."""
