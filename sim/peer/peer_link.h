// The wire between two sockets of one simulation.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

// A signal of a design; absent optional ones read 0 and ignore writes.
struct Pin {
    void* data = nullptr;
    uint32_t bytes = 0;
    uint64_t get() const {
        uint64_t value = 0;
        if (data) std::memcpy(&value, data, bytes < 8 ? bytes : 8);
        return value;
    }
    void set(uint64_t value) {
        if (data) std::memcpy(data, &value, bytes < 8 ? bytes : 8);
    }
};

// One direction of a link, `cycles` registers long each way: what the sender's peer_tx_* ports hold at an edge is at the receiver's
// peer_rx_* ports `cycles` later, and its credits likewise at the sender. Pins: valid, beat, credit, credit_agcu.
class PeerLink {
public:
    PeerLink(const std::array<Pin, 4>& tx, const std::array<Pin, 4>& rx, int cycles);
    void sample();                         // just before an edge
    void deliver();                        // just after it
    void damage(int bit) { flip = bit; }   // a bit of the next beat that leaves is turned over

private:
    struct Line {
        Pin from, to;
        std::vector<uint8_t> values;       // a ring of `length` values
    };
    std::array<Line, 4> lines;
    int length, at = 0, flip = -1;
};
