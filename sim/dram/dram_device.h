// A memory channel's devices: storage, and every timing rule checked. Times are clock cycles of the core.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace rdu {

// Rules and geometry, from the text "name=value ..." that sim/dram/device.py makes of a DRAMTiming.
struct DramRules {
    int command_buses, beat_bytes, bank_groups, banks_per_group, rows, columns, beat_cycles;
    int cl, cwl, rcd, rp, ras, rc, rrd_s, rrd_l, faw, faw_activates, ccd_s, ccd_l, ccd_l_write;
    int wtr_s, wtr_l, rtp, wr, rfc, refi, turnaround;
    int low_column_bits, low_group_bits, middle_column_bits;  // of an address, see hw/dram/address.py

    explicit DramRules(const std::string& text);
};

enum RowCommand { ROW_NOP, ACT, PRE, PREA, REF };
enum ColumnCommand { COLUMN_NOP, RD, WR };

class DramDevice {
public:
    DramDevice(int channel, const std::string& rules);
    ~DramDevice();
    DramDevice(const DramDevice&) = delete;

    // Each returns the number of rules that it found broken.
    int row(int64_t now, int command, int group, int bank, int row);
    int column(int64_t now, int command, int group, int bank, int column);
    int checkRefresh(int64_t now);
    void write(const uint32_t* data, const uint32_t* mask);  // the beat of the oldest WR without data
    void read(uint32_t* data);                               // the beat of the oldest RD without data
    void writeCheck(const uint32_t* check);                  // of the beat that was written last
    void readCheck(uint32_t* check);                         // of the beat that was read last
    bool inject(uint64_t address, int bit);                  // flips a stored bit; false if there is none
    void reset();                                            // closes all rows and forgets all times; the storage stays

    DramRules rules;              // may be made stricter later, to see that a controller would be caught
    uint8_t* data = nullptr;      // in the order of channel-local addresses
    size_t bytes = 0;
    uint64_t violations = 0;
    std::string report;           // one line for each of the first violations
    std::string latest;           // the latest line
    std::array<uint64_t, 7> commands{};  // ACT, PRE, PREA, REF, RD, WR, and banks closed by PREA

private:
    static constexpr int64_t NEVER = -1'000'000'000;
    struct Bank {
        bool open = false;
        int row = 0;
        int64_t act = NEVER, pre = NEVER, rd = NEVER, wr = NEVER;
    };
    struct Group {
        int64_t act = NEVER, rd = NEVER, wr = NEVER;
    };

    int rule(bool kept, const char* name, const char* command, int64_t now, int group, int bank, int64_t since, int needed);
    int after(const char* name, const char* command, int64_t now, int group, int bank, int64_t since, int needed) {
        return now - since >= needed ? 0 : rule(false, name, command, now, group, bank, since, needed);
    }
    int activate(int64_t now, int group, int bank, int row);
    int precharge(int64_t now, int group, int bank, const char* command);
    int refresh(int64_t now);
    void encode(size_t offset, uint8_t* check) const;
    size_t place(int group, int bank, int row, int column) const;

    const int channel;
    std::vector<Bank> banks;      // group + bank_groups * bank
    std::vector<Group> groups;
    std::vector<int64_t> window;  // times of the latest activates, a ring of faw_activates
    size_t windowAt = 0;
    int64_t act = NEVER, rd = NEVER, wr = NEVER, ref = NEVER, lastRow = NEVER, lastColumn = NEVER;
    int64_t paid = 0, start = 0;
    bool late = false;
    std::array<size_t, 64> writeQueue{}, readQueue{};  // offsets of beats under way; latencies are far below 64 commands
    size_t written = 0, fetched = 0;                   // offsets of the latest beats
    // Check bits are kept as their difference from the right ones, so that what the host stores has the right ones.
    std::map<size_t, std::vector<uint8_t>> wrong;
    unsigned writeHead = 0, writeTail = 0, readHead = 0, readTail = 0;
};

}  // namespace rdu
