// The clock loop of a unit bench and its C interface for Python's ctypes.
#include <chrono>
#include <cstdio>
#include <memory>

#include "stream.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum Status { DONE = 0, LIMIT = 1, AGAIN = 2, BROKEN = 3, STUCK = 4, FINISHED = 5 };

struct Condition {
    int32_t kind;    // 0: transfers of an endpoint; 1: value of a port of up to 64 bits; 2: all sources have sent everything
    int32_t index;
    uint64_t value;
};

struct Bench {
    std::unique_ptr<Model> model;
    std::vector<std::unique_ptr<Endpoint>> endpoints;
    std::string message;
    bool monitor = true;
    bool dirty = true;              // inputs changed since the outputs settled
    uint64_t quiet = 0;             // cycles since anything moved
    uint64_t traceFrom = 0, traceTo = 0;
    std::string traceFile;

    Bench() : model(makeModel()) {}

    void settle() {
        if (dirty) model->settle();
        dirty = false;
    }

    uint64_t load(int port) const {
        uint64_t value = 0;
        const Port& p = model->ports[port];
        std::memcpy(&value, p.data, p.bytes() > 8 ? 8 : p.bytes());
        return value;
    }

    void trace() {
        if (traceFile.empty()) return;
        if (model->cycle >= traceTo) model->traceClose(), traceFile.clear();
        else if (model->cycle >= traceFrom && !model->tracing) model->traceOpen(traceFile.c_str());
    }

    // One clock cycle. Returns false if a rule was broken.
    bool step() {
        trace();
        for (auto& endpoint : endpoints) endpoint->drive();
        model->settle();
        bool moved = false, fine = true;
        for (auto& endpoint : endpoints) {
            std::string broken = endpoint->observe();
            moved |= endpoint->moved;
            if (!broken.empty() && monitor && fine) {
                fine = false;
                message = "cycle " + std::to_string(model->cycle) + ", " + endpoint->name + ": " + broken;
            }
        }
        quiet = moved ? 0 : quiet + 1;
        model->edge();  // outputs are settled again for the inputs as they are
        dirty = false;
        return fine;
    }

    bool met(const Condition* conditions, int count) {
        for (int i = 0; i < count; i++) {
            const Condition& c = conditions[i];
            if (c.kind == 0 && endpoints[c.index]->transfers < c.value) return false;
            if (c.kind == 1) {
                settle();
                if (load(c.index) != c.value) return false;
            }
            if (c.kind == 2)
                for (auto& endpoint : endpoints)
                    if (endpoint->driven && endpoint->input && endpoint->pending()) return false;
        }
        return true;
    }

    std::string states() const {
        std::string text;
        for (auto& endpoint : endpoints)
            if (endpoint->driven || endpoint->transfers) text += "\n  " + endpoint->state();
        return text;
    }

    Status run(uint64_t end, double seconds, uint64_t limit, const Condition* conditions, int count) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
        for (uint64_t n = 1;; n++) {
            if (count && met(conditions, count)) return DONE;
            if (model->cycle >= end) {
                if (count) message = "not finished by cycle " + std::to_string(end) + ":" + states();
                return count ? LIMIT : DONE;
            }
            if (model->finished()) return FINISHED;
            if (!step()) return BROKEN;
            if (limit && quiet >= limit) {
                message = "nothing moved on any stream for " + std::to_string(quiet) + " cycles (cycle " +
                          std::to_string(model->cycle) + "):" + states();
                return STUCK;
            }
            if (n % 64 == 0 && std::chrono::steady_clock::now() > deadline) return AGAIN;
        }
    }
};

// Errors of the model (a $fatal, a device model's check) become a status and a message.
template <typename F> int guarded(Bench* bench, F&& f) {
    int status;
    try {
        status = f();
    } catch (const std::exception& error) {
        bench->message = error.what();
        status = BROKEN;
    }
    std::fflush(stdout);
    return status;
}

}  // namespace

EXPORT Bench* bench_new() { return new Bench; }
EXPORT void bench_delete(Bench* bench) { delete bench; }
EXPORT void* bench_port(Bench* bench, int port) { return bench->model->ports[port].data; }
EXPORT void bench_touch(Bench* bench) { bench->dirty = true; }
EXPORT void bench_monitor(Bench* bench, int on) { bench->monitor = on; }
EXPORT uint64_t bench_cycle(Bench* bench) { return bench->model->cycle; }
EXPORT const char* bench_message(Bench* bench) { return bench->message.c_str(); }
EXPORT int bench_settle(Bench* bench) {
    return guarded(bench, [&] { bench->settle(); return DONE; });
}
EXPORT void bench_stream(Bench* bench, const char* name, int valid, int ready, int payload, int input) {
    bench->endpoints.emplace_back(new Stream(*bench->model, name, valid, ready, payload, input));
}
EXPORT void bench_link(Bench* bench, const char* name, int valid, int label, int payload, int credit, int input, int labels, int depth) {
    bench->endpoints.emplace_back(new Link(*bench->model, name, valid, label, payload, credit, input, labels, depth));
}
EXPORT void bench_attach(Bench* bench, int endpoint, int kind, double probability, const uint8_t* pattern, uint64_t count, uint64_t seed) {
    bench->endpoints[endpoint]->driven = true;
    bench->endpoints[endpoint]->stall.set(kind, probability, pattern, count, seed);
}
EXPORT void bench_feed(Bench* bench, int endpoint, int label, const uint8_t* data, uint64_t count) {
    bench->endpoints[endpoint]->feed(label, data, count);
}
EXPORT uint32_t bench_bytes(Bench* bench, int endpoint) { return bench->endpoints[endpoint]->bytes(); }
EXPORT uint64_t bench_count(Bench* bench, int endpoint) { return bench->endpoints[endpoint]->count(); }
EXPORT uint64_t bench_transfers(Bench* bench, int endpoint) { return bench->endpoints[endpoint]->transfers; }
EXPORT uint64_t bench_pending(Bench* bench, int endpoint) { return bench->endpoints[endpoint]->pending(); }
EXPORT const uint8_t* bench_payloads(Bench* bench, int endpoint) { return bench->endpoints[endpoint]->payloads(); }
EXPORT const uint64_t* bench_cycles(Bench* bench, int endpoint) { return bench->endpoints[endpoint]->cycles(); }
EXPORT const uint32_t* bench_labels(Bench* bench, int endpoint) { return bench->endpoints[endpoint]->labels(); }
EXPORT int bench_run(Bench* bench, uint64_t end, double seconds, uint64_t limit, const Condition* conditions, int count) {
    return guarded(bench, [&] { return bench->run(end, seconds, limit, conditions, count); });
}
EXPORT int bench_reset(Bench* bench) {
    return guarded(bench, [&] {
        for (auto& endpoint : bench->endpoints) endpoint->clear();
        const bool monitor = bench->monitor;
        bench->monitor = false;
        if (bench->model->reset >= 0) {
            bench->model->bit(bench->model->reset) = 1;
            bench->step();
            bench->model->bit(bench->model->reset) = 0;
        }
        for (auto& endpoint : bench->endpoints) endpoint->clear();
        bench->monitor = monitor;
        bench->quiet = 0;
        bench->dirty = true;
        return DONE;
    });
}
// The file is opened in cycle `from` and closed in cycle `to`.
EXPORT void bench_trace(Bench* bench, const char* file, uint64_t from, uint64_t to) {
    bench->traceFile = file;
    bench->traceFrom = from;
    bench->traceTo = to;
}
EXPORT void bench_trace_close(Bench* bench) {
    bench->model->traceClose();
    bench->traceFile.clear();
}
