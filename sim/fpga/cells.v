// Cells of the ECP5 that Yosys leaves as black boxes, in the modes that its synth_ecp5 uses.
//
// A cell in any other mode ends the simulation with one sentence and a status that is not 0.
// Verilog 2005 but for $fatal, which does that.
//
// Sources: Yosys' maps to these cells, dsp_map_18x18.v, brams_16kd.txt and brams_map_16kd.v.
// Lattice's own are the sysDSP and Memory Usage Guides (FPGA-TN-02205, FPGA-TN-02204).

// A multiplier, 18 x 18 to 36 bits.
//
// Modelled: no registers; operands from A and B, each signed or not by SIGNEDA and SIGNEDB.
// Not modelled: registers, shift chains (SOURCEA, SOURCEB), the pins of the adder behind it.
module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
      P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTC_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_OUTPUT_CLK = "NONE";

  wire [17:0] a = {
      A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0
  };
  wire [17:0] b = {
      B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0
  };

  wire signed [18:0] left = {SIGNEDA & a[17], a};
  wire signed [18:0] right = {SIGNEDB & b[17], b};
  wire signed [37:0] product = left * right;

  assign {
      P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17,
        P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
  } = product[35:0];

  initial
    if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_INPUTC_CLK != "NONE"
        || REG_PIPELINE_CLK != "NONE" || REG_OUTPUT_CLK != "NONE") begin
      $display("MULT18X18D: registers are not modelled");
      $fatal(1);
    end

  always @*
    if (SOURCEA || SOURCEB) begin
      $display("MULT18X18D: operands of a shift chain are not modelled");
      $fatal(1);
    end
endmodule

