// Shell of the device model of one memory channel: calls C++ when a command comes or data is due, and only then.
// The border is hw/dram/dfi.py. FATAL: stop the simulation at the first broken rule.
module dram_device #(
    parameter int CHANNEL = 0,
    parameter string RULES = "",
    parameter int READ_LATENCY = 4,    // from RD to the whole beat
    parameter int WRITE_LATENCY = 2,   // from WR to its beat
    parameter int DATA_BITS = 256,
    parameter int GROUP_BITS = 2,
    parameter int BANK_BITS = 2,
    parameter int ROW_BITS = 14,
    parameter int COLUMN_BITS = 6,
    parameter int ECC = 0,             // check bits are stored and returned
    parameter int FATAL = 1
) (
    input  logic                   clk,
    input  logic                   rst,
    input  logic [2:0]             row_command,
    input  logic [GROUP_BITS-1:0]  row_group,
    input  logic [BANK_BITS-1:0]   row_bank,
    input  logic [ROW_BITS-1:0]    row_row,
    input  logic [1:0]             column_command,
    input  logic [GROUP_BITS-1:0]  column_group,
    input  logic [BANK_BITS-1:0]   column_bank,
    input  logic [COLUMN_BITS-1:0] column_column,
    input  logic [DATA_BITS-1:0]   write_data,
    input  logic [DATA_BITS/8-1:0] write_mask,
    input  logic [DATA_BITS/8-1:0] write_check,
    output logic                   read_valid,
    output logic [DATA_BITS-1:0]   read_data,
    output logic [DATA_BITS/8-1:0] read_check
);
    import "DPI-C" function chandle rdu_dram_open(input int channel, input string rules);
    import "DPI-C" function void rdu_dram_reset(input chandle device);
    import "DPI-C" function int rdu_dram_row(input chandle device, input longint now, input int command, input int group,
                                             input int bank, input int row);
    import "DPI-C" function int rdu_dram_column(input chandle device, input longint now, input int command, input int group,
                                                input int bank, input int column);
    import "DPI-C" function int rdu_dram_check(input chandle device, input longint now);
    import "DPI-C" function void rdu_dram_write(input chandle device, input bit [DATA_BITS-1:0] data, input bit [DATA_BITS/8-1:0] mask);
    import "DPI-C" function void rdu_dram_read(input chandle device, output bit [DATA_BITS-1:0] data);
    import "DPI-C" function void rdu_dram_write_check(input chandle device, input bit [DATA_BITS/8-1:0] check);
    import "DPI-C" function void rdu_dram_read_check(input chandle device, output bit [DATA_BITS/8-1:0] check);
    import "DPI-C" function string rdu_dram_latest(input chandle device);

    chandle device;
    initial device = rdu_dram_open(CHANNEL, RULES);

    longint now;
    logic [WRITE_LATENCY-1:0] write_due;
    logic [READ_LATENCY-2:0]  read_due;

    task automatic judge(input int broken);
        if (broken != 0 && FATAL != 0) $fatal(1, "%s", rdu_dram_latest(device));
    endtask

    always_ff @(posedge clk) begin
        if (rst) begin
            rdu_dram_reset(device);
            now <= 0;
            write_due <= '0;
            read_due <= '0;
            read_valid <= 1'b0;
        end else begin
            bit [DATA_BITS-1:0] beat;
            bit [DATA_BITS/8-1:0] check;
            now <= now + 1;
            write_due <= WRITE_LATENCY'({write_due, column_command == 2'd2});
            read_due <= (READ_LATENCY-1)'({read_due, column_command == 2'd1});
            read_valid <= read_due[READ_LATENCY-2];
            if (read_due[READ_LATENCY-2]) begin
                rdu_dram_read(device, beat);
                read_data <= beat;
                if (ECC != 0) begin
                    rdu_dram_read_check(device, check);
                    read_check <= check;
                end
            end
            if (write_due[WRITE_LATENCY-1]) begin
                rdu_dram_write(device, write_data, write_mask);
                if (ECC != 0) rdu_dram_write_check(device, write_check);
            end
            if (row_command != 0)
                judge(rdu_dram_row(device, now, int'(row_command), int'(row_group), int'(row_bank), int'(row_row)));
            if (column_command != 0)
                judge(rdu_dram_column(device, now, int'(column_command), int'(column_group), int'(column_bank), int'(column_column)));
            if (now[9:0] == '1) judge(rdu_dram_check(device, now));
        end
    end
endmodule
