// The clock loop of a whole device: AXI4-Lite and AXI4 masters, run until interrupt. C interface for Python's ctypes.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../peer/peer_link.h"
#include "model.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum Status { DONE = 0, LIMIT = 1, AGAIN = 2, BROKEN = 3, FINISHED = 5 };

constexpr int OUTSTANDING = 4;    // bursts that a transfer may have in flight
constexpr int BURST_BEATS = 64;

struct Host;

// What several sockets share: all of them take every edge.
struct Clock {
    std::vector<Host*> sockets;
    std::vector<std::unique_ptr<PeerLink>> links;
    void settle();
    void edge();
};

struct Host {
    std::unique_ptr<Model> model{makeModel()};
    std::shared_ptr<Clock> clock{new Clock};
    std::map<std::string, Pin> pins;
    std::map<int, PeerLink*> sending;
    std::string message;
    uint64_t timeout = 100000;  // cycles for one bus transaction
    uint64_t traceFrom = 0, traceTo = 0;
    std::string traceFile;
    Pin irq;
    uint32_t beatBytes = 0;

    // `beside`: another socket of the same clock.
    explicit Host(Host* beside = nullptr) {
        if (beside) clock = beside->clock, model->cycle = beside->model->cycle;
        clock->sockets.push_back(this);
        for (const Port& port : model->ports) pins[port.name] = {port.data, port.bytes()};
        irq = pin("irq");
        beatBytes = pins.count("s_axi_wstrb") ? width("s_axi_wdata") / 8 : 0;
    }
    ~Host() {
        clock->links.clear();
        for (Host* socket : clock->sockets) socket->sending.clear();
        clock->sockets.erase(std::find(clock->sockets.begin(), clock->sockets.end(), this));
    }
    Pin pin(const std::string& name) { return pins.count(name) ? pins[name] : Pin{}; }
    std::array<Pin, 4> peer(const std::string& direction, int number) {
        const std::string prefix = "peer_" + direction + "_" + std::to_string(number) + "_";
        return {pin(prefix + "valid"), pin(prefix + "beat"), pin(prefix + "credit"), pin(prefix + "credit_agcu")};
    }
    uint32_t width(const std::string& name) const {
        for (const Port& port : model->ports)
            if (port.name == name) return port.width;
        return 0;
    }

    void settleAlone() {
        if (!traceFile.empty()) {
            if (model->cycle >= traceTo) model->traceClose(), traceFile.clear();
            else if (model->cycle >= traceFrom && !model->tracing) model->traceOpen(traceFile.c_str());
        }
        model->settle();
    }
    void settle() { clock->settle(); }
    void edge() { clock->edge(); }
    void step() {
        settle();
        edge();
    }
    // Of all sockets of the clock.
    void reset(int cycles) {
        if (model->reset < 0) return;
        for (Host* socket : clock->sockets) socket->model->bit(model->reset) = 1;
        for (int i = 0; i < cycles; i++) step();
        for (Host* socket : clock->sockets) socket->model->bit(model->reset) = 0;
    }

    [[noreturn]] void hang(const char* what, uint64_t address) {
        char text[160];
        std::snprintf(text, sizeof text, "%s at address 0x%llx was not answered within %llu cycles", what,
                      static_cast<unsigned long long>(address), static_cast<unsigned long long>(timeout));
        throw ModelError(text);
    }
    [[noreturn]] void refused(const char* what, uint64_t address, uint64_t response) {
        char text[160];
        std::snprintf(text, sizeof text, "bus error: %s at address 0x%llx answered %s", what,
                      static_cast<unsigned long long>(address), response == 3 ? "DECERR" : response == 2 ? "SLVERR" : "EXOKAY");
        throw ModelError(text);
    }

    void registerWrite(uint32_t address, uint32_t value) {
        Pin awvalid = pin("s_axil_awvalid"), wvalid = pin("s_axil_wvalid"), bready = pin("s_axil_bready");
        pin("s_axil_awaddr").set(address);
        pin("s_axil_wdata").set(value);
        pin("s_axil_wstrb").set(15);
        awvalid.set(1), wvalid.set(1), bready.set(1);
        const uint64_t limit = model->cycle + timeout;
        for (bool done = false; !done;) {
            if (model->cycle >= limit) awvalid.set(0), wvalid.set(0), bready.set(0), hang("register write", address);
            settle();
            const bool aw = pin("s_axil_awready").get(), w = pin("s_axil_wready").get();
            const uint64_t response = pin("s_axil_bresp").get();
            done = pin("s_axil_bvalid").get();
            edge();
            if (aw) awvalid.set(0);
            if (w) wvalid.set(0);
            if (done) {
                bready.set(0);
                if (response) refused("register write", address, response);
            }
        }
    }

