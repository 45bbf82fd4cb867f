#include "peer_link.h"

#include <stdexcept>

namespace {
enum { VALID, BEAT, CREDIT, CREDIT_AGCU };
}

PeerLink::PeerLink(const std::array<Pin, 4>& tx, const std::array<Pin, 4>& rx, int cycles) : length(cycles) {
    for (int i = VALID; i <= CREDIT_AGCU; i++) {
        const bool forward = i < CREDIT;
        lines[i] = {forward ? tx[i] : rx[i], forward ? rx[i] : tx[i], {}};
        if (!tx[i].data || !rx[i].data || tx[i].bytes != rx[i].bytes)
            throw std::runtime_error("a peer link joins a socket that has no such link, or one with other beats");
        lines[i].values.assign(static_cast<size_t>(length) * tx[i].bytes, 0);
    }
}

void PeerLink::sample() {
    for (Line& line : lines) std::memcpy(&line.values[static_cast<size_t>(at) * line.from.bytes], line.from.data, line.from.bytes);
    if (flip >= 0 && lines[VALID].from.get()) {
        lines[BEAT].values[static_cast<size_t>(at) * lines[BEAT].from.bytes + flip / 8] ^= 1 << flip % 8;
        flip = -1;
    }
    at = (at + 1) % length;
}

void PeerLink::deliver() {
    for (Line& line : lines) std::memcpy(line.to.data, &line.values[static_cast<size_t>(at) * line.from.bytes], line.from.bytes);
}
