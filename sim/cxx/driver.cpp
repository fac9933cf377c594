// Native driver: plays files of beats into a Verilated design and records what comes out.
//
// `ports.h`, generated from the design's declarations, lists its ports and events:
//   FOR_INPUTS(X), FOR_OUTPUTS(X)  X(name)                      streams
//   FOR_EVENTS(X)                  X(index, offset, width)      fields of the port `events`
//   FOR_CONSTANTS(X)               X(name)                      inputs that are held
//   RESET, RESET_ACTIVE            reset input and its active level
//
// Usage: simulate JOB RESULT. JOB is a text file, see `Job` below; RESULT becomes JSON.

#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "Vtop.h"
#include "ports.h"
#include "verilated.h"

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "driver: %s\n", what.c_str());
    std::exit(3);
}

template <typename T>
std::vector<T> read_file(const std::string& path) {
    std::vector<T> content;
    if (path == "-") return content;
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (!file) fail("cannot open " + path);
    std::fseek(file, 0, SEEK_END);
    content.resize(static_cast<size_t>(std::ftell(file)) / sizeof(T));
    std::rewind(file);
    if (std::fread(content.data(), sizeof(T), content.size(), file) != content.size()) fail("cannot read " + path);
    std::fclose(file);
    return content;
}

template <typename T>
void write_file(const std::string& path, const std::vector<T>& content) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (!file || std::fwrite(content.data(), sizeof(T), content.size(), file) != content.size() || std::fclose(file))
        fail("cannot write " + path + ": " + std::strerror(errno));
}

// Repeating pattern of cycles in which a channel may act; empty: always.
struct Gate {
    std::vector<uint8_t> pattern;
    size_t at = 0;

    bool open() {
        if (pattern.empty()) return true;
        const bool value = pattern[at];
        if (++at == pattern.size()) at = 0;
        return value;
    }
};

struct Memory;

struct Output {
    std::vector<uint32_t> words;
    std::vector<uint64_t> cycles;
    std::vector<uint64_t> requests;  // cycles of beats that inputs answer
    std::vector<uint32_t> waiting;   // payload that was not accepted in the cycle before
    Gate gate;
    size_t stride = 0;
    uint64_t expected = 0;
    uint64_t received = 0;
    bool waits = false;
    bool asks = false;
    Memory* memory = nullptr;  // that beats are bursts for
    std::string path;
};

struct Input {
    std::vector<uint32_t> words;
    std::vector<int64_t> segments;  // start and length of each, in beats
    std::vector<uint64_t> cycles;
    std::vector<int64_t> needs;    // requests that must have passed before each beat; empty: none
    std::vector<int64_t> latency;  // of each request
    const Output* asked = nullptr;
    Gate gate;
    size_t sent = 0;     // beats
    size_t stride = 0;   // words of a beat
    size_t segment = 0;  // index into `segments`
    int64_t left = 0;    // beats left in the segment, the current one included
    const uint32_t* beat = nullptr;
    bool valid = false;
    bool from_memory = false;
    std::vector<uint64_t> ready;  // of beats from memory, the cycle from which each is offered

    void start() {
        if (from_memory) {
            words.clear();
            ready.clear();
        } else {
            open_segment();
        }
    }
    bool answered(uint64_t cycle) const {
        if (from_memory) return cycle >= ready[sent];
        if (needs.empty()) return true;
        const size_t last = static_cast<size_t>(needs[sent]);
        if (last == 0) return true;
        return asked->requests.size() >= last && cycle >= asked->requests[last - 1] + latency[last - 1];
    }
    bool finished() const { return from_memory ? sent == ready.size() : left == 0; }
    const uint32_t* payload() const { return from_memory ? words.data() + sent * stride : beat; }
    void advance() {
        ++sent;
        if (from_memory) return;
        beat += stride;
        if (--left == 0) {
            segment += 2;
            open_segment();
        }
    }

