"""Processing elements that arrays of integers share: lanes, adder trees, accumulators."""
