#include "dram_device.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>

#include "svdpi.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace rdu {

namespace {
constexpr int POSTPONED = 8;       // refreshes that JEDEC allows to be late, or early
constexpr size_t REPORT_LINES = 50;

int log2i(int value) {
    int bits = 0;
    while (1 << bits < value) bits++;
    return bits;
}
}  // namespace

DramRules::DramRules(const std::string& text) {
    std::map<std::string, int> values;
    std::istringstream words(text);
    for (std::string word; words >> word;) {
        const size_t equals = word.find('=');
        if (equals == std::string::npos) throw std::runtime_error("dram_device: bad rule '" + word + "'");
        values[word.substr(0, equals)] = std::stoi(word.substr(equals + 1));
    }
    auto take = [&](const char* name) {
        if (!values.count(name)) throw std::runtime_error(std::string("dram_device: no rule '") + name + "'");
        return values[name];
    };
#define TAKE(name) name = take(#name)
    TAKE(command_buses), TAKE(beat_bytes), TAKE(bank_groups), TAKE(banks_per_group), TAKE(rows), TAKE(columns), TAKE(beat_cycles);
    TAKE(cl), TAKE(cwl), TAKE(rcd), TAKE(rp), TAKE(ras), TAKE(rc), TAKE(rrd_s), TAKE(rrd_l), TAKE(faw), TAKE(faw_activates);
    TAKE(ccd_s), TAKE(ccd_l), TAKE(ccd_l_write), TAKE(wtr_s), TAKE(wtr_l), TAKE(rtp), TAKE(wr), TAKE(rfc), TAKE(refi), TAKE(turnaround);
    TAKE(low_column_bits), TAKE(low_group_bits), TAKE(middle_column_bits);
#undef TAKE
}

DramDevice::DramDevice(int channel, const std::string& text)
    : rules(text), channel(channel), banks(rules.bank_groups * rules.banks_per_group), groups(rules.bank_groups),
      window(rules.faw_activates, NEVER) {
    bytes = size_t(rules.beat_bytes) * rules.columns * rules.rows * banks.size();
    // Anonymous memory reads as zero and takes no room until it is written.
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    data = static_cast<uint8_t*>(memory);
}

DramDevice::~DramDevice() { munmap(data, bytes); }

void DramDevice::reset() {
    banks.assign(banks.size(), Bank());
    groups.assign(groups.size(), Group());
    window.assign(window.size(), NEVER);
    act = rd = wr = ref = lastRow = lastColumn = NEVER;
    paid = start = 0;
    late = false;
    writeHead = writeTail = readHead = readTail = 0;
}

int DramDevice::rule(bool kept, const char* name, const char* command, int64_t now, int group, int bank, int64_t since, int needed) {
    if (kept) return 0;
    char line[256];
    int used = std::snprintf(line, sizeof line, "channel %d, cycle %lld: %s of bank group %d bank %d breaks %s", channel,
                             static_cast<long long>(now), command, group, bank, name);
    if (needed > 0 && used > 0)
        std::snprintf(line + used, sizeof line - used, " (%lld of %d cycles)", static_cast<long long>(now - since), needed);
    latest = line;
    if (violations++ < REPORT_LINES) report += latest + "\n";
    return 1;
}

int DramDevice::activate(int64_t now, int group, int bank, int row) {
    Bank& b = banks[group + rules.bank_groups * bank];
    Group& g = groups[group];
    int broken = rule(!b.open, "'bank closed before ACT'", "ACT", now, group, bank, 0, 0);
    broken += rule(row < rules.rows, "'row exists'", "ACT", now, group, bank, 0, 0);
    broken += after("tRC", "ACT", now, group, bank, b.act, rules.rc);
    broken += after("tRP", "ACT", now, group, bank, b.pre, rules.rp);
    broken += after("tRRD_L", "ACT", now, group, bank, g.act, rules.rrd_l);
    broken += after("tRRD_S", "ACT", now, group, bank, act, rules.rrd_s);
    broken += after("tFAW", "ACT", now, group, bank, window[windowAt], rules.faw);
    broken += after("tRFC", "ACT", now, group, bank, ref, rules.rfc);
    window[windowAt] = now;
    windowAt = (windowAt + 1) % window.size();
    b.open = true;
    b.row = row;
    b.act = g.act = act = now;
    return broken;
}

