// Included by the glue of a partitioned design: what does not depend on its units.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "traced.h"

// Where the bytes of a Verilated class lie that tell whether an edge has changed it: all but its large memories. To leave
// those out is exact: with everything else and the inputs unchanged, the next edge writes to the same place the same data.
struct State {
    struct Range {
        size_t offset, size;
    };
    std::vector<Range> ranges;

    size_t size;

    State(size_t size, std::vector<Range> memories) : size(size) {
        std::sort(memories.begin(), memories.end(), [](const Range& a, const Range& b) { return a.offset < b.offset; });
        size_t begin = 0;
        for (const Range& memory : memories) {
            if (memory.size <= LARGE_MEMORY) continue;
            ranges.push_back({begin, memory.offset - begin});
            begin = memory.offset + memory.size;
        }
        ranges.push_back({begin, size - begin});
    }
    void save(const void* object, std::vector<char>& copy) const {
        copy.clear();
        for (const Range& range : ranges) {
            const char* from = static_cast<const char*>(object) + range.offset;
            copy.insert(copy.end(), from, from + range.size);
        }
    }
    bool equals(const void* object, const std::vector<char>& copy) const {
        size_t at = 0;
        for (const Range& range : ranges) {
            if (std::memcmp(static_cast<const char*>(object) + range.offset, copy.data() + at, range.size)) return false;
            at += range.size;
        }
        return true;
    }

private:
    static constexpr size_t LARGE_MEMORY = 4096;
};

class PartitionModel : public TracedModel {
public:
    uint64_t evaluations = 0;  // clock edges that units took awake

    // The clock's level says which half of the cycle this is; see Model::settle and Model::edge.
    void eval() override {
        if (bit(clock)) {
            rise();
        } else {
            fall();
            if (checkUnits) check();
        }
    }
    uint64_t unitEvaluations() const override { return evaluations; }

    virtual void rise() = 0;   // all classes take the clock edge with the inputs they have
    virtual void fall() = 0;   // outputs travel to inputs
    virtual void check() = 0;
};

// One unit: asleep from an edge that changed nothing in it until one of its inputs changes.
template <class Verilated> class Unit {
public:
    Verilated model;
    bool ran = true;  // it took the last edge

    Unit(VerilatedContext* context, const char* name, const State& state) : model(context, name), name(name), state(state) {}

    void rise(PartitionModel& design) {
        ran = !asleep || design.tracing;
        if (!ran) return;
        edge();
        design.evaluations++;
        quiet++;
        if (saved) {
            asleep = state.equals(model.rootp, before);
            saved = false;
        } else if (!asleep && quiet >= FIRST_TRY && ((quiet & (quiet - 1)) == 0 || quiet % RETRY == 0)) {
            state.save(model.rootp, before);
            saved = true;
        }
    }
    template <class Port> void input(Port& to, const Port& from) {
        if (!std::memcmp(&to, &from, sizeof to)) return;
        to = from;
        quiet = 0, saved = asleep = false;
    }
    // What lies behind the inputs, for a waveform; an edge finds its values by itself.
    void settle() {
        model.clk = 0;
        model.eval();
    }
    // Evaluates a sleeper all the same, twice for the memories' sake; and every unit once more with its new inputs.
    void check() {
        if (asleep) {
            edge();
            const bool same = state.equals(model.rootp, before);
            const char* object = reinterpret_cast<const char*>(model.rootp);
            const std::vector<char> all(object, object + state.size);
            edge();
            if (!same || std::memcmp(object, all.data(), state.size))
                throw ModelError(std::string(name) + ": a sleeping unit has changed");
        }
        settle();
    }
    template <class Port> void checkOutput(const Port& carried, const Port& now, const char* port) const {
        if (std::memcmp(&carried, &now, sizeof now))
            throw ModelError(std::string(name) + ": output " + port + " depends on an input combinationally");
    }

private:
    static constexpr unsigned FIRST_TRY = 4, RETRY = 64;  // quiet cycles

    const char* name;
    const State& state;
    std::vector<char> before;
    unsigned quiet = 0;  // edges since an input changed
    bool saved = false, asleep = false;

    void edge() {
        model.clk = 0, model.rootp->__Vtrigprevexpr___TOP__clk__0 = 0;
        model.clk = 1;
        model.eval();
    }
};
