"""Critical paths by OpenSTA."""

import pytest
from nibbleforge.golden.contract.errors import UserError

MEMORY = """
module top(input clk, we, input [3:0] wa, ra, rb, input [7:0] wd,
           output reg [7:0] x, output [7:0] y);
  reg [7:0] mem [0:15];
  reg [7:0] q;
  always @(posedge clk) if (we) mem[wa] <= wd;
  always @(posedge clk) q <= mem[ra];
  always @(posedge clk) x <= ~q;
  assign y = mem[rb];
endmodule
"""

FLIP_FLOP = "module top(input clk, d, output reg q); always @(posedge clk) q <= ~d; endmodule"

ROUND = 0.1  # ns; delays of the tiny library grow by 0.01 with every pin


@pytest.mark.needs("sta")
def test_path_between_registers(flow):
    verilog = (
        "module top(input clk, d, output q); reg r, s; assign q = s;"
        "always @(posedge clk) begin r <= d; s <= ~r; end endmodule"
    )
    path = flow.path(verilog)
    assert path.ns == pytest.approx(0.5 + 1 + 0.25, abs=ROUND)
    assert (path.start, path.end) == ("r_reg", "s_reg")


@pytest.mark.needs("sta")
def test_path_between_ports(flow):
    path = flow.path("module top(input a, output y); assign y = ~a; endmodule")
    assert path.ns == pytest.approx(1, abs=ROUND)
    assert (path.start, path.end) == ("a", "y")


@pytest.mark.needs("sta")
def test_no_path(flow):
    assert flow.path("module top(output y); assign y = 1; endmodule") is None


@pytest.mark.needs("sta")
@pytest.mark.parametrize(("access", "expected"), [(5.0, 5.0), (0.0, 1.75)])
def test_memories_have_their_access_time(flow, access, expected):
    """Unclocked reads take the access time, clocked ones start with it; or registers decide."""
    path = flow.path(MEMORY, access)
    if access:
        assert path.ns == pytest.approx(access + 1.25, abs=ROUND)
        assert path.end.startswith("x_")
    else:
        assert path.ns < expected + ROUND


@pytest.mark.needs("sta")
def test_libraries_that_opensta_refuses(flow, read, changed):
    library = read(changed("slew_lower_threshold_pct_rise : 20;", ""))
    with pytest.raises(UserError) as error:
        flow.path(FLIP_FLOP, library=library)
    assert str(error.value).startswith("OpenSTA cannot find the critical path with tiny: ")