int DramDevice::precharge(int64_t now, int group, int bank, const char* command) {
    Bank& b = banks[group + rules.bank_groups * bank];
    int broken = after("tRFC", command, now, group, bank, ref, rules.rfc);
    if (!b.open) return broken;  // no effect, allowed
    broken += after("tRAS", command, now, group, bank, b.act, rules.ras);
    broken += after("tRTP", command, now, group, bank, b.rd, rules.rtp);
    broken += after("tWR", command, now, group, bank, b.wr, rules.cwl + rules.beat_cycles + rules.wr);
    b.open = false;
    b.pre = now;
    return broken;
}

int DramDevice::refresh(int64_t now) {
    int broken = after("tRFC", "REF", now, 0, 0, ref, rules.rfc);
    for (int bank = 0; bank < rules.banks_per_group; bank++)
        for (int group = 0; group < rules.bank_groups; group++) {
            const Bank& b = banks[group + rules.bank_groups * bank];
            broken += rule(!b.open, "'all banks closed before REF'", "REF", now, group, bank, 0, 0);
            broken += after("tRP", "REF", now, group, bank, b.pre, rules.rp);
            broken += after("tRC", "REF", now, group, bank, b.act, rules.rc);
        }
    broken += checkRefresh(now);
    ref = now;
    paid++;
    late = false;
    const bool early = paid > (now - start) / rules.refi + POSTPONED;
    return broken + rule(!early, "'at most eight refreshes ahead'", "REF", now, 0, 0, 0, 0);
}

int DramDevice::checkRefresh(int64_t now) {
    const int64_t last = ref == NEVER ? start : ref;
    const bool kept = now - last <= (POSTPONED + 1) * int64_t(rules.refi) && paid >= (now - start) / rules.refi - POSTPONED;
    if (kept || late) return 0;
    late = true;  // told once for each missing refresh
    return rule(false, "tREFI", "lack of refresh", now, 0, 0, last, (POSTPONED + 1) * rules.refi);
}

int DramDevice::row(int64_t now, int command, int group, int bank, int row) {
    int broken = 0;
    if (rules.command_buses == 1) broken += rule(lastColumn != now, "'one command a cycle'", "row command", now, group, bank, 0, 0);
    lastRow = now;
    switch (command) {
    case ACT: commands[0]++; return broken + activate(now, group, bank, row);
    case PRE: commands[1]++; return broken + precharge(now, group, bank, "PRE");
    case PREA:
        commands[2]++;
        for (int g = 0; g < rules.bank_groups; g++)
            for (int b = 0; b < rules.banks_per_group; b++) broken += precharge(now, g, b, "PREA");
        return broken;
    case REF: commands[3]++; return broken + refresh(now);
    default: return broken + rule(false, "'command exists'", "row command", now, group, bank, 0, 0);
    }
}

int DramDevice::column(int64_t now, int command, int group, int bank, int column) {
    Bank& b = banks[group + rules.bank_groups * bank];
    Group& g = groups[group];
    const bool isRead = command == RD;
    const char* name = isRead ? "RD" : "WR";
    int broken = rule(command == RD || command == WR, "'command exists'", "column command", now, group, bank, 0, 0);
    if (rules.command_buses == 1) broken += rule(lastRow != now, "'one command a cycle'", name, now, group, bank, 0, 0);
    lastColumn = now;
    broken += rule(b.open, "'row open'", name, now, group, bank, 0, 0);
    broken += rule(column < rules.columns, "'column exists'", name, now, group, bank, 0, 0);
    broken += after("tRCD", name, now, group, bank, b.act, rules.rcd);
    broken += after("tRFC", name, now, group, bank, ref, rules.rfc);
    if (isRead) {
        broken += after("tCCD_L", name, now, group, bank, g.rd, rules.ccd_l);
        broken += after("tCCD_S", name, now, group, bank, rd, rules.ccd_s);
        broken += after("tWTR_L", name, now, group, bank, g.wr, rules.cwl + rules.beat_cycles + rules.wtr_l);
        broken += after("tWTR_S", name, now, group, bank, wr, rules.cwl + rules.beat_cycles + rules.wtr_s);
        b.rd = g.rd = rd = now;
        readQueue[readTail++ % readQueue.size()] = place(group, bank, b.row, column);
    } else {
        broken += after("tCCD_L_WR", name, now, group, bank, g.wr, rules.ccd_l_write);
        broken += after("tCCD_S", name, now, group, bank, wr, rules.ccd_s);
        broken += after("tRTW", name, now, group, bank, rd, rules.cl + rules.beat_cycles + rules.turnaround - rules.cwl);
        b.wr = g.wr = wr = now;
        writeQueue[writeTail++ % writeQueue.size()] = place(group, bank, b.row, column);
    }
    commands[isRead ? 4 : 5]++;
    return broken;
}

