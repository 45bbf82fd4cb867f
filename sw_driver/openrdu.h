/* Registers of OpenRDU. Made by python -m sw_driver.register_map from hw/host/registers.py: do not edit. */
#ifndef OPENRDU_H
#define OPENRDU_H

/* Always 0x5544524f (`ORDU` in memory order). (read only) */
#define ORDU_ID 0x000u
/* Version of this register map. (read only) */
#define ORDU_VERSION 0x004u
#define ORDU_VERSION_MINOR_LSB 0
#define ORDU_VERSION_MINOR_MASK 0x0000ffffu
#define ORDU_VERSION_MAJOR_LSB 16
#define ORDU_VERSION_MAJOR_MASK 0xffff0000u
/* Digest of every size of the device; kernel images carry the same number. (read only) */
#define ORDU_CONFIG_HASH 0x008u
/* The tile. (read only) */
#define ORDU_GEOMETRY 0x00cu
#define ORDU_GEOMETRY_ROWS_LSB 0
#define ORDU_GEOMETRY_ROWS_MASK 0x000000ffu
#define ORDU_GEOMETRY_COLUMNS_LSB 8
#define ORDU_GEOMETRY_COLUMNS_MASK 0x0000ff00u
#define ORDU_GEOMETRY_AGCUS_LSB 16
#define ORDU_GEOMETRY_AGCUS_MASK 0x00ff0000u
#define ORDU_GEOMETRY_GROUPS_LSB 24
#define ORDU_GEOMETRY_GROUPS_MASK 0xff000000u
/* The units. (read only) */
#define ORDU_UNIT_SIZE 0x010u
#define ORDU_UNIT_SIZE_LANES_LSB 0
#define ORDU_UNIT_SIZE_LANES_MASK 0x000000ffu
#define ORDU_UNIT_SIZE_STAGES_LSB 8
#define ORDU_UNIT_SIZE_STAGES_MASK 0x0000ff00u
#define ORDU_UNIT_SIZE_LABELS_LSB 16
#define ORDU_UNIT_SIZE_LABELS_MASK 0x00ff0000u
#define ORDU_UNIT_SIZE_SEGMENTS_LSB 24
#define ORDU_UNIT_SIZE_SEGMENTS_MASK 0x7f000000u
#define ORDU_UNIT_SIZE_SHADOW_LSB 31
#define ORDU_UNIT_SIZE_SHADOW_MASK 0x80000000u
/* Capacity of the HBM tier. (read only) */
#define ORDU_HBM_MEGABYTES 0x014u
/* Capacity of the DDR tier. (read only) */
#define ORDU_DDR_MEGABYTES 0x018u
/* Cycles since reset, low half. Reading it holds CYCLES_HI. (read only) */
#define ORDU_CYCLES_LO 0x020u
/* High half of the cycle count, as of the last read of CYCLES_LO. (read only) */
#define ORDU_CYCLES_HI 0x024u
/* What the device does now. (read only) */
#define ORDU_STATUS 0x028u
#define ORDU_STATUS_RUNNING_LSB 0
#define ORDU_STATUS_RUNNING_MASK 0x0000ffffu
#define ORDU_STATUS_LAUNCHER_BUSY_LSB 16
#define ORDU_STATUS_LAUNCHER_BUSY_MASK 0x00010000u
#define ORDU_STATUS_SCHEDULE_BUSY_LSB 17
#define ORDU_STATUS_SCHEDULE_BUSY_MASK 0x00020000u
#define ORDU_STATUS_RESETTING_LSB 18
#define ORDU_STATUS_RESETTING_MASK 0x00040000u
#define ORDU_STATUS_FAULT_LSB 19
#define ORDU_STATUS_FAULT_MASK 0x00080000u
#define ORDU_STATUS_HALTED_LSB 20
#define ORDU_STATUS_HALTED_MASK 0x00100000u
#define ORDU_STATUS_QUEUE_FREE_LSB 24
#define ORDU_STATUS_QUEUE_FREE_MASK 0xff000000u
/* Byte address of a kernel image, bits 31..0; a multiple of 4. (read and write) */
#define ORDU_IMAGE_LO 0x030u
/* The rest of the image's address. (read and write) */
#define ORDU_IMAGE_HI 0x034u
#define ORDU_IMAGE_HI_ADDRESS_LSB 0
#define ORDU_IMAGE_HI_ADDRESS_MASK 0x000000ffu
#define ORDU_IMAGE_HI_TIER_LSB 8
#define ORDU_IMAGE_HI_TIER_MASK 0x00000300u
/* Length of the image in words, its end record included: the load never reads beyond. (read and write) */
#define ORDU_IMAGE_WORDS 0x038u
#define ORDU_IMAGE_WORDS_WORDS_LSB 0
#define ORDU_IMAGE_WORDS_WORDS_MASK 0x00ffffffu
/* Queues a Program Load of the image. (write only: the write is the command) */
#define ORDU_LOAD 0x03cu
#define ORDU_LOAD_AFTER_LSB 0
#define ORDU_LOAD_AFTER_MASK 0x0000ffffu
#define ORDU_LOAD_SHADOW_LSB 16
#define ORDU_LOAD_SHADOW_MASK 0x00010000u
/* Which program word the next ARGUMENT replaces; as a record header of an image. (read and write) */
#define ORDU_ARGUMENT_SELECT 0x040u
#define ORDU_ARGUMENT_SELECT_WORD_LSB 8
#define ORDU_ARGUMENT_SELECT_WORD_MASK 0x0003ff00u
#define ORDU_ARGUMENT_SELECT_UNIT_LSB 18
#define ORDU_ARGUMENT_SELECT_UNIT_MASK 0xfffc0000u
/* Queues an Argument Load of this value; ARGUMENT_SELECT.word then advances by one. (write only: the write is the command) */
#define ORDU_ARGUMENT 0x044u
/* Queues Execute. It waits until these groups are idle. (write only: the write is the command) */
#define ORDU_EXECUTE 0x048u
#define ORDU_EXECUTE_GROUPS_LSB 0
#define ORDU_EXECUTE_GROUPS_MASK 0x0000ffffu
#define ORDU_EXECUTE_EXCHANGE_LSB 16
#define ORDU_EXECUTE_EXCHANGE_MASK 0x00010000u
/* Any value: empties the queue, drains the AGCUs, resets the tile (programs too) and clears faults and errors. (write only: the write is the command) */
#define ORDU_TILE_RESET 0x04cu
/* Events since they were last cleared. (read; writing 1 clears a bit) */
#define ORDU_IRQ_STATUS 0x050u
#define ORDU_IRQ_STATUS_GROUP_DONE_LSB 0
#define ORDU_IRQ_STATUS_GROUP_DONE_MASK 0x0000ffffu
#define ORDU_IRQ_STATUS_LOAD_DONE_LSB 16
#define ORDU_IRQ_STATUS_LOAD_DONE_MASK 0x00010000u
#define ORDU_IRQ_STATUS_FAULT_LSB 17
#define ORDU_IRQ_STATUS_FAULT_MASK 0x00020000u
#define ORDU_IRQ_STATUS_ERROR_LSB 18
#define ORDU_IRQ_STATUS_ERROR_MASK 0x00040000u
#define ORDU_IRQ_STATUS_RESET_DONE_LSB 19
#define ORDU_IRQ_STATUS_RESET_DONE_MASK 0x00080000u
#define ORDU_IRQ_STATUS_SCHEDULE_DONE_LSB 20
#define ORDU_IRQ_STATUS_SCHEDULE_DONE_MASK 0x00100000u
#define ORDU_IRQ_STATUS_SIGNAL_LSB 21
#define ORDU_IRQ_STATUS_SIGNAL_MASK 0x00200000u
/* The interrupt line is high while (IRQ_STATUS & IRQ_ENABLE) is not 0. (read and write) */
#define ORDU_IRQ_ENABLE 0x054u
#define ORDU_IRQ_ENABLE_GROUP_DONE_LSB 0
#define ORDU_IRQ_ENABLE_GROUP_DONE_MASK 0x0000ffffu
#define ORDU_IRQ_ENABLE_LOAD_DONE_LSB 16
#define ORDU_IRQ_ENABLE_LOAD_DONE_MASK 0x00010000u
#define ORDU_IRQ_ENABLE_FAULT_LSB 17
#define ORDU_IRQ_ENABLE_FAULT_MASK 0x00020000u
#define ORDU_IRQ_ENABLE_ERROR_LSB 18
#define ORDU_IRQ_ENABLE_ERROR_MASK 0x00040000u
#define ORDU_IRQ_ENABLE_RESET_DONE_LSB 19
#define ORDU_IRQ_ENABLE_RESET_DONE_MASK 0x00080000u
#define ORDU_IRQ_ENABLE_SCHEDULE_DONE_LSB 20
#define ORDU_IRQ_ENABLE_SCHEDULE_DONE_MASK 0x00100000u
#define ORDU_IRQ_ENABLE_SIGNAL_LSB 21
#define ORDU_IRQ_ENABLE_SIGNAL_MASK 0x00200000u
/* The first fault since the last reset of the tile. (read only) */
#define ORDU_FAULT 0x060u
#define ORDU_FAULT_VALID_LSB 0
#define ORDU_FAULT_VALID_MASK 0x00000001u
#define ORDU_FAULT_CAUSE_LSB 1
#define ORDU_FAULT_CAUSE_MASK 0x0000001eu
#define ORDU_FAULT_SEGMENT_LSB 5
#define ORDU_FAULT_SEGMENT_MASK 0x000001e0u
#define ORDU_FAULT_UNIT_LSB 16
#define ORDU_FAULT_UNIT_MASK 0x3fff0000u
/* Byte offset in the segment of the access that failed; of a PMU: in its SRAMs (hw/pmu/ecc.py). (read only) */
#define ORDU_FAULT_OFFSET 0x064u
/* Why the launcher has halted. (read only) */
#define ORDU_ERROR 0x068u
#define ORDU_ERROR_CODE_LSB 0
#define ORDU_ERROR_CODE_MASK 0x0000000fu
#define ORDU_ERROR_POSITION_LSB 8
#define ORDU_ERROR_POSITION_MASK 0xffffff00u
/* An event counter of a unit, a memory channel or a link to another socket. (read and write) */
#define ORDU_COUNTER_SELECT 0x070u
#define ORDU_COUNTER_SELECT_INDEX_LSB 0
#define ORDU_COUNTER_SELECT_INDEX_MASK 0x000000ffu
#define ORDU_COUNTER_SELECT_UNIT_LSB 16
#define ORDU_COUNTER_SELECT_UNIT_MASK 0x3fff0000u
/* The selected counter; COUNTER_SELECT.index then advances by one. (read only) */
#define ORDU_COUNTER_VALUE 0x074u
/* How addresses spread over the channels (hw.tln.interleave). Change it only while nothing is in memory. (read and write) */
#define ORDU_INTERLEAVE 0x078u
#define ORDU_INTERLEAVE_HBM_GRANULARITY_LSB 0
#define ORDU_INTERLEAVE_HBM_GRANULARITY_MASK 0x00000007u
#define ORDU_INTERLEAVE_HBM_HASH_LSB 3
#define ORDU_INTERLEAVE_HBM_HASH_MASK 0x00000008u
#define ORDU_INTERLEAVE_DDR_GRANULARITY_LSB 4
#define ORDU_INTERLEAVE_DDR_GRANULARITY_MASK 0x00000070u
#define ORDU_INTERLEAVE_DDR_HASH_LSB 7
#define ORDU_INTERLEAVE_DDR_HASH_MASK 0x00000080u
/* Byte address of a schedule, bits 31..0; a multiple of 4. (read and write) */
#define ORDU_SCHEDULE_LO 0x080u
/* The rest of the schedule's address. (read and write) */
#define ORDU_SCHEDULE_HI 0x084u
#define ORDU_SCHEDULE_HI_ADDRESS_LSB 0
#define ORDU_SCHEDULE_HI_ADDRESS_MASK 0x000000ffu
#define ORDU_SCHEDULE_HI_TIER_LSB 8
#define ORDU_SCHEDULE_HI_TIER_MASK 0x00000300u
/* Length of the schedule in words. (read and write) */
#define ORDU_SCHEDULE_WORDS 0x088u
#define ORDU_SCHEDULE_WORDS_WORDS_LSB 0
#define ORDU_SCHEDULE_WORDS_WORDS_MASK 0x00ffffffu
/* Any value: queues the run of the schedule; what is queued after it waits for its END. (write only: the write is the command) */
#define ORDU_SCHEDULE 0x08cu
/* Operand of the schedule's last SIGNAL. (read only) */
#define ORDU_DOORBELL 0x090u
/* SIGNALs since reset. (read only) */
#define ORDU_DOORBELL_COUNT 0x094u
/* Index of the first word of the schedule's instruction under way, or of its last. (read only) */
#define ORDU_SCHEDULE_POSITION 0x098u
/* Cycles of the last schedule, from its start to its END; counts while it runs. (read only) */
#define ORDU_SCHEDULE_CYCLES 0x09cu
/* Instructions that the schedule has begun; a step that stays the same waits. (read only) */
#define ORDU_SCHEDULE_STEPS 0x0a0u
/* Per group: cycles from Execute to finished of its last kernel; counts while it runs. (read only) */
#define ORDU_KERNEL_CYCLES(n) (0x100u + 4u * (n))
/* Per group: kernels finished since reset. (read only) */
#define ORDU_KERNEL_COUNT(n) (0x140u + 4u * (n))
/* Per group: cycles in which a kernel ran, since reset. (read only) */
#define ORDU_KERNEL_TOTAL(n) (0x180u + 4u * (n))

/* ORDU_ERROR_CODE */
#define ORDU_ERROR_IS_NONE 0
#define ORDU_ERROR_IS_MEMORY 1
#define ORDU_ERROR_IS_TRUNCATED 2
#define ORDU_ERROR_IS_MISALIGNED 3
#define ORDU_ERROR_IS_ILLEGAL 4
#define ORDU_ERROR_IS_RUNAWAY 5

/* Opcodes of a schedule */
#define ORDU_OP_END 0
#define ORDU_OP_EXECUTE 1
#define ORDU_OP_LOAD 2
#define ORDU_OP_ARGUMENT 3
#define ORDU_OP_COMPUTE 4
#define ORDU_OP_READ 5
#define ORDU_OP_WRITE 6
#define ORDU_OP_SIGNAL 7
#define ORDU_OP_LOOP 8
#define ORDU_OP_NEXT 9
#define ORDU_OP_LEAVE 10
#define ORDU_OP_WAIT_IDLE 11
#define ORDU_OP_WAIT_MEMORY 12
#define ORDU_OP_WAIT_COUNTER 13
#define ORDU_OP_WAIT_TOKEN 14

#endif
