// A board whose serial line is a pseudo-terminal: bits at pins rx and tx, bytes at the terminal.
//
// Usage: simulate CLOCK BAUD. Prints the terminal's name and runs until standard input ends.

#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr uint64_t POLL_CYCLES = 64;  // between looks at the terminal
constexpr uint64_t RESET_CYCLES = 64;  // before the first one, so that the board is out of its reset
constexpr uint64_t REST_CYCLES = 1 << 23;  // without a bit on either line: then it waits for bytes

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "serial: %s: %s\n", what, std::strerror(errno));
    std::exit(3);
}

// Cycles of `clock` that a bit lasts, exact on average.
struct Bits {
    uint64_t clock, baud, phase = 0;

    void begin(uint64_t start) { phase = start; }
    bool ends() {
        phase += baud;
        if (phase < clock) return false;
        phase -= clock;
        return true;
    }
};

// Host to board.
struct Sender {
    Bits bits;
    std::deque<uint8_t> bytes;
    uint32_t shift = 0;
    int left = 0;

    bool line() {
        if (!left && !bytes.empty()) {
            shift = (bytes.front() << 1) | 0x200;  // start bit, byte, stop bit
            bytes.pop_front();
            left = 10;
        }
        if (!left) {
            bits.begin(0);
            return true;
        }
        const bool bit = shift & 1;
        if (bits.ends()) {
            shift >>= 1;
            --left;
        }
        return bit;
    }
    bool busy() const { return left || !bytes.empty(); }
};

// Board to host.
struct Receiver {
    Bits bits;
    uint32_t shift = 0;
    int left = 0;

    // A byte, or -1.
    int take(bool line) {
        if (!left) {
            if (line) return -1;
            bits.begin(bits.clock / 2);
            left = 10;
            shift = 0;
        }
        if (!bits.ends()) return -1;
        shift |= static_cast<uint32_t>(line) << (10 - left);
        if (--left) return -1;
        if ((shift & 1) || !(shift & 0x200)) {
            std::fprintf(stderr, "serial: a byte without start or stop bit\n");
            std::exit(3);
        }
        return (shift >> 1) & 0xff;
    }
};

int open_terminal(int& kept) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) fail("no pseudo-terminal");
    kept = open(ptsname(master), O_RDWR | O_NOCTTY);  // so that a host may come and go
    termios raw;
    if (kept < 0 || tcgetattr(kept, &raw)) fail("no terminal");
    cfmakeraw(&raw);
    if (tcsetattr(kept, TCSANOW, &raw) || fcntl(master, F_SETFL, O_NONBLOCK)) fail("no raw terminal");
    return master;
}

void send(int terminal, uint8_t byte) {
    while (write(terminal, &byte, 1) != 1) {
        if (errno != EAGAIN && errno != EINTR) fail("cannot write");
        pollfd room{terminal, POLLOUT, 0};
        poll(&room, 1, -1);
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 3) return 2;
    const uint64_t clock = std::strtoull(arguments[1], nullptr, 10);
    const uint64_t baud = std::strtoull(arguments[2], nullptr, 10);
    VerilatedContext context;
    Vtop top{&context};
    Sender sender{{clock, baud}};
    Receiver receiver{{clock, baud}};
    int kept;
    const int terminal = open_terminal(kept);
    std::printf("%s\n", ptsname(terminal));
    std::fflush(stdout);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);

    uint64_t cycles = 0;
    uint64_t quiet = 0;
    top.rx = 1;
    for (;; ++cycles, ++quiet) {
        if (cycles >= RESET_CYCLES && cycles % POLL_CYCLES == 0) {
            pollfd inputs[] = {{terminal, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
            poll(inputs, 2, quiet > REST_CYCLES ? -1 : 0);
            uint8_t buffer[4096];
            const ssize_t got = read(terminal, buffer, sizeof buffer);
            if (got > 0) sender.bytes.insert(sender.bytes.end(), buffer, buffer + got);
            if (read(STDIN_FILENO, buffer, sizeof buffer) == 0) break;
        }
        top.rx = sender.line();
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        const int byte = receiver.take(top.tx);
        if (byte >= 0) send(terminal, static_cast<uint8_t>(byte));
        if (sender.busy() || receiver.left) quiet = 0;
    }
    std::printf("%" PRIu64 "\n", cycles);
    close(kept);
    return 0;
}