// The inverse of the controller's address map (hw/dram/address.py): the storage is in the order of addresses.
size_t DramDevice::place(int group, int bank, int row, int column) const {
    const int groupBits = log2i(rules.bank_groups), bankBits = log2i(rules.banks_per_group), columnBits = log2i(rules.columns);
    const int middleBits = rules.middle_column_bits, highBits = columnBits - rules.low_column_bits - middleBits;
    auto bits = [](size_t value, int low, int width) { return value >> low & ((size_t(1) << width) - 1); };
    const size_t high = bits(column, rules.low_column_bits + middleBits, highBits);
    const bool tied = highBits > 0;
    const int lowBits = rules.low_group_bits, folded = tied ? lowBits : groupBits;
    size_t g = group, b = bank;
    const int folds = row & ~1;
    if (tied) g ^= bits(bank, 0, groupBits - lowBits) << lowBits;
    for (int at = 0; folds >> at; at += tied ? bankBits : bankBits + folded) b ^= bits(folds, at, bankBits);
    for (int at = bankBits; folds >> at; at += bankBits + folded) g ^= bits(folds, at, folded);
    size_t beat = size_t(row) % rules.rows;
    auto append = [&](size_t value, int width) { beat = beat << width | value; };
    append(b, bankBits);
    append(high, highBits);
    append(bits(g, lowBits, groupBits - lowBits), groupBits - lowBits);
    append(bits(column, rules.low_column_bits, middleBits), middleBits);
    append(bits(g, 0, lowBits), lowBits);
    append(bits(column, 0, rules.low_column_bits), rules.low_column_bits);
    return beat * rules.beat_bytes;
}

void DramDevice::write(const uint32_t* beat, const uint32_t* mask) {
    written = writeQueue[writeHead++ % writeQueue.size()];
    uint8_t* to = data + written;
    const uint8_t* from = reinterpret_cast<const uint8_t*>(beat);
    for (int i = 0; i < rules.beat_bytes; i += 32) {
        const int n = rules.beat_bytes - i < 32 ? rules.beat_bytes - i : 32;
        const uint32_t all = n == 32 ? ~0u : (1u << n) - 1, bits = mask[i / 32] & all;
        if (bits == all) std::memcpy(to + i, from + i, n);
        else
            for (int k = 0; k < n; k++)
                if (bits >> k & 1) to[i + k] = from[i + k];
    }
}

void DramDevice::read(uint32_t* beat) {
    fetched = readQueue[readHead++ % readQueue.size()];
    std::memcpy(beat, data + fetched, rules.beat_bytes);
}

namespace {
// hw/dram/code.py: the first 64 bytes of odd weight from 3 up, by weight and value. Tables: check bits of each byte of a word.
struct Code {
    uint8_t table[8][256] = {};
    Code() {
        int bit = 0;
        for (int weight = 3; bit < 64; weight += 2)
            for (int column = 0; column < 256 && bit < 64; column++) {
                if (__builtin_popcount(column) != weight) continue;
                for (int value = 0; value < 256; value++)
                    if (value >> (bit % 8) & 1) table[bit / 8][value] ^= column;
                bit++;
            }
    }
};
const Code code;
}  // namespace

void DramDevice::encode(size_t offset, uint8_t* check) const {
    for (int word = 0; word < rules.beat_bytes / 8; word++) {
        check[word] = 0;
        for (int i = 0; i < 8; i++) check[word] ^= code.table[i][data[offset + 8 * word + i]];
    }
}

void DramDevice::writeCheck(const uint32_t* check) {
    uint8_t right[256];
    encode(written, right);
    const uint8_t* given = reinterpret_cast<const uint8_t*>(check);
    const int words = rules.beat_bytes / 8;
    if (!std::memcmp(given, right, words)) {
        if (!wrong.empty()) wrong.erase(written);
        return;
    }
    auto& difference = wrong[written];
    difference.resize(words);
    for (int word = 0; word < words; word++) difference[word] = given[word] ^ right[word];
}