  private:
    void open_segment() {
        while (segment < segments.size() && segments[segment + 1] == 0) segment += 2;
        if (segment == segments.size()) return;
        beat = words.data() + static_cast<size_t>(segments[segment]) * stride;
        left = segments[segment + 1];
    }
};

uint64_t bits_of(const uint32_t* words, size_t offset, size_t width) {
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i) {
        const size_t at = offset + i;
        value |= static_cast<uint64_t>(words[at / 32] >> (at % 32) & 1) << i;
    }
    return value;
}

// Answers bursts (address, length - 1) with beats (data, response of 2 bits, last).
struct Memory {
    static constexpr uint32_t slave_error = 2;
    std::vector<uint8_t> content;
    uint64_t address = 0;  // of the content
    size_t address_bits = 0;
    size_t data_bytes = 0;
    uint64_t latency = 1;  // cycles from a burst to its first beat
    Input* answers = nullptr;

    void burst(const uint32_t* payload, uint64_t cycle) {
        const uint64_t first = bits_of(payload, 0, address_bits);
        const uint64_t beats = bits_of(payload, address_bits, 8) + 1;
        for (uint64_t i = 0; i < beats; ++i) beat(first + i * data_bytes, i + 1 == beats, cycle + latency);
    }

  private:
    void beat(uint64_t from, bool last, uint64_t ready) {
        const size_t start = answers->words.size();
        answers->words.resize(start + answers->stride, 0);
        const bool there = from >= address && from + data_bytes <= address + content.size();
        if (there) std::memcpy(&answers->words[start], &content[from - address], data_bytes);
        answers->words[start + data_bytes / 4] = (there ? 0 : slave_error) | (last ? 4u : 0u);
        answers->ready.push_back(ready);
    }
};

struct Job {
    std::string folder;
    bool trace = false;         // record cycles of beats and events
    bool garbage = false;       // random payload while valid is 0
    uint64_t tail = 64;         // cycles after the final expected beat
    uint64_t idle_limit = 0;    // cycles without a handshake after which the run is given up
    uint64_t free_cycles = 0;   // > 0: time the bare model instead
    uint64_t reset_after = 0;   // > 0: reset in that cycle and start again
};

struct EventLog {
    uint64_t total = 0;
    std::vector<uint64_t> cycles;
    std::vector<uint64_t> increments;
};

uint64_t random_state = 0x9E3779B97F4A7C15u;

