"""The airspeed-velocity suite; run it from `asv_bench/` by `asv run`."""