    uint32_t registerRead(uint32_t address) {
        Pin arvalid = pin("s_axil_arvalid"), rready = pin("s_axil_rready");
        pin("s_axil_araddr").set(address);
        arvalid.set(1), rready.set(1);
        const uint64_t limit = model->cycle + timeout;
        while (true) {
            if (model->cycle >= limit) arvalid.set(0), rready.set(0), hang("register read", address);
            settle();
            const bool ar = pin("s_axil_arready").get(), done = pin("s_axil_rvalid").get();
            const uint64_t response = pin("s_axil_rresp").get();
            const uint32_t value = static_cast<uint32_t>(pin("s_axil_rdata").get());
            edge();
            if (ar) arvalid.set(0);
            if (done) {
                rready.set(0);
                if (response) refused("register read", address, response);
                return value;
            }
        }
    }

    // Beats of the burst that begins at beat address `beat`: it ends with the transfer, and never crosses 4 KiB.
    int burst(uint64_t beat, uint64_t end) const {
        const uint64_t page = 4096 / beatBytes, room = page - beat % page;
        const uint64_t left = end - beat;
        return static_cast<int>(std::min<uint64_t>({left, room, BURST_BEATS}));
    }
    uint32_t log2Beat() const { return static_cast<uint32_t>(__builtin_ctz(beatBytes)); }

    void memoryWrite(uint64_t address, const uint8_t* bytes, uint64_t length) {
        Pin awvalid = pin("s_axi_awvalid"), wvalid = pin("s_axi_wvalid"), bready = pin("s_axi_bready"), wlast = pin("s_axi_wlast");
        Pin wdata = pin("s_axi_wdata"), wstrb = pin("s_axi_wstrb"), awready = pin("s_axi_awready"), wready = pin("s_axi_wready");
        Pin bvalid = pin("s_axi_bvalid"), bresp = pin("s_axi_bresp");
        const uint64_t end = (address + length + beatBytes - 1) / beatBytes;
        uint64_t nextAddress = address / beatBytes, nextData = nextAddress, burstEnd = nextAddress;  // in beats
        uint64_t asked = 0, answered = 0, worst = 0, quiet = 0;
        bool addressOut = false, dataOut = false;
        pin("s_axi_awid").set(0), pin("s_axi_awsize").set(log2Beat()), pin("s_axi_awburst").set(1);
        bready.set(1);
        while (nextAddress < end || nextData < end || answered < asked) {
            if (!addressOut && nextAddress < end && asked - answered < OUTSTANDING) {
                pin("s_axi_awaddr").set(nextAddress * beatBytes);
                pin("s_axi_awlen").set(burst(nextAddress, end) - 1);
                awvalid.set(1), addressOut = true;
            }
            if (!dataOut && nextData < end && nextData < nextAddress + (addressOut ? burst(nextAddress, end) : 0)) {
                if (nextData == burstEnd) burstEnd = nextData + burst(nextData, end);
                std::memset(wdata.data, 0, wdata.bytes);
                uint64_t strobes = 0;
                for (uint32_t i = 0; i < beatBytes; i++) {
                    const uint64_t at = nextData * beatBytes + i;
                    if (at < address || at >= address + length) continue;
                    static_cast<uint8_t*>(wdata.data)[i] = bytes[at - address];
                    if (i < 64) strobes |= 1ull << i;
                    static_cast<uint8_t*>(wstrb.data)[i / 8] |= 1 << i % 8;
                }
                if (beatBytes <= 64) wstrb.set(strobes);
                wlast.set(nextData + 1 == burstEnd);
                wvalid.set(1), dataOut = true;
            }
            settle();
            const bool aw = addressOut && awready.get(), w = dataOut && wready.get(), b = bvalid.get();
            if (b && bresp.get() > worst) worst = bresp.get();
            edge();
            if (aw) nextAddress += burst(nextAddress, end), asked++, addressOut = false, awvalid.set(0);
            if (w) nextData++, dataOut = false, wvalid.set(0), std::memset(wstrb.data, 0, wstrb.bytes);
            answered += b;
            quiet = aw || w || b ? 0 : quiet + 1;
            if (quiet > timeout) awvalid.set(0), wvalid.set(0), bready.set(0), hang("memory write", nextData * beatBytes);
        }
        bready.set(0);
        if (worst) refused("memory write", address, worst);
    }

