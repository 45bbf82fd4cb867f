// Included by the generated glue after Vtop.h: everything in it that does not depend on the design's ports.
#include <memory>

#include "model.h"
#include "verilated.h"
#if OPENRDU_TRACE == 1
#include "verilated_vcd_c.h"
using TraceFile = VerilatedVcdC;
#elif OPENRDU_TRACE == 2
#include "verilated_fst_c.h"
using TraceFile = VerilatedFstC;
#endif

class DesignModel : public Model {
public:
    DesignModel() : context(new VerilatedContext) {
#if OPENRDU_TRACE
        context->traceEverOn(true);
#endif
        top.reset(new Vtop(context.get(), "top"));
    }
    ~DesignModel() override {
        traceClose();
        top->final();
    }
    void eval() override { top->eval(); }
    bool finished() const override { return context->gotFinish(); }
#if OPENRDU_TRACE
    void traceOpen(const char* name) override {
        traceClose();
        file.reset(new TraceFile);
        top->trace(file.get(), 99);
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

public:
    std::unique_ptr<VerilatedContext> context;
    std::unique_ptr<Vtop> top;
};

// Verilator's default ends the process; a simulation inside Python raises instead.
void vl_fatal(const char* file, int line, const char* scope, const char* message) {
    throw ModelError(std::string(file) + ":" + std::to_string(line) + ": " + (scope ? scope : "") + ": " + message);
}