uint64_t random_word() {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

template <typename Payload>
void set_payload(Payload& port, const uint32_t* beat) {
    std::memcpy(&port, beat, sizeof(Payload));
}

// Payload bits above the port's width must stay 0 for Verilator.
template <typename Payload>
void randomise(Payload& port, const std::vector<uint32_t>& mask) {
    std::vector<uint32_t> words(mask);
    for (uint32_t& word : words) word &= static_cast<uint32_t>(random_word());
    std::memcpy(&port, words.data(), sizeof(Payload));
}

std::vector<uint32_t> mask_of(size_t bits) {
    std::vector<uint32_t> mask((bits + 31) / 32, 0xFFFFFFFFu);
    if (bits % 32) mask.back() = (1u << (bits % 32)) - 1;
    return mask;
}

constexpr size_t words_of(size_t bits) { return (bits + 31) / 32; }

template <typename Source>
uint64_t bits_of(const Source& source, size_t offset, size_t width) {
    if constexpr (sizeof(Source) <= 8 && std::is_integral_v<Source>) {
        return (static_cast<uint64_t>(source) >> offset) & ((uint64_t{1} << width) - 1);
    } else {
        const uint32_t* words = source.data();
        uint64_t value = words[offset / 32] >> (offset % 32);
        if (offset % 32 + width > 32) value |= static_cast<uint64_t>(words[offset / 32 + 1]) << (32 - offset % 32);
        return value & ((uint64_t{1} << width) - 1);
    }
}

template <typename Source>
bool any(const Source& source) {
    if constexpr (std::is_integral_v<Source>) {
        return source != 0;
    } else {
        uint32_t all = 0;
        for (size_t i = 0; i < sizeof(Source) / 4; ++i) all |= source.data()[i];
        return all != 0;
    }
}

#define COUNT(...) +1
constexpr size_t event_count = 0 FOR_EVENTS(COUNT);
#define DECLARE_INPUT(name, bits) Input name;
#define DECLARE_OUTPUT(name, bits) Output name;

struct Bench {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
    Job job;
    FOR_INPUTS(DECLARE_INPUT)
    FOR_OUTPUTS(DECLARE_OUTPUT)
    Memory memory;
    EventLog events[event_count + 1];
    uint64_t cycle = 0;
    uint64_t received = 0;
    uint64_t first_beat = 0;  // cycles of the first and the latest handshake
    uint64_t last_beat = 0;
    bool started = false;
    std::string violation;
    double seconds = 0;

    void load(const char* path);
    void cold_start();
    void clock_edge();
    void run();
    void free_run();
    void record_events();
    void store(const char* path);
};

void Bench::load(const char* path) {
    std::FILE* file = std::fopen(path, "r");
    if (!file) fail(std::string("cannot open ") + path);
    char key[64], name[128], first[4096], second[4096], third[4096];
    unsigned long long number = 0;
    while (std::fscanf(file, "%63s", key) == 1) {
        const std::string kind = key;
        if (kind == "input") {
            if (std::fscanf(file, "%127s %4095s %4095s %4095s", name, first, second, third) != 4) fail("bad input line");
#define LOAD_INPUT(port, bits)                         \
    if (std::string(#port) == name) {                  \
        port.stride = words_of(bits);                  \
        port.words = read_file<uint32_t>(first);       \
        port.segments = read_file<int64_t>(second);    \
        port.gate.pattern = read_file<uint8_t>(third); \
    }
            FOR_INPUTS(LOAD_INPUT)
        } else if (kind == "output") {
            if (std::fscanf(file, "%127s %llu %4095s %4095s", name, &number, first, second) != 4) fail("bad output line");
#define LOAD_OUTPUT(port, bits)                         \
    if (std::string(#port) == name) {                   \
        port.stride = words_of(bits);                   \
        port.expected = number;                         \
        port.words.reserve(number * port.stride);       \
        port.gate.pattern = read_file<uint8_t>(first);  \
        port.path = second;                             \
    }
            FOR_OUTPUTS(LOAD_OUTPUT)
        } else if (kind == "answers") {
            if (std::fscanf(file, "%127s %4095s %4095s %4095s", name, first, second, third) != 4) fail("bad answers line");
            Output* asked = nullptr;
#define FIND_OUTPUT(port, bits) \
    if (std::string(#port) == first) asked = &port;
            FOR_OUTPUTS(FIND_OUTPUT)
            if (!asked) fail(std::string("no output ") + first);
            asked->asks = true;
#define LOAD_ANSWERS(port, bits)                    \
    if (std::string(#port) == name) {               \
        port.asked = asked;                         \
        port.needs = read_file<int64_t>(second);    \
        port.latency = read_file<int64_t>(third);   \
    }
            FOR_INPUTS(LOAD_ANSWERS)
        } else if (kind == "memory") {
            if (std::fscanf(file, "%127s %4095s %4095s", name, first, second) != 3) fail("bad memory line");
            if (std::fscanf(file, "%" SCNu64 " %zu %zu %" SCNu64, &memory.address, &memory.address_bits,
                            &memory.data_bytes, &memory.latency) != 4)
                fail("bad memory line");
            memory.content = read_file<uint8_t>(second);
#define FIND_ANSWERS(port, bits)         \
    if (std::string(#port) == name) {    \
        port.stride = words_of(bits);    \
        port.from_memory = true;         \
        memory.answers = &port;          \
    }
#define FIND_BURSTS(port, bits) \
    if (std::string(#port) == first) port.memory = &memory;
            FOR_INPUTS(FIND_ANSWERS)
            FOR_OUTPUTS(FIND_BURSTS)
        } else if (std::fscanf(file, "%127s %llu", name, &number) == 2 && kind == "set") {
            const std::string option = name;
            if (option == "trace") job.trace = number;
            if (option == "garbage") job.garbage = number;
            if (option == "tail") job.tail = number;
            if (option == "idle_limit") job.idle_limit = number;
            if (option == "free_cycles") job.free_cycles = number;
            if (option == "reset_after") job.reset_after = number;
#define LOAD_CONSTANT(port) \
    if (option == "constant_" #port) top->port = number;
            FOR_CONSTANTS(LOAD_CONSTANT)
        } else {
            fail("bad job line " + kind);
        }
    }
    std::fclose(file);
}

void Bench::clock_edge() {
    top->clk = 1;
    top->eval();
    top->clk = 0;
}

void Bench::cold_start() {
#define QUIET_INPUT(port, bits) \
    port.segment = 0;           \
    port.sent = 0;              \
    port.left = 0;              \
    port.valid = false;         \
    port.cycles.clear();        \
    port.gate.at = 0;           \
    port.start();               \
    top->port##_valid = 0;
#define QUIET_OUTPUT(port, bits) \
    port.words.clear();          \
    port.cycles.clear();         \
    port.requests.clear();       \
    port.gate.at = 0;            \
    port.received = 0;           \
    port.waits = false;          \
    top->port##_ready = 0;
    FOR_INPUTS(QUIET_INPUT)
    FOR_OUTPUTS(QUIET_OUTPUT)
    for (EventLog& log : events) log = EventLog{};
    received = 0;
    started = false;
    top->RESET = RESET_ACTIVE;
    for (int i = 0; i < 2; ++i) {
        top->clk = 0;
        top->eval();
        clock_edge();
    }
    top->RESET = !RESET_ACTIVE;
    cycle = 0;
}

void Bench::record_events() {
    if (!any(top->events)) return;
#define RECORD_EVENT(index, offset, width)                              \
    if (const uint64_t value = bits_of(top->events, offset, width)) {   \
        events[index].total += value;                                   \
        if (job.trace) {                                                \
            events[index].cycles.push_back(cycle);                      \
            events[index].increments.push_back(value);                  \
        }                                                               \
    }
    FOR_EVENTS(RECORD_EVENT)
}

void Bench::run() {
    const auto start = Clock::now();
    uint64_t quiet = 0, after = 0, next_progress = 1 << 16;
    while (true) {
        bool pending = false;
#define DRIVE_INPUT(port, bits)                                           \
    if (!port.valid) {                                                    \
        if (!port.finished() && port.answered(cycle) && port.gate.open()) { \
            set_payload(top->port##_payload, port.payload());            \
            port.valid = true;                                            \
        } else if (job.garbage) {                                         \
            static const std::vector<uint32_t> mask = mask_of(bits);      \
            randomise(top->port##_payload, mask);                        \
        }                                                                 \
        top->port##_valid = port.valid;                                  \
    }                                                                     \
    pending |= port.valid || !port.finished();
        FOR_INPUTS(DRIVE_INPUT)
#define DRIVE_OUTPUT(port, bits) top->port##_ready = port.gate.open();
        FOR_OUTPUTS(DRIVE_OUTPUT)
        top->eval();

        bool moved = false;
#define OBSERVE_INPUT(port, bits)                          \
    if (port.valid && top->port##_ready) {                \
        if (job.trace) port.cycles.push_back(cycle);       \
        port.advance();                                    \
        port.valid = false;                                \
        moved = true;                                      \
    }
        FOR_INPUTS(OBSERVE_INPUT)
#define OBSERVE_OUTPUT(port, bits)                                                                      \
    if (port.waits && (!top->port##_valid || std::memcmp(port.waiting.data(), &top->port##_payload,   \
                                                          sizeof(top->port##_payload)))) {             \
        if (violation.empty())                                                                          \
            violation = #port " changed in cycle " + std::to_string(cycle) + " before it was accepted"; \
    }                                                                                                   \
    port.waits = top->port##_valid && !top->port##_ready;                                             \
    if (port.waits) {                                                                                   \
        port.waiting.assign(port.stride, 0);                                                            \
        std::memcpy(port.waiting.data(), &top->port##_payload, sizeof(top->port##_payload));          \
    } else if (top->port##_valid) {                                                                    \
        const size_t end = port.words.size();                                                           \
        port.words.resize(end + port.stride);                                                           \
        std::memcpy(port.words.data() + end, &top->port##_payload, sizeof(top->port##_payload));      \
        if (job.trace) port.cycles.push_back(cycle);                                                    \
        if (port.asks) port.requests.push_back(cycle);                                                  \
        if (port.memory) port.memory->burst(&port.words[end], cycle);                                   \
        ++port.received;                                                                                \
        ++received;                                                                                     \
        moved = true;                                                                                   \
    }                                                                                                   \
    pending |= port.received < port.expected;
        FOR_OUTPUTS(OBSERVE_OUTPUT)
        record_events();
        if (job.reset_after && cycle == job.reset_after) {
            job.reset_after = 0;
            cold_start();
            continue;
        }
        if (moved) {
            if (!started) first_beat = cycle;
            started = true;
            last_beat = cycle;
        }
        clock_edge();
        ++cycle;

        quiet = moved ? 0 : quiet + 1;
        if (!pending && ++after > job.tail) break;
        if (quiet > job.idle_limit) break;
        if (received >= next_progress) {
            std::printf("%" PRIu64 "\n", received);
            std::fflush(stdout);
            next_progress = received + (1 << 16);
        }
    }
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
}

// The same model with all inputs held valid and all outputs ready: the cost of the model alone.
void Bench::free_run() {
#define HOLD_INPUT(port, bits)                                                     \
    if (!port.finished()) set_payload(top->port##_payload, port.beat);            \
    top->port##_valid = !port.finished();
#define HOLD_OUTPUT(port, bits) top->port##_ready = 1;
    FOR_INPUTS(HOLD_INPUT)
    FOR_OUTPUTS(HOLD_OUTPUT)
    const auto start = Clock::now();
    for (cycle = 0; cycle < job.free_cycles; ++cycle) {
        top->eval();
        clock_edge();
    }
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
}

void Bench::store(const char* path) {
    std::FILE* file = std::fopen(path, "w");
    if (!file) fail(std::string("cannot write ") + path + ": " + std::strerror(errno));
    std::fprintf(file, "{\"cycles\": %" PRIu64 ", \"span\": %" PRIu64 ", \"seconds\": %.6f, \"violation\": \"%s\", \"events\": [", cycle,
                 started ? last_beat - first_beat + 1 : 0, seconds, violation.c_str());
    for (size_t i = 0; i < event_count; ++i) std::fprintf(file, "%s%" PRIu64, i ? ", " : "", events[i].total);
    std::fprintf(file, "]}\n");
    if (std::ferror(file) || std::fclose(file)) fail(std::string("cannot write ") + path + ": " + std::strerror(errno));
#define STORE_OUTPUT(port, bits)                              \
    if (!port.path.empty()) {                                 \
        write_file(port.path + ".words", port.words);         \
        if (job.trace) write_file(port.path + ".cycles", port.cycles); \
    }
    FOR_OUTPUTS(STORE_OUTPUT)
    if (!job.trace) return;
    const std::string base = std::string(path) + ".";
#define STORE_INPUT(port, bits) write_file(base + #port + ".cycles", port.cycles);
    FOR_INPUTS(STORE_INPUT)
    for (size_t i = 0; i < event_count; ++i) {
        write_file(base + std::to_string(i) + ".cycles", events[i].cycles);
        write_file(base + std::to_string(i) + ".increments", events[i].increments);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) fail("usage: simulate JOB RESULT");
    Bench bench;
    bench.context.randReset(0);
    bench.top = std::make_unique<Vtop>(&bench.context, "");
    bench.load(argv[1]);
    bench.cold_start();
    if (bench.job.free_cycles) {
        bench.free_run();
    } else {
        bench.run();
    }
    bench.store(argv[2]);
    bench.top->final();
    return 0;
}
