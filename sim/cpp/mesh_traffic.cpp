// A mesh of switch nodes under traffic: sources with endless queues, sinks that take everything, and a check of every packet.
// Each node is an object of one Verilated class; the links between them are copied here after every clock edge, which is exact
// because everything on a link depends on registers only.
#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "model.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum Pattern { UNIFORM, TRANSPOSE, COMPLEMENT, NEIGHBOUR, HOTSPOT };

struct Settings {
    int32_t rows, columns, pattern, labelBits, portBits, coordinateBits, exitPort, sequenceBits;
    double rate, hotShare;                     // packets per node and cycle; share that goes to the hot node
    uint64_t warm, measured, drain, seed;
};

struct Result {
    double accepted, meanLatency;              // packets per node and cycle; cycles, of the packets born while measuring
    uint64_t delivered, born, undelivered, worstLatency, fewest, most;    // the last two: taken from one node while measuring
};

struct Packet {
    int source, destination;
    uint64_t born, number;
};

struct Traffic {
    struct Ports {                             // numbers of a node's ports
        int32_t sourceValid, sourceReady, sourcePayload, sinkValid, sinkReady, sinkPayload, position, sender;
        int32_t into[4][4], out[4][4];         // north to west: valid, label, payload, credit
    };
    std::vector<std::unique_ptr<Model>> nodes;
    std::vector<std::array<void*, 3>> wires;   // from, to, bytes
    Ports ports;
    std::string message;
    uint64_t state = 1;

    void wire(int from, int fromPort, int to, int toPort) {
        const Port& port = nodes[from]->ports[fromPort];
        wires.push_back({port.data, nodes[to]->ports[toPort].data, reinterpret_cast<void*>(size_t(port.bytes()))});
    }
    void join(int from, int side, int to) {    // all that goes from node `from` over its side to node `to`, and the credits back
        const int back = (side + 2) % 4;
        for (int part = 0; part < 3; part++) wire(from, ports.out[side][part], to, ports.into[back][part]);
        wire(to, ports.into[back][3], from, ports.out[side][3]);
    }
    void build(int rows, int columns, int coordinateBits, const uint8_t* program, int programBytes) {
        nodes.clear(), wires.clear();
        for (int n = 0; n < rows * columns; n++) {
            nodes.emplace_back(makeModel());
            Model& node = *nodes[n];
            const uint32_t position = n / columns | n % columns << coordinateBits;
            std::memcpy(node.ports[ports.position].data, &position, node.ports[ports.position].bytes());
            std::memcpy(node.ports[ports.sender].data, program, programBytes);
            node.bit(ports.sinkReady) = 1;
        }
        for (int n = 0; n < rows * columns; n++) {
            if (n % columns + 1 < columns) join(n, 1, n + 1), join(n + 1, 3, n);
            if (n / columns + 1 < rows) join(n, 2, n + columns), join(n + columns, 0, n);
        }
    }
    void edge() {
        for (auto& node : nodes) node->edge();
        for (auto& wire : wires) std::memcpy(wire[1], wire[0], reinterpret_cast<size_t>(wire[2]));
    }
    void settle() {
        for (auto& node : nodes) node->settle();
    }

    uint64_t draw() {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return state * 0x2545F4914F6CDD1Dull >> 32;
    }
    int target(const Settings& s, int node) {
        const int row = node / s.columns, column = node % s.columns, count = s.rows * s.columns;
        switch (s.pattern) {
        case TRANSPOSE: return column * s.columns + row;
        case COMPLEMENT: return count - 1 - node;
        case NEIGHBOUR: return (row + 1) % s.rows * s.columns + (column + 1) % s.columns;
        case HOTSPOT:
            if (draw() < s.hotShare * 4294967296.0) return s.rows / 2 * s.columns + s.columns / 2;
            [[fallthrough]];
        default: return draw() % count;
        }
    }

