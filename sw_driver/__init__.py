"""The driver: devices, kernels, memory and the expert cache. Imports no simulator."""
