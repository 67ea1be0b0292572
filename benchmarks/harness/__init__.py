"""What the benchmarks share: results, processes and their CPU time, guests, programs, harts."""
