// Sources and sinks of streams and links, and the monitor that every stream has in every bench.
#pragma once
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "model.h"

// Says in which cycles a driver holds back. A probability draws from its own generator; a pattern repeats.
class Stall {
public:
    enum Kind { NEVER = 0, PROBABILITY = 1, PATTERN = 2, AFTER_VALID = 3 };
    void set(int kind_, double probability, const uint8_t* bits, uint64_t count, uint64_t seed) {
        kind = kind_;
        threshold = static_cast<uint64_t>(probability * 4294967296.0);
        pattern.assign(bits, bits + count);
        position = 0;
        state = seed * 0x9E3779B97F4A7C15ull + 0x2545F4914F6CDD1Dull;
    }
    bool next(bool seen) {
        switch (kind) {
        case PROBABILITY:
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            return (state * 0x2545F4914F6CDD1Dull >> 32) < threshold;
        case PATTERN: return pattern[position++ % pattern.size()];
        case AFTER_VALID: return !seen;
        default: return false;
        }
    }

private:
    int kind = NEVER;
    uint64_t threshold = 0, position = 0, state = 1;
    std::vector<uint8_t> pattern;
};

// One endpoint of the design. Each cycle: drive() before the inputs settle, observe() after.
class Endpoint {
public:
    std::string name;
    bool input;               // data goes into the design
    bool driven = false;      // a source or sink is attached
    uint64_t transfers = 0;   // since the bench was made or reset
    bool moved = false;       // in this cycle
    Stall stall;

    Endpoint(Model& model, const char* name, int valid, int payload, bool input)
        : name(name), input(input), model(model), valid(valid), payload(payload),
          size(payload < 0 ? 0 : model.ports[payload].bytes()) {}
    virtual ~Endpoint() = default;
    virtual void drive() = 0;
    virtual std::string observe() = 0;  // empty, or the broken rule
    virtual void feed(int label, const uint8_t* data, uint64_t count) = 0;
    virtual uint64_t pending() const = 0;
    virtual std::string state() const = 0;
    virtual void clear() = 0;

    uint64_t count() const { return stamps.size(); }
    uint32_t bytes() const { return size; }
    const uint8_t* payloads() const { return taken.data(); }
    const uint64_t* cycles() const { return stamps.data(); }
    const uint32_t* labels() const { return marks.data(); }

protected:
    bool get(int port) const { return port < 0 || model.bit(port); }
    void put(int port, bool value) {
        if (port >= 0) model.bit(port) = value;
    }
    uint8_t* bits() { return static_cast<uint8_t*>(model.ports[payload].data); }
    void record(uint32_t label) {
        if (size) taken.insert(taken.end(), bits(), bits() + size);
        stamps.push_back(model.cycle);
        marks.push_back(label);
    }

    Model& model;
    int valid, payload;
    uint32_t size;
    std::vector<uint8_t> taken;
    std::vector<uint64_t> stamps;
    std::vector<uint32_t> marks;
};

// valid / ready / payload.
class Stream final : public Endpoint {
public:
    Stream(Model& model, const char* name, int valid, int ready, int payload, bool input)
        : Endpoint(model, name, valid, payload, input), ready(ready), held(size) {}

    void drive() override {
        if (!driven) return;
        if (!input) {
            put(ready, !stall.next(wasValid));
            return;
        }
        if (!offering && sent < queued() && !stall.next(true)) {
            offering = true;
            if (size) std::memcpy(bits(), queue.data() + sent * size, size);
        }
        put(valid, offering);
    }

    std::string observe() override {
        const bool v = get(valid), r = get(ready);
        std::string broken;
        if (waiting && !v) broken = "valid dropped before ready came";
        else if (waiting && size && std::memcmp(held.data(), bits(), size)) broken = "payload changed while valid and not ready";
        waiting = v && !r;
        if (waiting && size) std::memcpy(held.data(), bits(), size);
        moved = v && r;
        wasValid = v;
        if (moved) {
            transfers++;
            if (driven) {
                if (input) sent++, offering = false, stamps.push_back(model.cycle);
                else record(0);
            }
        }
        return broken;
    }

