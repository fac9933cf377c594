// Cells of the ECP5 that Yosys has no models of, in the modes that its synth_ecp5 uses.
//
// MULT18X18D: no registers, operands from its pins (SOURCEA and SOURCEB 0).
// DP16KD: no output registers (NOREG), chip selects 0, resets at the clock; all widths, 36 where
// port A writes and port B reads. Other modes end a simulation at once.

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
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_OUTPUT_CLK = "NONE";

    wire [17:0] a = {
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0
    };
    wire [17:0] b = {
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0
    };
    wire signed [18:0] left = {SIGNEDA & A17, a};
    wire signed [18:0] right = {SIGNEDB & B17, b};
    wire signed [37:0] product = left * right;
    assign {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
        P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
    } = product[35:0];

    initial
        if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_PIPELINE_CLK != "NONE"
            || REG_OUTPUT_CLK != "NONE") begin
            $display("MULT18X18D: a mode without a model");
            $finish;
        end
endmodule

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
    parameter [127:0] WRITEMODE_A = "NORMAL";
    parameter [127:0] WRITEMODE_B = "NORMAL";
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
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
        DIA4, DIA3, DIA2, DIA1, DIA0
    };
    wire [17:0] dib = {
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
        DIB4, DIB3, DIB2, DIB1, DIB0
    };
    wire [13:0] ada = {
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
    };
    wire [13:0] adb = {
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
    };
    wire clock_a = CLKAMUX == "INV" ? ~CLKA : CLKA;
    wire clock_b = CLKBMUX == "INV" ? ~CLKB : CLKB;

    // Lines of 9 bits, the ninth of each out of reach at widths below 9.
    reg [8:0] lines [0:2047];
    reg [17:0] out_a = 18'd0;
    reg [35:0] out_b = 36'd0;

    // First line and bit within it of an address.
    function [10:0] line_of(input [13:0] address, input integer width);
        line_of = width == 36 ? {address[13:5], 2'd0} : width == 18 ? {address[13:4], 1'd0}
            : address[13:3];
    endfunction
    function [3:0] bit_of(input [13:0] address, input integer width);
        bit_of = width == 4 ? {1'd0, address[2], 2'd0} : width == 2 ? {1'd0, address[2:1], 1'd0}
            : width == 1 ? {1'd0, address[2:0]} : 4'd0;
    endfunction
    function [8:0] mask_of(input integer width);
        mask_of = width >= 9 ? 9'h1ff : width == 4 ? 9'h00f : width == 2 ? 9'h003 : 9'h001;
    endfunction

    wire [35:0] in_a = {DATA_WIDTH_A == 36 ? dib : 18'd0, dia};
    wire [3:0] bytes_a = DATA_WIDTH_A == 36 ? ada[3:0]
        : DATA_WIDTH_A == 18 ? {2'd0, ada[1:0]} : 4'd1;
    wire [3:0] bytes_b = DATA_WIDTH_B == 18 ? {2'd0, adb[1:0]} : 4'd1;
    wire [10:0] line_a = line_of(ada, DATA_WIDTH_A);
    wire [10:0] line_b = line_of(adb, DATA_WIDTH_B);
    wire [3:0] bit_a = bit_of(ada, DATA_WIDTH_A);
    wire [3:0] bit_b = bit_of(adb, DATA_WIDTH_B);
    wire [8:0] mask_a = mask_of(DATA_WIDTH_A);
    wire [8:0] mask_b = mask_of(DATA_WIDTH_B);
    wire write_a = CEA & WEA;
    wire write_b = CEB & WEB;


    // What is at an address, from bit 0 on.
    function [35:0] at(input [10:0] line, input [3:0] place);
        at = {lines[line | 11'd3], lines[line | 11'd2], lines[line | 11'd1], lines[line]} >> place;
    endfunction
    function [35:0] kept(input [35:0] value, input integer width);
        kept = width >= 36 ? value : value & ((36'd1 << width) - 36'd1);
    endfunction

    // A line with some of its bits written.
    function [8:0] merged(input [8:0] line, input [8:0] value, input [8:0] mask, input [3:0] place);
        merged = line & ~(mask << place) | (value & mask) << place;
    endfunction

    integer i;
    always @(posedge clock_a) begin
        if (write_a)
            for (i = 0; i < 4; i = i + 1)
                if (bytes_a[i])
                    lines[line_a + i] <= merged(lines[line_a + i], in_a[9 * i +: 9], mask_a, bit_a);
        if (RSTA)
            out_a <= 18'd0;
        else if (CEA && !(WEA && WRITEMODE_A == "NORMAL")) begin
            out_a <= kept(at(line_a, bit_a), DATA_WIDTH_A);
            if (WEA && WRITEMODE_A == "WRITETHROUGH")
                for (i = 0; i < 2; i = i + 1)
                    if (bytes_a[i])
                        out_a[9 * i +: 9] <= in_a[9 * i +: 9] & mask_a;
        end
    end
    always @(posedge clock_b) begin
        if (write_b)
            for (i = 0; i < 2; i = i + 1)
                if (bytes_b[i])
                    lines[line_b + i] <= merged(lines[line_b + i], dib[9 * i +: 9], mask_b, bit_b);
        if (RSTB)
            out_b <= 36'd0;
        else if (CEB && !(WEB && WRITEMODE_B == "NORMAL")) begin
            out_b <= kept(at(line_b, bit_b), DATA_WIDTH_B);
            if (WEB && WRITEMODE_B == "WRITETHROUGH")
                for (i = 0; i < 2; i = i + 1)
                    if (bytes_b[i])
                        out_b[9 * i +: 9] <= dib[9 * i +: 9] & mask_b;
        end
    end
    wire [35:0] read_b = DATA_WIDTH_B == 36 ? out_b : {out_b[17:0], out_a};
    assign {
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
        DOB4, DOB3, DOB2, DOB1, DOB0
    } = read_b[35:18];
    assign {
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
        DOA4, DOA3, DOA2, DOA1, DOA0
    } = read_b[17:0];

    // 16 words of 18 bits a parameter, each in 20 bits.
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
    initial begin
        for (i = 0; i < 2048; i = i + 1)
            lines[i] = contents[20 * (i / 2) + 9 * (i % 2) +: 9];
        if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CSDECODE_A != "0b000"
            || CSDECODE_B != "0b000") begin
            $display("DP16KD: a mode without a model");
            $finish;
        end
    end
endmodule
