// A Verilated design as the clock loops see it: ports by number, one clock, a trace that can be opened at any time.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

struct Port {
    const char* name;
    void* data;      // Verilator keeps every port little-endian in 1, 2, 4, 8 or 4n bytes
    uint32_t width;  // bits

    uint32_t bytes() const { return width <= 8 ? 1 : width <= 16 ? 2 : width <= 32 ? 4 : width <= 64 ? 8 : (width + 31) / 32 * 4; }
};

class Model {
public:
    std::vector<Port> ports;
    int clock = -1, reset = -1;  // indices of ports; -1: the design has none
    uint64_t cycle = 0;          // rising edges since the model was made

    virtual ~Model() = default;
    virtual void eval() = 0;
    virtual void traceOpen(const char* file) = 0;
    virtual void traceClose() = 0;
    virtual void traceDump(uint64_t time) = 0;
    virtual bool finished() const = 0;  // the design called $finish
    virtual uint64_t unitEvaluations() const { return 0; }  // partitioned designs: edges that units took awake

    // The combinational outputs for the inputs as they are now, clock low.
    void settle() {
        if (clock >= 0) bit(clock) = 0;
        eval();
        if (tracing) traceDump(2 * cycle);
    }
    // The rising edge; leaves the clock high until the next settle().
    void edge() {
        if (clock >= 0) {
            bit(clock) = 1;
            eval();
        }
        if (tracing) traceDump(2 * cycle + 1);
        cycle++;
    }
    uint8_t& bit(int port) { return *static_cast<uint8_t*>(ports[port].data); }

    bool tracing = false;
    bool checkUnits = false;  // partitioned designs: verify in each cycle that units' outputs are functions of their state alone
};

// In the generated glue beside the design.
Model* makeModel();

// Thrown by $fatal, by $error beyond its limit, and by a device model's own checks.
struct ModelError : std::runtime_error {
    using std::runtime_error::runtime_error;
};
