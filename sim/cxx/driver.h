// What the native driver knows of a Verilated design: where its signals lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

struct Port {
    const char* name;
    size_t bits;     // of the payload
    uint8_t* valid;
    uint8_t* ready;
    void* payload;
    size_t bytes;    // that Verilator keeps the payload in
};

struct Event {
    size_t offset;
    size_t width;
};

struct Constant {
    const char* name;
    void* value;
    size_t bytes;
};

struct Design {
    std::vector<Port> inputs;
    std::vector<Port> outputs;
    std::vector<Event> events;
    std::vector<Constant> constants;  // inputs that are held
    const void* counted;              // the fields of `events`, side by side
    size_t counted_bytes;
    uint8_t* clock;
    uint8_t* reset;
    uint8_t reset_active;

    virtual void evaluate() = 0;

  protected:
    ~Design() = default;
};

// Usage: simulate JOB RESULT. JOB is a text file, see `Job` in driver.cpp; RESULT becomes JSON.
int drive(Design& design, int argc, char** argv);