    void memoryRead(uint64_t address, uint8_t* bytes, uint64_t length) {
        Pin arvalid = pin("s_axi_arvalid"), rready = pin("s_axi_rready"), arready = pin("s_axi_arready"), rvalid = pin("s_axi_rvalid");
        Pin rdata = pin("s_axi_rdata"), rresp = pin("s_axi_rresp"), rlast = pin("s_axi_rlast");
        const uint64_t end = (address + length + beatBytes - 1) / beatBytes;
        uint64_t nextAddress = address / beatBytes, nextData = nextAddress, worst = 0, quiet = 0;
        int open = 0;
        bool addressOut = false;
        pin("s_axi_arid").set(0), pin("s_axi_arsize").set(log2Beat()), pin("s_axi_arburst").set(1);
        rready.set(1);
        while (nextData < end) {
            if (!addressOut && nextAddress < end && open < OUTSTANDING) {
                pin("s_axi_araddr").set(nextAddress * beatBytes);
                pin("s_axi_arlen").set(burst(nextAddress, end) - 1);
                arvalid.set(1), addressOut = true;
            }
            settle();
            const bool ar = addressOut && arready.get(), r = rvalid.get();
            if (r) {
                if (rresp.get() > worst) worst = rresp.get();
                const uint64_t from = std::max(address, nextData * beatBytes);
                const uint64_t to = std::min(address + length, (nextData + 1) * beatBytes);
                std::memcpy(bytes + (from - address), static_cast<uint8_t*>(rdata.data) + from % beatBytes, to - from);
                nextData++;
                open -= static_cast<int>(rlast.get());
            }
            edge();
            if (ar) nextAddress += burst(nextAddress, end), open++, addressOut = false, arvalid.set(0);
            quiet = ar || r ? 0 : quiet + 1;
            if (quiet > timeout) arvalid.set(0), rready.set(0), hang("memory read", nextData * beatBytes);
        }
        rready.set(0);
        if (worst) refused("memory read", address, worst);
    }

    Status run(uint64_t end, double seconds, bool untilInterrupt) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
        for (uint64_t n = 1;; n++) {
            if (untilInterrupt && irq.get()) return DONE;
            if (model->cycle >= end) return untilInterrupt ? LIMIT : DONE;
            if (model->finished()) return FINISHED;
            step();
            if (n % 64 == 0 && std::chrono::steady_clock::now() > deadline) return AGAIN;
        }
    }
};

void Clock::settle() {
    for (Host* socket : sockets) socket->settleAlone();
}

void Clock::edge() {
    for (auto& link : links) link->sample();
    for (Host* socket : sockets) socket->model->edge();
    for (auto& link : links) link->deliver();
}

template <typename F> int guarded(Host* host, F&& f) {
    int status;
    try {
        status = f();
    } catch (const std::exception& error) {
        host->message = error.what();
        status = BROKEN;
    }
    std::fflush(stdout);
    return status;
}

}  // namespace

EXPORT Host* host_new() { return new Host; }
// Another socket with the same clock. All of them are to be deleted; links end with the first.
EXPORT Host* host_beside(Host* host) { return new Host(host); }
// Link `tx` of one socket to link `rx` of the other, this direction only.
EXPORT int host_link(Host* from, int tx, Host* to, int rx, int cycles) {
    return guarded(from, [&] {
        from->clock->links.emplace_back(new PeerLink(from->peer("tx", tx), to->peer("rx", rx), cycles));
        from->sending[tx] = from->clock->links.back().get();
        return DONE;
    });
}
// Flips a bit of the next beat that leaves over a link.
EXPORT int host_damage(Host* from, int tx, int bit) {
    return guarded(from, [&] { from->sending.at(tx)->damage(bit); return DONE; });
}
EXPORT void host_delete(Host* host) { delete host; }
EXPORT const char* host_message(Host* host) { return host->message.c_str(); }
EXPORT uint64_t host_cycle(Host* host) { return host->model->cycle; }
EXPORT uint64_t host_unit_evaluations(Host* host) { return host->model->unitEvaluations(); }
EXPORT void host_timeout(Host* host, uint64_t cycles) { host->timeout = cycles; }
EXPORT void host_check_units(Host* host, int on) { host->model->checkUnits = on; }
EXPORT void* host_port(Host* host, int port) { return host->model->ports[port].data; }
EXPORT int host_reset(Host* host, int cycles) {
    return guarded(host, [&] { host->reset(cycles); return DONE; });
}
EXPORT int host_settle(Host* host) {
    return guarded(host, [&] { host->settle(); return DONE; });
}
EXPORT int host_register_write(Host* host, uint32_t address, uint32_t value) {
    return guarded(host, [&] { host->registerWrite(address, value); return DONE; });
}
EXPORT int host_register_read(Host* host, uint32_t address, uint32_t* value) {
    return guarded(host, [&] { *value = host->registerRead(address); return DONE; });
}
EXPORT int host_memory_write(Host* host, uint64_t address, const uint8_t* bytes, uint64_t length) {
    return guarded(host, [&] { host->memoryWrite(address, bytes, length); return DONE; });
}
EXPORT int host_memory_read(Host* host, uint64_t address, uint8_t* bytes, uint64_t length) {
    return guarded(host, [&] { host->memoryRead(address, bytes, length); return DONE; });
}
EXPORT int host_run(Host* host, uint64_t end, double seconds, int untilInterrupt) {
    return guarded(host, [&] { return host->run(end, seconds, untilInterrupt); });
}
// The file is opened in cycle `from` and closed in cycle `to`.
EXPORT void host_trace(Host* host, const char* file, uint64_t from, uint64_t to) {
    host->traceFile = file, host->traceFrom = from, host->traceTo = to;
}
EXPORT void host_trace_close(Host* host) {
    host->model->traceClose();
    host->traceFile.clear();
}
