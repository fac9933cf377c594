"""Parts that several units are made of, and the emission of Verilog."""
