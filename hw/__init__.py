"""OpenRDU: Amaranth RTL of a reconfigurable dataflow unit. One folder per unit; see docs/ for a page on each."""