void DramDevice::readCheck(uint32_t* check) {
    uint8_t* to = reinterpret_cast<uint8_t*>(check);
    encode(fetched, to);
    if (wrong.empty()) return;
    auto found = wrong.find(fetched);
    if (found != wrong.end())
        for (size_t word = 0; word < found->second.size(); word++) to[word] ^= found->second[word];
}

bool DramDevice::inject(uint64_t address, int bit) {
    if (address >= bytes || bit < 0 || bit >= 16) return false;
    const size_t offset = address - address % rules.beat_bytes, words = rules.beat_bytes / 8, word = address % rules.beat_bytes / 8;
    uint8_t before[256], after[256];
    encode(offset, before);
    if (bit < 8) data[address] ^= 1 << bit;
    encode(offset, after);
    auto& difference = wrong[offset];
    difference.resize(words);
    difference[word] ^= before[word] ^ after[word] ^ (bit < 8 ? 0 : 1 << (bit - 8));
    return true;
}

// One device for each channel of the latest model of this library; those of earlier models live on, as their models may.
std::map<int, DramDevice*>& current() {
    static std::map<int, DramDevice*> devices;
    return devices;
}

int base = 0;  // added to the channel numbers of a model that is made from now on

std::vector<std::unique_ptr<DramDevice>>& all() {
    static std::vector<std::unique_ptr<DramDevice>> devices;
    return devices;
}

DramDevice* find(int channel) {
    auto found = current().find(channel);
    return found == current().end() ? nullptr : found->second;
}

}  // namespace rdu

using rdu::DramDevice;

// For the SystemVerilog shell ------------------------------------------------------------------------------------------------
EXPORT void* rdu_dram_open(int channel, const char* rules) {
    rdu::all().emplace_back(new DramDevice(rdu::base + channel, rules));
    return rdu::current()[rdu::base + channel] = rdu::all().back().get();
}
EXPORT void rdu_dram_reset(void* device) { static_cast<DramDevice*>(device)->reset(); }
EXPORT int rdu_dram_row(void* device, long long now, int command, int group, int bank, int row) {
    return static_cast<DramDevice*>(device)->row(now, command, group, bank, row);
}
EXPORT int rdu_dram_column(void* device, long long now, int command, int group, int bank, int column) {
    return static_cast<DramDevice*>(device)->column(now, command, group, bank, column);
}
EXPORT int rdu_dram_check(void* device, long long now) { return static_cast<DramDevice*>(device)->checkRefresh(now); }
EXPORT void rdu_dram_write(void* device, const svBitVecVal* data, const svBitVecVal* mask) {
    static_cast<DramDevice*>(device)->write(data, mask);
}
EXPORT void rdu_dram_read(void* device, svBitVecVal* data) { static_cast<DramDevice*>(device)->read(data); }
EXPORT void rdu_dram_write_check(void* device, const svBitVecVal* check) { static_cast<DramDevice*>(device)->writeCheck(check); }
EXPORT void rdu_dram_read_check(void* device, svBitVecVal* check) { static_cast<DramDevice*>(device)->readCheck(check); }
EXPORT const char* rdu_dram_latest(void* device) { return static_cast<DramDevice*>(device)->latest.c_str(); }

// For the host ----------------------------------------------------------------------------------------------------------------
EXPORT void rdu_dram_base(int channel) { rdu::base = channel; }
EXPORT uint8_t* rdu_dram_data(int channel, uint64_t* bytes) {
    DramDevice* device = rdu::find(channel);
    if (bytes) *bytes = device ? device->bytes : 0;
    return device ? device->data : nullptr;
}
EXPORT uint64_t rdu_dram_violations(int channel) { return rdu::find(channel) ? rdu::find(channel)->violations : 0; }
EXPORT const char* rdu_dram_report(int channel) { return rdu::find(channel) ? rdu::find(channel)->report.c_str() : ""; }
EXPORT int rdu_dram_inject(int channel, uint64_t address, int bit) {
    DramDevice* device = rdu::find(channel);
    return !(device && device->inject(address, bit));
}
EXPORT void rdu_dram_rules(int channel, const char* rules) {
    if (DramDevice* device = rdu::find(channel)) device->rules = rdu::DramRules(rules);
}
EXPORT void rdu_dram_forget(int channel) {
    if (DramDevice* device = rdu::find(channel)) device->violations = 0, device->report.clear();
}
EXPORT void rdu_dram_commands(int channel, uint64_t* counts) {
    if (DramDevice* device = rdu::find(channel)) std::memcpy(counts, device->commands.data(), sizeof device->commands);
}
