// Memories with random delays for tests of requesters and networks. A read sees what was written before it was accepted.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

namespace {

enum { OKAY, CORRECTED, UNCORRECTABLE, DECODE_ERROR };

struct Answer {
    uint64_t due;
    int tag, status;
    bool write;
    uint8_t data[32];
};

struct RandomMemory {
    std::vector<uint8_t> storage;    // tier after tier, each `tier_bytes` long
    uint64_t tier_bytes = 0;
    double request_stall = 0, response_stall = 0;
    int latency_min = 1, latency_max = 1, capacity = 64;
    bool ordered = false, unique_tags = true;
    uint64_t bad_address = ~0ull;
    int bad_status = OKAY;
    std::mt19937 random{1};
    std::vector<Answer> waiting;
    Answer out;
    bool valid = false;
    uint64_t now = 0, accepted = 0, answered = 0, longest = 0;
};

RandomMemory memories[16];

bool chance(RandomMemory& m, double probability) {
    return probability > 0 && std::uniform_real_distribution<>(0, 1)(m.random) < probability;
}

void accept(RandomMemory& m, int bytes, uint64_t address, bool write, int tag, uint32_t mask, const uint32_t* data) {
    for (const Answer& other : m.waiting)
        if (m.unique_tags && other.tag == tag) throw std::runtime_error("tag " + std::to_string(tag) + " is used again while outstanding");
    Answer answer{m.now + std::uniform_int_distribution<uint64_t>(m.latency_min, m.latency_max)(m.random), tag, OKAY, write, {}};
    const uint64_t within = address & ((1ull << 40) - 1), flat = (address >> 40) * m.tier_bytes + within;
    if (within >= m.tier_bytes || flat + bytes > m.storage.size()) answer.status = DECODE_ERROR;
    else if (within % bytes) throw std::runtime_error("address is not aligned to a beat");
    else if (write)
        for (int i = 0; i < bytes; i++) {
            if (mask >> i & 1) m.storage[flat + i] = reinterpret_cast<const uint8_t*>(data)[i];
        }
    else std::memcpy(answer.data, &m.storage[flat], bytes);
    if (address == m.bad_address) answer.status = m.bad_status;
    m.waiting.push_back(answer);
    m.accepted++;
    m.longest = std::max<uint64_t>(m.longest, m.waiting.size());
}

void choose(RandomMemory& m) {
    std::vector<size_t> due;
    for (size_t i = 0; i < m.waiting.size(); i++)
        if (m.waiting[i].due <= m.now && (!m.ordered || i == 0)) due.push_back(i);
    if (due.empty() || chance(m, m.response_stall)) return;
    const size_t chosen = due[std::uniform_int_distribution<size_t>(0, due.size() - 1)(m.random)];
    m.out = m.waiting[chosen];
    m.waiting.erase(m.waiting.begin() + chosen);
    m.valid = true;
    m.answered++;
}

}  // namespace

extern "C" void random_memory_step(int number, int bytes, unsigned char accepted, long long address, unsigned char write, int tag,
                                   const uint32_t* mask, const uint32_t* data, unsigned char taken, unsigned char* ready,
                                   unsigned char* valid, int* answer_tag, int* answer_status, unsigned char* answer_write,
                                   uint32_t* answer_data) {
    RandomMemory& m = memories[number];
    m.now++;
    if (taken) m.valid = false;
    if (accepted) accept(m, bytes, address, write, tag, *mask, data);
    if (!m.valid) choose(m);
    *ready = (int)m.waiting.size() < m.capacity && !chance(m, m.request_stall);
    *valid = m.valid;
    *answer_tag = m.out.tag;
    *answer_status = m.out.status;
    *answer_write = m.out.write;
    std::memcpy(answer_data, m.out.data, 32);
}

#define API extern "C" __attribute__((visibility("default")))

API void random_memory_setup(int number, uint64_t tier_bytes, int tiers, double request_stall, double response_stall, int latency_min,
                             int latency_max, int capacity, int ordered, int unique_tags, int seed) {
    RandomMemory& m = memories[number];
    m = RandomMemory{};
    m.storage.resize(tier_bytes * tiers);
    m.tier_bytes = tier_bytes;
    m.request_stall = request_stall;
    m.response_stall = response_stall;
    m.latency_min = latency_min;
    m.latency_max = latency_max;
    m.capacity = capacity;
    m.ordered = ordered;
    m.unique_tags = unique_tags;
    m.random.seed(seed);
}
API uint8_t* random_memory_storage(int number) { return memories[number].storage.data(); }
API void random_memory_break(int number, uint64_t address, int status) {
    memories[number].bad_address = address;
    memories[number].bad_status = status;
}
API uint64_t random_memory_count(int number, int which) {
    const RandomMemory& m = memories[number];
    return which == 0 ? m.accepted : which == 1 ? m.answered : m.longest;
}