    // Returns the broken rule, or nothing.
    std::string run(const Settings& s, Result& result) {
        const int count = s.rows * s.columns, shift = s.labelBits + s.portBits + 2 * s.coordinateBits;
        const uint32_t most = (1u << (32 - shift)) - 1;
        std::vector<std::deque<Packet>> queues(count);
        std::vector<Packet> flying(most + 1ull);
        std::vector<uint32_t> unused;
        std::vector<uint64_t> next(count * count), expected(count * count), taken(count);
        std::vector<int64_t> offered(count, -1);
        for (uint32_t id = 0; id <= most; id++) unused.push_back(most - id);
        state = s.seed * 0x9E3779B97F4A7C15ull + 0x2545F4914F6CDD1Dull;
        for (auto& node : nodes) node->bit(node->reset) = 1;
        settle(), edge();
        for (auto& node : nodes) node->bit(node->reset) = 0;
        double latencies = 0;
        uint64_t arrived = 0, left = 0;
        result = {};
        const uint64_t end = s.warm + s.measured;
        for (uint64_t t = 0; t < end || (left && t < end + s.drain); t++) {
            const bool measuring = t >= s.warm && t < end;
            for (int n = 0; n < count; n++) {
                if (draw() < s.rate * 4294967296.0) {
                    const int to = target(s, n);
                    queues[n].push_back({n, to, t, next[n * count + to]++});
                    if (measuring) result.born++, left++;
                }
                if (offered[n] < 0 && !queues[n].empty() && !unused.empty()) {
                    const Packet& p = queues[n].front();
                    offered[n] = unused.back(), unused.pop_back();
                    flying[offered[n]] = p;
                    const uint64_t to = s.exitPort << s.labelBits | uint64_t(p.destination / s.columns) << (s.labelBits + s.portBits) |
                                        uint64_t(p.destination % s.columns) << (s.labelBits + s.portBits + s.coordinateBits);
                    const uint32_t word = static_cast<uint32_t>(offered[n]) << shift | static_cast<uint32_t>(to);
                    std::memcpy(nodes[n]->ports[ports.sourcePayload].data, &word, 4);
                    queues[n].pop_front();
                }
                nodes[n]->bit(ports.sourceValid) = offered[n] >= 0;
            }
            settle();
            for (int n = 0; n < count; n++) {
                if (offered[n] >= 0 && nodes[n]->bit(ports.sourceReady)) offered[n] = -1;
                if (!nodes[n]->bit(ports.sinkValid)) continue;
                uint32_t word;
                std::memcpy(&word, nodes[n]->ports[ports.sinkPayload].data, 4);
                const Packet& p = flying[word >> shift];
                const std::string name = "cycle " + std::to_string(t) + ", node " + std::to_string(n) + ": packet " +
                    std::to_string(p.number) + " from node " + std::to_string(p.source) + " to node " + std::to_string(p.destination);
                if (p.destination != n) return name + " came to the wrong node";
                if (p.number != expected[p.source * count + n]++) return name + " is out of order, lost or came twice";
                if (measuring) arrived++, taken[p.source]++;
                if (p.born >= s.warm && p.born < end) {
                    latencies += t - p.born;
                    result.worstLatency = std::max(result.worstLatency, t - p.born);
                    result.delivered++, left--;
                }
                unused.push_back(word >> shift);
            }
            edge();
        }
        result.accepted = double(arrived) / s.measured / count;
        result.meanLatency = result.delivered ? latencies / result.delivered : 0;
        result.undelivered = left;
        result.fewest = *std::min_element(taken.begin(), taken.end()), result.most = *std::max_element(taken.begin(), taken.end());
        return "";
    }
};

}  // namespace

EXPORT Traffic* traffic_new(const Traffic::Ports* ports) {
    auto* traffic = new Traffic;
    traffic->ports = *ports;
    return traffic;
}
EXPORT void traffic_delete(Traffic* traffic) { delete traffic; }
EXPORT const char* traffic_message(Traffic* traffic) { return traffic->message.c_str(); }
EXPORT void traffic_build(Traffic* traffic, int rows, int columns, int coordinateBits, const uint8_t* program, int programBytes) {
    traffic->build(rows, columns, coordinateBits, program, programBytes);
}
EXPORT int traffic_run(Traffic* traffic, const Settings* settings, Result* result) {
    try {
        traffic->message = traffic->run(*settings, *result);
    } catch (const std::exception& error) {
        traffic->message = error.what();
    }
    return traffic->message.empty();
}
