"""How RTL becomes a running model: Verilator builds, unit benches, the device model, cocotb glue and waveforms."""
