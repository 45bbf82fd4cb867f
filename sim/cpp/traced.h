// What every Verilated model shares, whole or partitioned: its context, its trace file, and errors that Python sees.
#pragma once
#include <memory>
#include <string>

#include "model.h"
#include "verilated.h"
#if OPENRDU_TRACE == 1
#include "verilated_vcd_c.h"
using TraceFile = VerilatedVcdC;
#elif OPENRDU_TRACE == 2
#include "verilated_fst_c.h"
using TraceFile = VerilatedFstC;
#endif

class TracedModel : public Model {
public:
    std::unique_ptr<VerilatedContext> context{new VerilatedContext};

    bool finished() const override { return context->gotFinish(); }

#if OPENRDU_TRACE
    TracedModel() { context->traceEverOn(true); }
    virtual void traceUnits(TraceFile* file) = 0;  // adds every Verilated object to the file
    void traceOpen(const char* name) override {
        traceClose();
        file.reset(new TraceFile);
        traceUnits(file.get());
        file->open(name);
        if (!file->isOpen()) throw ModelError(std::string("cannot write ") + name);
        tracing = true;
    }
    void traceClose() override {
        if (file) file->close();
        file.reset();
        tracing = false;
    }
    void traceDump(uint64_t time) override { file->dump(time); }

private:
    std::unique_ptr<TraceFile> file;
#else
    void traceOpen(const char*) override { throw ModelError("this model was built without tracing"); }
    void traceClose() override {}
    void traceDump(uint64_t) override {}
#endif
};

// Verilator's default ends the process; a simulation inside Python raises instead.
void vl_fatal(const char* file, int line, const char* scope, const char* message) {
    throw ModelError(std::string(file) + ":" + std::to_string(line) + ": " + (scope ? scope : "") + ": " + message);
}