    void feed(int, const uint8_t* data, uint64_t number) override {
        queue.insert(queue.end(), data, data + number * size);
        total += number;
    }
    uint64_t pending() const override { return total - sent; }
    std::string state() const override {
        std::string text = name + ": " + (get(valid) ? "valid" : "not valid") + (get(ready) ? ", ready, " : ", not ready, ");
        if (input && driven) return text + std::to_string(sent) + " of " + std::to_string(total) + " sent";
        return text + std::to_string(transfers) + " transferred";
    }
    void clear() override {
        queue.clear(), taken.clear(), stamps.clear(), marks.clear();
        total = sent = transfers = 0;
        offering = waiting = wasValid = driven = false;
    }

private:
    uint64_t queued() const { return total; }

    int ready;
    bool offering = false, waiting = false, wasValid = false;
    uint64_t total = 0, sent = 0;
    std::vector<uint8_t> queue, held;
};

// valid / label / payload with one credit wire per label (hw.rdn.link.Link).
class Link final : public Endpoint {
public:
    Link(Model& model, const char* name, int valid, int label, int payload, int credit, bool input, int labels, int depth)
        : Endpoint(model, name, valid, payload, input), label(label), credit(credit), depth(depth), queues(labels),
          credits(labels, depth), kept(labels, 0) {}

    void drive() override {
        if (!driven) return;
        const int labels = static_cast<int>(queues.size());
        if (!input) {
            uint32_t back = 0;
            for (int l = 0; l < labels; l++)
                if (kept[l] && !stall.next(true)) kept[l]--, back |= 1u << l;
            store(credit, back);
            return;
        }
        put(valid, false);
        if (stall.next(true)) return;
        for (int step = 1; step <= labels; step++) {
            const int l = (last + step) % labels;
            if (queues[l].empty() || !credits[l]) continue;
            last = l;
            put(valid, true);
            store(label, l);
            if (size) std::memcpy(bits(), queues[l].front().data(), size);
            queues[l].pop_front();
            break;
        }
    }

    std::string observe() override {
        std::string broken;
        const uint32_t back = load(credit);
        const uint32_t l = load(label);
        // A sender may use a credit in the cycle in which it comes back.
        for (size_t i = 0; i < credits.size(); i++) credits[i] += back >> i & 1;
        moved = get(valid);
        if (moved) {
            transfers++;
            if (l >= queues.size()) return "label " + std::to_string(l) + " does not exist";
            if (credits[l] == 0) return "packet of label " + std::to_string(l) + " sent without a credit";
            credits[l]--;
            if (driven) {
                if (input) stamps.push_back(model.cycle), marks.push_back(l);
                else kept[l]++, record(l);
            }
        }
        for (size_t i = 0; i < credits.size(); i++)
            if (credits[i] > depth) {
                broken = "credit of label " + std::to_string(i) + " returned beyond the buffer's depth of " + std::to_string(depth);
                credits[i] = depth;
            }
        return broken;
    }

    void feed(int l, const uint8_t* data, uint64_t number) override {
        for (uint64_t i = 0; i < number; i++) queues[l].emplace_back(data + i * size, data + (i + 1) * size);
    }
    uint64_t pending() const override {
        uint64_t sum = 0;
        for (auto& queue : queues) sum += queue.size();
        return sum;
    }
    std::string state() const override {
        std::string text = name + ": " + std::to_string(transfers) + " transferred, " + std::to_string(pending()) + " pending, credits";
        for (int c : credits) text += " " + std::to_string(c);
        return text;
    }
    void clear() override {
        for (auto& queue : queues) queue.clear();
        credits.assign(credits.size(), depth);
        kept.assign(kept.size(), 0);
        taken.clear(), stamps.clear(), marks.clear();
        transfers = 0, driven = false;
    }

private:
    uint32_t load(int port) const {
        uint32_t value = 0;
        if (port >= 0) std::memcpy(&value, model.ports[port].data, model.ports[port].bytes());
        return value;
    }
    void store(int port, uint32_t value) {
        if (port >= 0) std::memcpy(model.ports[port].data, &value, model.ports[port].bytes());
    }

    int label, credit, depth, last = 0;
    std::vector<std::deque<std::vector<uint8_t>>> queues;
    std::vector<int> credits, kept;
};
