// Native driver: plays files of beats into a Verilated design and records what comes out.

#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "driver.h"

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

constexpr size_t words_of(size_t bits) { return (bits + 31) / 32; }

std::vector<uint32_t> mask_of(size_t bits) {
    std::vector<uint32_t> mask(words_of(bits), 0xFFFFFFFFu);
    if (bits % 32) mask.back() = (1u << (bits % 32)) - 1;
    return mask;
}

uint64_t random_state = 0x9E3779B97F4A7C15u;

uint64_t random_word() {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

// Value of some bits of a payload, at most 64 in two neighbouring words.
uint64_t bits_of(const uint32_t* words, size_t offset, size_t width) {
    uint64_t value = words[offset / 32] >> (offset % 32);
    if (offset % 32 + width > 32) value |= static_cast<uint64_t>(words[offset / 32 + 1]) << (32 - offset % 32);
    return width < 64 ? value & ((uint64_t{1} << width) - 1) : value;
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

struct Output;

struct Input {
    Port port;
    size_t stride = words_of(port.bits);  // words of a beat
    std::vector<uint32_t> mask = mask_of(port.bits);
    std::vector<uint32_t> words;
    std::vector<int64_t> segments;  // start and length of each, in beats
    std::vector<uint64_t> cycles;
    std::vector<int64_t> needs;    // requests that must have passed before each beat; empty: none
    std::vector<int64_t> latency;  // of each request
    const Output* asked = nullptr;
    Gate gate;
    size_t sent = 0;     // beats
    size_t segment = 0;  // index into `segments`
    int64_t left = 0;    // beats left in the segment, the current one included
    const uint32_t* beat = nullptr;
    bool valid = false;
    bool from_memory = false;
    std::vector<uint64_t> ready;  // of beats from memory, the cycle from which each is offered

    explicit Input(const Port& of) : port(of) {}

    void start() {
        segment = sent = gate.at = 0;
        left = 0;
        cycles.clear();
        *port.valid = valid = false;
        if (from_memory) {
            words.clear();
            ready.clear();
        } else {
            open_segment();
        }
    }
    bool finished() const { return from_memory ? sent == ready.size() : left == 0; }
    void set(const uint32_t* payload) { std::memcpy(port.payload, payload, port.bytes); }

    // Offers the next beat if there is one and the gate is open.
    void drive(uint64_t cycle, bool garbage) {
        if (valid) return;
        if (!finished() && answered(cycle) && gate.open()) {
            set(from_memory ? words.data() + sent * stride : beat);
            valid = true;
        } else if (garbage) {
            randomise();
        }
        *port.valid = valid;
    }

    // Whether the beat that is offered passes in this cycle.
    bool observe(uint64_t cycle, bool trace) {
        if (!valid || !*port.ready) return false;
        if (trace) cycles.push_back(cycle);
        advance();
        valid = false;
        return true;
    }

  private:
    bool answered(uint64_t cycle) const;
    void advance() {
        ++sent;
        if (from_memory) return;
        beat += stride;
        if (--left == 0) {
            segment += 2;
            open_segment();
        }
    }
    void open_segment() {
        while (segment < segments.size() && segments[segment + 1] == 0) segment += 2;
        if (segment == segments.size()) return;
        beat = words.data() + static_cast<size_t>(segments[segment]) * stride;
        left = segments[segment + 1];
    }
    // Payload bits above the port's width must stay 0 for Verilator.
    void randomise() {
        std::vector<uint32_t> drawn(mask);
        for (uint32_t& word : drawn) word &= static_cast<uint32_t>(random_word());
        set(drawn.data());
    }
};

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

struct Output {
    Port port;
    size_t stride = words_of(port.bits);  // words of a beat
    std::vector<uint32_t> words;
    std::vector<uint64_t> cycles;
    std::vector<uint64_t> requests;  // cycles of beats that inputs answer
    std::vector<uint32_t> waiting = std::vector<uint32_t>(stride);  // not accepted the cycle before
    Gate gate;
    uint64_t expected = 0;
    uint64_t received = 0;
    bool waits = false;
    bool asks = false;
    Memory* memory = nullptr;  // that beats are bursts for
    std::string path;

    explicit Output(const Port& of) : port(of) {}

    void start() {
        words.clear();
        cycles.clear();
        requests.clear();
        gate.at = 0;
        received = 0;
        *port.ready = waits = false;
    }
    bool changed_while_it_waited() const {
        return waits && (!*port.valid || std::memcmp(waiting.data(), port.payload, port.bytes));
    }

    // Whether a beat passes in this cycle.
    bool observe(uint64_t cycle, bool trace) {
        waits = *port.valid && !*port.ready;
        if (waits) std::memcpy(waiting.data(), port.payload, port.bytes);
        if (waits || !*port.valid) return false;
        const size_t end = words.size();
        words.resize(end + stride);
        std::memcpy(&words[end], port.payload, port.bytes);
        if (trace) cycles.push_back(cycle);
        if (asks) requests.push_back(cycle);
        if (memory) memory->burst(&words[end], cycle);
        ++received;
        return true;
    }
};

bool Input::answered(uint64_t cycle) const {
    if (from_memory) return cycle >= ready[sent];
    if (needs.empty()) return true;
    const size_t last = static_cast<size_t>(needs[sent]);
    if (last == 0) return true;
    return asked->requests.size() >= last && cycle >= asked->requests[last - 1] + latency[last - 1];
}

struct Job {
    bool trace = false;         // record cycles of beats and events
    bool garbage = false;       // random payload while valid is 0
    uint64_t tail = 64;         // cycles after the final expected beat
    uint64_t idle_limit = 0;    // cycles without a handshake after which the run is given up
    uint64_t free_cycles = 0;   // > 0: time the bare model instead
    uint64_t reset_after = 0;   // > 0: reset in that cycle and start again
};

struct EventLog {
    Event event;
    uint64_t total = 0;
    std::vector<uint64_t> cycles;
    std::vector<uint64_t> increments;
};

template <typename Named>
Named& named(std::vector<Named>& ports, const char* name) {
    for (Named& found : ports)
        if (!std::strcmp(found.port.name, name)) return found;
    fail(std::string("no port ") + name);
}

class Bench {
  public:
    explicit Bench(Design& of);
    void load(const char* path);
    void simulate();
    void store(const char* path);

  private:
    void load_option(const std::string& name, uint64_t value);
    void cold_start();
    void clock_edge();
    void run();
    void free_run();
    bool step(bool& moved);
    void record_events();

    Design& design;
    Job job;
    std::vector<Input> inputs;
    std::vector<Output> outputs;
    Memory memory;
    std::vector<EventLog> events;
    std::vector<uint32_t> counted;  // by events in this cycle
    uint64_t cycle = 0;
    uint64_t received = 0;
    uint64_t first_beat = 0;  // cycles of the first and the latest handshake
    uint64_t last_beat = 0;
    bool started = false;
    std::string violation;
    double seconds = 0;
};

Bench::Bench(Design& of)
    : design(of),
      inputs(of.inputs.begin(), of.inputs.end()),
      outputs(of.outputs.begin(), of.outputs.end()),
      counted(of.counted_bytes / 4 + 1) {
    for (const Event& event : of.events) events.push_back({event, 0, {}, {}});
}

void Bench::load(const char* path) {
    std::FILE* file = std::fopen(path, "r");
    if (!file) fail(std::string("cannot open ") + path);
    char key[64], name[128], first[4096], second[4096], third[4096];
    unsigned long long number = 0;
    while (std::fscanf(file, "%63s", key) == 1) {
        const std::string kind = key;
        if (kind == "input") {
            if (std::fscanf(file, "%127s %4095s %4095s %4095s", name, first, second, third) != 4) fail("bad input line");
            Input& input = named(inputs, name);
            input.words = read_file<uint32_t>(first);
            input.segments = read_file<int64_t>(second);
            input.gate.pattern = read_file<uint8_t>(third);
        } else if (kind == "output") {
            if (std::fscanf(file, "%127s %llu %4095s %4095s", name, &number, first, second) != 4) fail("bad output line");
            Output& output = named(outputs, name);
            output.expected = number;
            output.words.reserve(number * output.stride);
            output.gate.pattern = read_file<uint8_t>(first);
            output.path = second;
        } else if (kind == "answers") {
            if (std::fscanf(file, "%127s %4095s %4095s %4095s", name, first, second, third) != 4) fail("bad answers line");
            Output& asked = named(outputs, first);
            asked.asks = true;
            Input& input = named(inputs, name);
            input.asked = &asked;
            input.needs = read_file<int64_t>(second);
            input.latency = read_file<int64_t>(third);
        } else if (kind == "memory") {
            if (std::fscanf(file, "%127s %4095s %4095s", name, first, second) != 3) fail("bad memory line");
            if (std::fscanf(file, "%" SCNu64 " %zu %zu %" SCNu64, &memory.address, &memory.address_bits,
                            &memory.data_bytes, &memory.latency) != 4)
                fail("bad memory line");
            memory.content = read_file<uint8_t>(second);
            memory.answers = &named(inputs, name);
            memory.answers->from_memory = true;
            named(outputs, first).memory = &memory;
        } else if (kind == "set" && std::fscanf(file, "%127s %llu", name, &number) == 2) {
            load_option(name, number);
        } else {
            fail("bad job line " + kind);
        }
    }
    std::fclose(file);
}

void Bench::load_option(const std::string& name, uint64_t value) {
    if (name == "trace") job.trace = value;
    if (name == "garbage") job.garbage = value;
    if (name == "tail") job.tail = value;
    if (name == "idle_limit") job.idle_limit = value;
    if (name == "free_cycles") job.free_cycles = value;
    if (name == "reset_after") job.reset_after = value;
    for (const Constant& constant : design.constants)
        if (name == std::string("constant_") + constant.name) std::memcpy(constant.value, &value, constant.bytes);
}

void Bench::simulate() {
    cold_start();
    const auto start = Clock::now();
    if (job.free_cycles) {
        free_run();
    } else {
        run();
    }
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
}

void Bench::clock_edge() {
    *design.clock = 1;
    design.evaluate();
    *design.clock = 0;
}

void Bench::cold_start() {
    for (Input& input : inputs) input.start();
    for (Output& output : outputs) output.start();
    for (EventLog& log : events) log = EventLog{log.event, 0, {}, {}};
    received = 0;
    started = false;
    *design.reset = design.reset_active;
    for (int i = 0; i < 2; ++i) {
        *design.clock = 0;
        design.evaluate();
        clock_edge();
    }
    *design.reset = !design.reset_active;
    cycle = 0;
}

void Bench::record_events() {
    std::memcpy(counted.data(), design.counted, design.counted_bytes);
    uint32_t any = 0;
    for (const uint32_t word : counted) any |= word;
    if (!any) return;
    for (EventLog& log : events) {
        const uint64_t value = bits_of(counted.data(), log.event.offset, log.event.width);
        if (!value) continue;
        log.total += value;
        if (job.trace) {
            log.cycles.push_back(cycle);
            log.increments.push_back(value);
        }
    }
}

// A cycle up to its clock edge: whether a beat moved, and whether some are still to come.
bool Bench::step(bool& moved) {
    bool pending = false;
    for (Input& input : inputs) {
        input.drive(cycle, job.garbage);
        pending |= input.valid || !input.finished();
    }
    for (Output& output : outputs) *output.port.ready = output.gate.open();
    design.evaluate();
    for (Input& input : inputs) moved |= input.observe(cycle, job.trace);
    for (Output& output : outputs) {
        if (violation.empty() && output.changed_while_it_waited())
            violation = std::string(output.port.name) + " changed in cycle " + std::to_string(cycle) +
                        " before it was accepted";
        if (output.observe(cycle, job.trace)) {
            ++received;
            moved = true;
        }
        pending |= output.received < output.expected;
    }
    record_events();
    return pending;
}

void Bench::run() {
    uint64_t quiet = 0, after = 0, next_progress = 1 << 16;
    while (true) {
        bool moved = false;
        const bool pending = step(moved);
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
}

// The same model with all inputs held valid and all outputs ready: the cost of the model alone.
void Bench::free_run() {
    for (Input& input : inputs) {
        if (!input.finished()) input.set(input.beat);
        *input.port.valid = !input.finished();
    }
    for (Output& output : outputs) *output.port.ready = 1;
    for (cycle = 0; cycle < job.free_cycles; ++cycle) {
        design.evaluate();
        clock_edge();
    }
}

void Bench::store(const char* path) {
    std::FILE* file = std::fopen(path, "w");
    if (!file) fail(std::string("cannot write ") + path + ": " + std::strerror(errno));
    std::fprintf(file, "{\"cycles\": %" PRIu64 ", \"span\": %" PRIu64 ", \"seconds\": %.6f, \"violation\": \"%s\", \"events\": [", cycle,
                 started ? last_beat - first_beat + 1 : 0, seconds, violation.c_str());
    for (size_t i = 0; i < events.size(); ++i) std::fprintf(file, "%s%" PRIu64, i ? ", " : "", events[i].total);
    std::fprintf(file, "]}\n");
    if (std::ferror(file) || std::fclose(file)) fail(std::string("cannot write ") + path + ": " + std::strerror(errno));
    for (const Output& output : outputs) {
        if (output.path.empty()) continue;
        write_file(output.path + ".words", output.words);
        if (job.trace) write_file(output.path + ".cycles", output.cycles);
    }
    if (!job.trace) return;
    const std::string base = std::string(path) + ".";
    for (const Input& input : inputs) write_file(base + input.port.name + ".cycles", input.cycles);
    for (size_t i = 0; i < events.size(); ++i) {
        write_file(base + std::to_string(i) + ".cycles", events[i].cycles);
        write_file(base + std::to_string(i) + ".increments", events[i].increments);
    }
}

}  // namespace

int drive(Design& design, int argc, char** argv) {
    if (argc != 3) fail("usage: simulate JOB RESULT");
    Bench bench(design);
    bench.load(argv[1]);
    bench.simulate();
    bench.store(argv[2]);
    return 0;
}
