"""Elementary functions, random numbers, finiteness."""
