// Puts a Verilated design into the hands of the native driver, which is compiled but once for all.
//
// `ports.h`, generated from the design's declarations, lists its ports and events:
//   FOR_INPUTS(X), FOR_OUTPUTS(X)  X(name, bits)       streams
//   FOR_EVENTS(X)                  X(offset, width)    fields of the port `events`
//   FOR_CONSTANTS(X)               X(name)             inputs that are held
//   RESET, RESET_ACTIVE            reset input and its active level

#include "Vtop.h"
#include "driver.h"
#include "ports.h"
#include "verilated.h"

namespace {

struct Model final : Design {
    VerilatedContext context;
    Vtop top;

    Model() : top((context.randReset(0), &context), "") {
#define PORT(name, bits) {#name, bits, &top.name##_valid, &top.name##_ready, &top.name##_payload, sizeof top.name##_payload},
#define EVENT(offset, width) {offset, width},
#define CONSTANT(name) {#name, &top.name, sizeof top.name},
        inputs = {FOR_INPUTS(PORT)};
        outputs = {FOR_OUTPUTS(PORT)};
        events = {FOR_EVENTS(EVENT)};
        constants = {FOR_CONSTANTS(CONSTANT)};
        counted = &top.events;
        counted_bytes = sizeof top.events;
        clock = &top.clk;
        reset = &top.RESET;
        reset_active = RESET_ACTIVE;
    }

    void evaluate() override { top.eval(); }
};

}  // namespace

int main(int argc, char** argv) {
    Model design;
    const int status = drive(design, argc, argv);
    design.top.final();
    return status;
}