// A block RAM of 18 Kbit with two ports.
//
// Modelled: widths 1, 2, 4, 9 and 18 of both ports, 36 where port A only writes or port B only
// reads; enables of bytes (the low address bits at widths 18 and 36); all three WRITEMODEs;
// initial contents; synchronous reset of what was read, which also keeps its port from writing;
// one clock for both ports, either edge.
//
// Unknown (x): what both ports write at once; what one reads while the other writes it; what a port
// of less than 9 bits reads while it writes in READBEFOREWRITE: devices have that from 9 bits on.
//
// Not modelled: output registers, asynchronous reset, selection by CS, two clocks, GSR, inversion
// of pins other than clocks.
module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
      DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
      DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
      DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
      DOB4, DOB3, DOB2, DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter CLKAMUX = "CLKA";
  parameter CLKBMUX = "CLKB";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter GSR = "ENABLED";
  parameter INIT_DATA = "STATIC";
  parameter [319:0] INITVAL_00 = 320'd0;
  parameter [319:0] INITVAL_01 = 320'd0;
  parameter [319:0] INITVAL_02 = 320'd0;
  parameter [319:0] INITVAL_03 = 320'd0;
  parameter [319:0] INITVAL_04 = 320'd0;
  parameter [319:0] INITVAL_05 = 320'd0;
  parameter [319:0] INITVAL_06 = 320'd0;
  parameter [319:0] INITVAL_07 = 320'd0;
  parameter [319:0] INITVAL_08 = 320'd0;
  parameter [319:0] INITVAL_09 = 320'd0;
  parameter [319:0] INITVAL_0A = 320'd0;
  parameter [319:0] INITVAL_0B = 320'd0;
  parameter [319:0] INITVAL_0C = 320'd0;
  parameter [319:0] INITVAL_0D = 320'd0;
  parameter [319:0] INITVAL_0E = 320'd0;
  parameter [319:0] INITVAL_0F = 320'd0;
  parameter [319:0] INITVAL_10 = 320'd0;
  parameter [319:0] INITVAL_11 = 320'd0;
  parameter [319:0] INITVAL_12 = 320'd0;
  parameter [319:0] INITVAL_13 = 320'd0;
  parameter [319:0] INITVAL_14 = 320'd0;
  parameter [319:0] INITVAL_15 = 320'd0;
  parameter [319:0] INITVAL_16 = 320'd0;
  parameter [319:0] INITVAL_17 = 320'd0;
  parameter [319:0] INITVAL_18 = 320'd0;
  parameter [319:0] INITVAL_19 = 320'd0;
  parameter [319:0] INITVAL_1A = 320'd0;
  parameter [319:0] INITVAL_1B = 320'd0;
  parameter [319:0] INITVAL_1C = 320'd0;
  parameter [319:0] INITVAL_1D = 320'd0;
  parameter [319:0] INITVAL_1E = 320'd0;
  parameter [319:0] INITVAL_1F = 320'd0;
  parameter [319:0] INITVAL_20 = 320'd0;
  parameter [319:0] INITVAL_21 = 320'd0;
  parameter [319:0] INITVAL_22 = 320'd0;
  parameter [319:0] INITVAL_23 = 320'd0;
  parameter [319:0] INITVAL_24 = 320'd0;
  parameter [319:0] INITVAL_25 = 320'd0;
  parameter [319:0] INITVAL_26 = 320'd0;
  parameter [319:0] INITVAL_27 = 320'd0;
  parameter [319:0] INITVAL_28 = 320'd0;
  parameter [319:0] INITVAL_29 = 320'd0;
  parameter [319:0] INITVAL_2A = 320'd0;
  parameter [319:0] INITVAL_2B = 320'd0;
  parameter [319:0] INITVAL_2C = 320'd0;
  parameter [319:0] INITVAL_2D = 320'd0;
  parameter [319:0] INITVAL_2E = 320'd0;
  parameter [319:0] INITVAL_2F = 320'd0;
  parameter [319:0] INITVAL_30 = 320'd0;
  parameter [319:0] INITVAL_31 = 320'd0;
  parameter [319:0] INITVAL_32 = 320'd0;
  parameter [319:0] INITVAL_33 = 320'd0;
  parameter [319:0] INITVAL_34 = 320'd0;
  parameter [319:0] INITVAL_35 = 320'd0;
  parameter [319:0] INITVAL_36 = 320'd0;
  parameter [319:0] INITVAL_37 = 320'd0;
  parameter [319:0] INITVAL_38 = 320'd0;
  parameter [319:0] INITVAL_39 = 320'd0;
  parameter [319:0] INITVAL_3A = 320'd0;
  parameter [319:0] INITVAL_3B = 320'd0;
  parameter [319:0] INITVAL_3C = 320'd0;
  parameter [319:0] INITVAL_3D = 320'd0;
  parameter [319:0] INITVAL_3E = 320'd0;
  parameter [319:0] INITVAL_3F = 320'd0;

  wire [17:0] dia = {
      DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
        DIA3, DIA2, DIA1, DIA0
  };
  wire [17:0] dib = {
      DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
        DIB3, DIB2, DIB1, DIB0
  };
  wire [13:0] ada = {
      ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
  };
  wire [13:0] adb = {
      ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
  };

  // --- what a port touches, in words of 36 bits ------------------------------------------------

  function [5:0] place(input [13:0] address, input integer width);
    place = width == 36 ? 0
        : width == 18 ? 18 * address[4]
        : 9 * address[4:3] + (width == 9 ? 0 : address[2:0] & ~(width - 1));
  endfunction

  function [35:0] touched(input [13:0] address, input integer width);
    touched = (36'hfffffffff >> (36 - width)) << place(address, width);
  endfunction

  function [35:0] enabled(input [13:0] address, input integer width);
    enabled = width < 18 ? touched(address, width)
        : {{9{address[3] && width == 36}}, {9{address[2] && width == 36}},
           {9{address[1]}}, {9{address[0]}}} << place(address, width);
  endfunction

  wire [8:0] word_a = ada[13:5];
  wire [8:0] word_b = adb[13:5];
  wire [5:0] place_a = place(ada, DATA_WIDTH_A);
  wire [5:0] place_b = place(adb, DATA_WIDTH_B);
  wire [35:0] touched_a = touched(ada, DATA_WIDTH_A);
  wire [35:0] touched_b = touched(adb, DATA_WIDTH_B);
  wire [35:0] written_a = CEA && WEA && !RSTA ? enabled(ada, DATA_WIDTH_A) : 36'd0;
  wire [35:0] written_b = CEB && WEB && !RSTB ? enabled(adb, DATA_WIDTH_B) : 36'd0;
  wire [35:0] data_a = {DATA_WIDTH_A == 36 ? dib : 18'd0, dia} << place_a;
  wire [35:0] data_b = {18'd0, dib} << place_b;
  wire [35:0] blind_a = DATA_WIDTH_A < 9 && WRITEMODE_A == "READBEFOREWRITE" ? written_a : 36'd0;
  wire [35:0] blind_b = DATA_WIDTH_B < 9 && WRITEMODE_B == "READBEFOREWRITE" ? written_b : 36'd0;
  wire reads_a = CEA && !(WEA && WRITEMODE_A == "NORMAL");
  wire reads_b = CEB && !(WEB && WRITEMODE_B == "NORMAL");

  // --- memory: both ports work at one edge, in either order ------------------------------------

  reg [35:0] words [0:511];
  reg [35:0] out_a = 36'd0;
  reg [35:0] out_b = 36'd0;

  function [35:0] with_unknown(input [35:0] value, input [35:0] bits);
    with_unknown = value & ~bits | {36{1'bx}} & bits;
  endfunction

  wire clock_a = CLKA ^ (CLKAMUX == "INV");
  wire clock_b = CLKB ^ (CLKBMUX == "INV");
  wire [35:0] crossed_a = word_a == word_b ? written_a : 36'd0;  // what A writes into B's word
  wire [35:0] crossed_b = word_a == word_b ? written_b : 36'd0;

  reg [35:0] before_a;
  reg [35:0] after_a;
  always @(posedge clock_a) begin
    if (CEA && CEB && CLKA !== CLKB) stop("two clocks");
    before_a = words[word_a];
    after_a = with_unknown(
        before_a & ~written_a | data_a & written_a, crossed_b & written_a);
    if (written_a != 0) words[word_a] = after_a;
    if (RSTA)
      out_a <= 36'd0;
    else if (reads_a)
      out_a <= with_unknown(
          WRITEMODE_A == "WRITETHROUGH" ? after_a : before_a, crossed_b | blind_a
      ) >> place_a & touched_a >> place_a;
  end

  reg [35:0] before_b;
  reg [35:0] after_b;
  always @(posedge clock_b) begin
    if (CEB && CEA && CLKB !== CLKA) stop("two clocks");
    before_b = words[word_b];
    after_b = with_unknown(
        before_b & ~written_b | data_b & written_b, crossed_a & written_b);
    if (written_b != 0) words[word_b] = after_b;
    if (RSTB)
      out_b <= 36'd0;
    else if (reads_b)
      out_b <= with_unknown(
          WRITEMODE_B == "WRITETHROUGH" ? after_b : before_b, crossed_a | blind_b
      ) >> place_b & touched_b >> place_b;
  end

  wire [35:0] read = DATA_WIDTH_B == 36 ? out_b
      : {out_b[17:0], DATA_WIDTH_A == 36 ? {18{1'bx}} : out_a[17:0]};
  assign {
      DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
        DOB3, DOB2, DOB1, DOB0,
      DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
        DOA3, DOA2, DOA1, DOA0
  } = read;

  // --- initial contents: 16 words of 18 bits a parameter, each in 20 bits ----------------------

  wire [20479:0] contents = {
      INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39,
        INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32,
        INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B,
        INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
        INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D,
        INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
        INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F,
        INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
        INITVAL_00
  };

  integer i;
  initial
    for (i = 0; i < 512; i = i + 1) words[i] = {contents[40*i+20+:18], contents[40*i+:18]};

  // --- modes without a model -------------------------------------------------------------------

  task stop(input [8*40-1:0] mode);
    begin
      $display("DP16KD: not modelled: %0s", mode);
      $fatal(1);
    end
  endtask

  function narrow(input integer width);
    narrow = width == 1 || width == 2 || width == 4 || width == 9 || width == 18;
  endfunction

  function known(input [8*15-1:0] mode);
    known = mode == "NORMAL" || mode == "WRITETHROUGH" || mode == "READBEFOREWRITE";
  endfunction

  initial begin
    if (!narrow(DATA_WIDTH_A) && DATA_WIDTH_A != 36) stop("a width of port A");
    if (!narrow(DATA_WIDTH_B) && DATA_WIDTH_B != 36) stop("a width of port B");
    if (!known(WRITEMODE_A) || !known(WRITEMODE_B)) stop("a mode of writing");
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG") stop("output registers");
    if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000") stop("selection by CS");
    if (INIT_DATA != "STATIC") stop("contents that change at run time");
    if ((CLKAMUX == "INV") != (CLKBMUX == "INV")) stop("two edges");
  end

  always @*
    if (RESETMODE != "SYNC" && (RSTA || RSTB)) stop("asynchronous reset");

  always @(posedge clock_a) begin
    if (CSA2 || CSA1 || CSA0) stop("selection by CS");
    if (DATA_WIDTH_A == 36 && CEA && !WEA) stop("reading 36 bits by port A");
  end

  always @(posedge clock_b) begin
    if (CSB2 || CSB1 || CSB0) stop("selection by CS");
    if (DATA_WIDTH_B == 36 && CEB && WEB) stop("writing 36 bits by port B");
  end
endmodule
