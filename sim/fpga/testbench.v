// Testbench of @@{top}: @@{run}.
// Made by nibbleforge @@{version}; this file belongs to whoever generated it.
// What is sent and expected comes from the golden model. Run it in this folder; the streams pause
// at random with +pauses. Verilog 2005 but for $fatal, which ends with a status that is not 0.

/* verilator lint_off PROCASSINIT */  // signals have initial values and change in processes

module @@{top}_tb;
  localparam BUS = @@{bus};
  localparam STREAM_WORDS = @@{stream_words};
  localparam RESULT_WORDS = @@{result_words};
  localparam LIMIT = @@{limit};  // cycles
  localparam SHOWN = 10;  // words that differ

@@{declarations}

  @@{top} dut (
@@{connections}
  );

  reg [BUS-1:0] stream [0:STREAM_WORDS-1];
  reg [BUS:0] results [0:RESULT_WORDS-1];  // TLAST above the word

  initial begin
    $readmemh("@@{top}_stream.hex", stream);
    $readmemh("@@{top}_results.hex", results);
  end

  always #5 axi_aclk = !axi_aclk;

  // --- streams --------------------------------------------------------------------------------

  reg pauses = 0;
  reg [31:0] dice = 0;
  integer offered = 0;
  integer received = 0;
  integer wrong_words = 0;
  integer wrong_bursts = 0;
  integer cycles = 0;

  initial pauses = $test$plusargs("pauses") != 0;

  always @(posedge axi_aclk) begin
    dice <= $random;
    m_axis_tready <= !(pauses && ^dice[15:0]);
  end

  always @(posedge axi_aclk)
    if (axi_aresetn && (!s_axis_tvalid || s_axis_tready)) begin
      s_axis_tvalid <= 0;
      if (offered < STREAM_WORDS && !(pauses && ^dice[31:16])) begin
        s_axis_tvalid <= 1;
        s_axis_tdata <= stream[offered];
        offered <= offered + 1;
      end
    end

  always @(posedge axi_aclk)
    if (axi_aresetn && m_axis_tvalid && m_axis_tready) begin
      received <= received + 1;
      if (received >= RESULT_WORDS) begin
        wrong_words <= wrong_words + 1;
        if (wrong_words < SHOWN) $display("word %0d: golden has no more", received);
      end else if ({m_axis_tlast, m_axis_tdata} !== results[received]) begin
        wrong_words <= wrong_words + 1;
        if (wrong_words < SHOWN)
          $display("word %0d: TLAST and data are %h, golden has %h",
                   received, {m_axis_tlast, m_axis_tdata}, results[received]);
      end
    end

  always @(posedge axi_aclk) begin
    cycles <= cycles + 1;
    if (cycles == LIMIT) begin
      $display("FAIL: after %0d cycles %0d of %0d words were taken and %0d of %0d had come",
               LIMIT, offered, STREAM_WORDS, received, RESULT_WORDS);
      $fatal(1);
    end
  end

@@{memory}  // --- registers: signals change at the falling edge, and are looked at at the rising one -----

  integer read_registers = 0;
  integer wrong_registers = 0;
  reg [31:0] value;
  reg aw_taken;
  reg w_taken;

  task refuse(input [8*40-1:0] name, input [1:0] response);
    begin
      $display("%0s: the access was answered with %0d", name, response);
      wrong_registers = wrong_registers + 1;
    end
  endtask

  task write(input [8*40-1:0] name, input [11:0] address, input [31:0] data);
    begin
      @(negedge axi_aclk);
      s_axi_awaddr = address;
      s_axi_wdata = data;
      s_axi_wstrb = 4'hf;
      s_axi_awvalid = 1;
      s_axi_wvalid = 1;
      while (s_axi_awvalid || s_axi_wvalid) begin
        @(posedge axi_aclk);
        aw_taken = s_axi_awready;
        w_taken = s_axi_wready;
        @(negedge axi_aclk);
        if (aw_taken) s_axi_awvalid = 0;
        if (w_taken) s_axi_wvalid = 0;
      end
      s_axi_bready = 1;
      @(posedge axi_aclk);
      while (!s_axi_bvalid) @(posedge axi_aclk);
      if (s_axi_bresp !== 2'b00) refuse(name, s_axi_bresp);
      @(negedge axi_aclk);
      s_axi_bready = 0;
    end
  endtask

  task read(input [8*40-1:0] name, input [11:0] address);
    begin
      @(negedge axi_aclk);
      s_axi_araddr = address;
      s_axi_arvalid = 1;
      @(posedge axi_aclk);
      while (!s_axi_arready) @(posedge axi_aclk);
      @(negedge axi_aclk);
      s_axi_arvalid = 0;
      s_axi_rready = 1;
      @(posedge axi_aclk);
      while (!s_axi_rvalid) @(posedge axi_aclk);
      value = s_axi_rdata;
      if (s_axi_rresp !== 2'b00) refuse(name, s_axi_rresp);
      @(negedge axi_aclk);
      s_axi_rready = 0;
    end
  endtask

  task check(input [8*40-1:0] name, input [11:0] address, input [31:0] expected);
    begin
      read(name, address);
      read_registers = read_registers + 1;
      if (value !== expected) begin
        $display("%0s: reads %h, golden has %h", name, value, expected);
        wrong_registers = wrong_registers + 1;
      end
    end
  endtask

  task check_irq(input expected);
    if (irq !== expected) begin
      $display("irq: is %b, golden has %b", irq, expected);
      wrong_registers = wrong_registers + 1;
    end
  endtask

  // --- a run ----------------------------------------------------------------------------------

  initial begin
    repeat (4) @(negedge axi_aclk);
    axi_aresetn = 1;

    // Constants, settings and the start.
@@{before}
    check_irq(0);
@@{writes}

    // The run, and a snapshot of the counters.
    while (received < RESULT_WORDS) @(negedge axi_aclk);
    repeat (@@{settle}) @(negedge axi_aclk);
    check_irq(1);
    @@{snapshot}
    read("status", @@{status});
    while (value[@@{counting}]) read("status", @@{status});

    // States, settings and counters of the work.
@@{after}

    // Counters of time, which pauses change.
    if (!pauses) begin
@@{time_counters}
    end

    // What stays noted is cleared.
@@{clear}
    check_irq(0);

    if (wrong_words + wrong_bursts + wrong_registers == 0) begin
      $display("PASS: %0d words and %0d registers equal golden", received, read_registers);
      $finish;
    end else begin
      $display("FAIL: %0d words and %0d registers differ from golden",
               wrong_words + wrong_bursts, wrong_registers);
      $fatal(1);
    end
  end
endmodule
