  // --- memory: bursts are answered in order, LATENCY cycles later ----------------------------

  localparam BURSTS = @@{bursts};
  localparam BEATS = @@{beats};
  localparam LATENCY = @@{latency};

  reg [@@{burst_bits}-1:0] bursts [0:BURSTS-1];  // length above the address
  reg [@@{beat_bits}-1:0] beats [0:BEATS-1];  // RLAST and RRESP above the data
  integer due [0:BURSTS-1];
  integer asked = 0;
  integer answered = 0;
  integer given = 0;

  // What such a memory does not heed.
  wire unused = &{m_axi_arid, m_axi_arlock, m_axi_arcache, m_axi_arprot};

  initial begin
    $readmemh("@@{top}_bursts.hex", bursts);
    $readmemh("@@{top}_memory.hex", beats);
  end

  always @(posedge axi_aclk) begin
    m_axi_arready <= !(pauses && ^dice[23:8]);
    if (axi_aresetn && m_axi_arvalid && m_axi_arready) begin
      asked <= asked + 1;
      due[asked] <= cycles + LATENCY - 1;
      if (asked >= BURSTS || {m_axi_arlen, m_axi_araddr} !== bursts[asked]
          || m_axi_arburst !== 2'b01 || m_axi_arsize !== 3'd@@{size}) begin
        wrong_bursts <= wrong_bursts + 1;
        if (wrong_bursts < SHOWN)
          $display("burst %0d: length and address are %h, golden has %h",
                   asked, {m_axi_arlen, m_axi_araddr}, bursts[asked]);
      end
    end
  end

  always @(posedge axi_aclk)
    if (axi_aresetn && (!m_axi_rvalid || m_axi_rready)) begin
      m_axi_rvalid <= 0;
      if (answered < asked && cycles >= due[answered] && !(pauses && ^dice[19:4])) begin
        m_axi_rvalid <= 1;
        {m_axi_rlast, m_axi_rresp, m_axi_rdata} <= beats[given];
        given <= given + 1;
        if (beats[given][@@{beat_bits}-1]) answered <= answered + 1;
      end
    end

