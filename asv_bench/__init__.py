"""Benchmarks: the airspeed-velocity suite, and `python -m asv_bench.compare` against the peers."""
