// A memory with random delays, in any order; what it does is in random_memory.cpp.
module random_memory #(parameter BYTES = 32, ADDRESS_BITS = 42, TAG_BITS = 6) (
    input clk, rst, input [7:0] number,
    input request_valid, output reg request_ready, input [ADDRESS_BITS-1:0] request_address, input request_write,
    input [TAG_BITS-1:0] request_tag, input [BYTES-1:0] request_mask, input [8*BYTES-1:0] request_data,
    output reg response_valid, input response_ready, output reg [TAG_BITS-1:0] response_tag, output reg [2:0] response_status,
    output reg response_write, output reg [8*BYTES-1:0] response_data
);
    import "DPI-C" function void random_memory_step(
        input int number, input int bytes, input bit accepted, input longint address, input bit write, input int tag,
        input bit [31:0] mask, input bit [255:0] data, input bit taken, output bit ready, output bit valid, output int answer_tag,
        output int answer_status, output bit answer_write, output bit [255:0] answer_data);

    bit ready, valid, answer_write;
    int answer_tag, answer_status;
    bit [255:0] answer_data;

    always @(posedge clk)
        if (rst) begin
            request_ready <= 0;
            response_valid <= 0;
        end else begin
            random_memory_step(32'(number), BYTES, request_valid & request_ready, 64'(request_address), request_write, 32'(request_tag),
                               32'(request_mask), 256'(request_data), response_valid & response_ready, ready, valid, answer_tag,
                               answer_status, answer_write, answer_data);
            request_ready <= ready;
            response_valid <= valid;
            response_tag <= answer_tag[TAG_BITS-1:0];
            response_status <= answer_status[2:0];
            response_write <= answer_write;
            response_data <= answer_data[8*BYTES-1:0];
        end
endmodule
