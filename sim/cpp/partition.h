// Included by the glue of a partitioned design: what does not depend on its units.
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

class PartitionModel : public Model {
public:
    std::unique_ptr<VerilatedContext> context{new VerilatedContext};

    PartitionModel() {
#if OPENRDU_TRACE
        context->traceEverOn(true);
#endif
    }
    // The clock's level says which half of the cycle this is; see Model::settle and Model::edge.
    void eval() override {
        if (bit(clock)) {
            rise();
        } else {
            fall();
            if (checkUnits) check();
        }
    }
    bool finished() const override { return context->gotFinish(); }

    virtual void rise() = 0;   // all classes take the clock edge with the inputs they have
    virtual void fall() = 0;   // outputs travel to inputs
    virtual void check() = 0;

#if OPENRDU_TRACE
    virtual void traceUnits(TraceFile* file) = 0;
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
