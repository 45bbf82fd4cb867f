// Included by the generated glue after Vtop.h: everything in it that does not depend on the design's ports.
#include "traced.h"

class DesignModel : public TracedModel {
public:
    std::unique_ptr<Vtop> top{new Vtop(context.get(), "top")};

    ~DesignModel() override {
        traceClose();
        top->final();
    }
    void eval() override { top->eval(); }
#if OPENRDU_TRACE
    void traceUnits(TraceFile* file) override { top->trace(file, 99); }
#endif
};
